"""How exactly do picture and sound of a delivered video begin and end together, for speech of any length?

Makes videos of random lengths, rates and frame rates with tiny frames through `clips.encode` and `video.mux`, reads
them back, and prints one row each and the worst values. Nothing is written outside a temporary folder.

    python benchmarks/av_length.py --videos 48 --seed 1

Columns: start offsets of both streams; picture length minus sound length, in ms and in frames; sound length minus
speech length in samples; lag of the decoded sound against the speech in samples, and its signal-to-noise ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan, frames_for_samples
from s2v_pipeline.video.assembled import AssembledVideo
from s2v_pipeline.video.audio_difference import audio_difference
from s2v_pipeline.video.mux import assemble_video

SIDE_PX = 64
SHORTEST_S, LONGEST_S = 0.2, 60.0
CHUNK_S = 4
BATCH_FRAMES = 64
RATES_HZ = (8000, 16000, 22050, 44100, 48000)
FRAME_RATES = (Fraction(25), Fraction(30000, 1001), Fraction(16), Fraction(24000, 1001), Fraction(30))
SETTINGS = VideoSettings(width_px=SIDE_PX, height_px=SIDE_PX, x264_preset="ultrafast")


@dataclass(frozen=True)
class Row:
    """One video's figures."""

    n_samples: int
    rate_hz: int
    fps: Fraction
    n_clips: int
    assembled: AssembledVideo
    lag_samples: int
    snr_db: float

    @property
    def difference_s(self) -> Fraction:
        return self.assembled.video_minus_audio_s

    @property
    def lost_samples(self) -> Fraction:
        return (self.assembled.probe.audio_duration_s - self.assembled.speech_duration_s) * self.rate_hz

    def text(self) -> str:
        probe = self.assembled.probe
        return (
            f"{self.n_samples / self.rate_hz:9.4f} {self.rate_hz:6d} {self.fps!s:>11} {probe.n_frames:6d} "
            f"{self.n_clips:5d} {float(probe.video_start_s):8.4f} {float(probe.audio_start_s):8.4f} "
            f"{1000 * float(self.difference_s):9.3f} {float(self.difference_s * self.fps):8.4f} "
            f"{float(self.lost_samples):7.2f} {self.lag_samples:5d} {self.snr_db:6.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=48, help="number of videos")
    parser.add_argument("--seed", type=int, default=1, help="of the random lengths")
    arguments = parser.parse_args()

    random = np.random.default_rng(arguments.seed)
    print(
        f"{'speech s':>9} {'Hz':>6} {'fps':>11} {'frames':>6} {'clips':>5} {'video at':>8} {'audio at':>8} "
        f"{'v-a ms':>9} {'frames':>8} {'samples':>7} {'lag':>5} {'SNR dB':>6}"
    )
    started_at = time.perf_counter()
    rows = []
    for _ in range(arguments.videos):
        rate_hz = int(random.choice(RATES_HZ))
        fps = FRAME_RATES[random.integers(len(FRAME_RATES))]
        # Even on a logarithmic scale, so that short speech, where rounding matters most, is half of the set.
        length_s = float(np.exp(random.uniform(np.log(SHORTEST_S), np.log(LONGEST_S))))
        rows.append(measure(int(length_s * rate_hz), rate_hz, fps, random))
        print(rows[-1].text(), flush=True)
    _print_worst(rows, time.perf_counter() - started_at)


def measure(n_samples: int, rate_hz: int, fps: Fraction, random: np.random.Generator) -> Row:
    """Make one video and read it back."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = folder / "speech.flac"
        write_flac(speech, voice(n_samples, rate_hz, random), rate_hz)
        plan = plan_chunks(frames_for_samples(n_samples, rate_hz, fps), chunk_frames=int(CHUNK_S * fps))
        clips = []
        for index, span in enumerate(plan.chunks):
            clips.append(folder / f"{index}.mp4")
            encode_clip(
                frames(span, fps),
                clips[-1],
                frames=span,
                fps=fps,
                width_px=SIDE_PX,
                height_px=SIDE_PX,
                settings=SETTINGS,
            )
        video = folder / "video.mp4"
        assembled = assemble_video(
            clips,
            speech,
            video,
            frame_counts=[len(span) for span in plan.chunks],
            fps=fps,
            settings=SETTINGS,
            metadata={"title": "av_length"},
        )
        difference = audio_difference(video, speech)
    return Row(n_samples, rate_hz, fps, len(clips), assembled, difference.lag_samples, difference.snr_db)


def voice(n_samples: int, rate_hz: int, random: np.random.Generator) -> NDArray[np.int16]:
    """Harmonics of a gliding pitch under an envelope of syllables, with a little noise."""
    time_s = np.arange(n_samples) / rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(4.4 * time_s)) / rate_hz
    harmonics = np.sum([np.sin(order * phase) / order for order in range(1, 12)], axis=0)
    sound = 0.15 * (0.2 + np.abs(np.sin(14.5 * time_s + 0.5))) * harmonics + 0.003 * random.standard_normal(n_samples)
    return np.asarray(sound.clip(-1, 1) * 32767, dtype=np.int16)


def write_flac(path: Path, samples: NDArray[np.int16], rate_hz: int) -> None:
    with path.open("wb") as file, av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz)
        stream.layout = "mono"
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames(span: FrameSpan, fps: Fraction) -> Iterator[FrameBatch]:
    """Grey that changes with every frame."""
    for start in range(span.start_frame, span.stop_frame, BATCH_FRAMES):
        levels = np.arange(start, min(start + BATCH_FRAMES, span.stop_frame)) % 200 + 20
        pixels = np.broadcast_to(levels[:, None, None, None].astype(np.uint8), (len(levels), SIDE_PX, SIDE_PX, 3))
        yield FrameBatch(pixels.copy(), fps, start)


def _print_worst(rows: list[Row], took_s: float) -> None:
    print(
        f"\n{len(rows)} videos, {sum(row.n_samples / row.rate_hz for row in rows):.1f} s of speech, made and read back "
        f"in {took_s:.1f} s"
    )
    print(f"worst |video - audio|     {1000 * float(max(abs(row.difference_s) for row in rows)):.3f} ms")
    print(f"                          {float(max(abs(row.difference_s * row.fps) for row in rows)):.4f} frames")
    print(f"worst start of the video  {float(max(abs(row.assembled.probe.video_start_s) for row in rows)):.6f} s")
    print(f"worst start of the audio  {float(max(abs(row.assembled.probe.audio_start_s) for row in rows)):.6f} s")
    print(f"worst |audio - speech|    {float(max(abs(row.lost_samples) for row in rows)):.2f} samples")
    print(f"worst |lag|               {max(abs(row.lag_samples) for row in rows)} samples")
    print(f"least SNR                 {min(row.snr_db for row in rows):.1f} dB")


if __name__ == "__main__":
    main()
