"""Every codec in every container: how large, how fast to make, and does it play, in FFmpeg and in a browser?

Makes a few seconds from the sample's portrait, swaying, with the sample's voice, in chunks, through `clips.encode` and
`video.mux`; reads each file back with FFmpeg (through PyAV) and, with --browser, plays it in headless Chromium: a
second from the start, a seek, the rest to the end, listening. Then the same for HLS (hls.js) and DASH (dash.js).
Nothing is written outside a temporary folder. --browser needs Chromium, npm with a registry, and playwright from PyPI.

    python benchmarks/delivery.py --seconds 6 --side 512
    python benchmarks/delivery.py --seconds 6 --side 512 --browser

Columns: size in kB; CPU seconds of the encoder, and seconds of video a CPU second; PSNR of the luma against the frames
that went in; frames decoded by FFmpeg; start of picture and sound; picture minus sound in ms; lag of the sound in
samples; and in Chromium the last time shown, frames shown and dropped, bytes of sound decoded. With --source a video's
frames are used instead, scaled to --side.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.encoders import SOFTWARE, own_quality, why_not
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.timebase import FrameSpan, frames_for_samples
from s2v_pipeline.video.assembled import AssembledVideo
from s2v_pipeline.video.audio_difference import audio_difference
from s2v_pipeline.video.captions import Chapter, Cue, Inside
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline.video.ladder import rungs, scaled_clips
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline.video.streaming import StreamSound, write_stream
from s2v_pipeline.video_settings import CODECS_OF, Codec, VideoSettings

SAMPLE = Path(__file__).parent.parent / "data" / "samples" / "astronaut"
FPS = Fraction(25)
CHUNK_FRAMES = 50
SWAY_PX, TURN_DEGREES = 6, 2  # about what a speaking head does
CAPTIONS = "WEBVTT\n\n00:00:00.200 --> 00:00:02.000\nhello\n"
INSIDE = Inside((Cue(200, 2000, "hello"),), (Chapter(Fraction(0), Fraction(2), "one"),))
LUMA = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Material:
    """What all files are made from."""

    frames: NDArray[np.uint8]
    speech: Path
    spans: tuple[FrameSpan, ...]

    @property
    def counts(self) -> list[int]:
        return [len(span) for span in self.spans]


def swaying(n_frames: int, side_px: int) -> NDArray[np.uint8]:
    """The portrait, moved and turned a little in each frame."""
    portrait = cv2.cvtColor(cv2.imread(str(SAMPLE / "portrait.png")), cv2.COLOR_BGR2RGB)
    portrait = cv2.resize(portrait, (side_px, side_px), interpolation=cv2.INTER_AREA)
    frames = []
    for index in range(n_frames):
        phase = 2 * np.pi * index / float(FPS)
        matrix = cv2.getRotationMatrix2D((side_px / 2, side_px), TURN_DEGREES * np.sin(0.4 * phase), 1.02)
        matrix[:, 2] += SWAY_PX * np.sin([0.7 * phase, 0.9 * phase + 1])
        frames.append(cv2.warpAffine(portrait, matrix, (side_px, side_px), borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames).astype(np.uint8)


def frames_of(source: Path, n_frames: int, side_px: int) -> NDArray[np.uint8]:
    """The first frames of a video, scaled."""
    frames: list[Any] = []
    for shown in iter_frames(source):
        frames.append(cv2.resize(shown.pixels, (side_px, side_px), interpolation=cv2.INTER_AREA))
        if len(frames) == n_frames:
            break
    return np.stack([frames[index % len(frames)] for index in range(n_frames)])


def prepare(folder: Path, seconds: float, side_px: int, source: Path | None) -> Material:
    """Frames, and the sample's voice cut to length as FLAC."""
    with av.open(str(SAMPLE / "speech.wav")) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate_hz = container.streams.audio[0].codec_context.sample_rate
    samples = np.concatenate(decoded, axis=1)[:1, : int(seconds * rate_hz)]
    speech = folder / "speech.flac"
    with av.open(str(speech), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz)
        stream.layout, stream.format = "mono", "s16"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    n_frames = frames_for_samples(samples.shape[1], rate_hz, FPS)
    frames = swaying(n_frames, side_px) if source is None else frames_of(source, n_frames, side_px)
    return Material(frames, speech, tuple(plan_chunks(n_frames, chunk_frames=CHUNK_FRAMES).chunks))


def encode(material: Material, folder: Path, settings: VideoSettings) -> tuple[list[Path], float]:
    """(clips, CPU seconds)."""
    clips, started_s = [], time.process_time()
    for index, span in enumerate(material.spans):
        clips.append(folder / f"{settings.codec}-{settings.bit_depth}-{index:05d}.mp4")
        pixels = material.frames[span.start_frame : span.stop_frame]
        encode_clip(
            iter([FrameBatch(pixels, FPS, span.start_frame)]),
            clips[-1],
            frames=span,
            fps=FPS,
            width_px=settings.width_px,
            height_px=settings.height_px,
            settings=settings,
        )
    return clips, time.process_time() - started_s


def psnr_db(frames: NDArray[np.uint8], path: Path) -> float:
    """Of the luma, over all frames."""
    errors = [
        np.mean(((shown.pixels.astype(np.float64) - frame) @ LUMA) ** 2)
        for shown, frame in zip(iter_frames(path), frames, strict=True)
    ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def variants() -> Iterator[tuple[Codec, int]]:
    """Codecs and bit depths whose encoder works here; others are named."""
    for codec, encoder in SOFTWARE.items():
        for depth in (8, 10):
            reason = why_not(encoder, depth)
            if reason:
                print(f"{codec} {depth} bit: left out, {reason}")
            else:
                yield codec, depth


def played_columns(page: Any, name: str, seconds: float, kind: str = "file") -> str:
    """What Chromium says of a file, or why it does not play."""
    from s2v_pipeline_tests.browser import play

    played = play(page, name, seek_s=seconds * 0.6, kind=kind)
    report = played.report
    if not report["ready"]:
        return f"does not play: {report.get('error')}"
    shown = f"{report['frames_shown']} shown, {report['frames_dropped']} dropped, {report['audio_bytes']} B of sound"
    starts = f", segments at {report['starts']}" if kind != "file" else ""
    verdict = "plays" if played.complete else "incomplete"
    times = f"of {report['duration_s']:.3f} s, sought to {report['sought_to_s']:.2f}, end {report['end_s']:.3f}"
    return f"{verdict}: {times}; {shown}{starts}"


def main() -> None:
    """Make, measure, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--crf", type=int, default=18)
    parser.add_argument("--preset", default="veryfast")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, media = Path(name), Path(name) / "media"
        media.mkdir()
        page = None
        if given.browser:
            from s2v_pipeline_tests.browser import chromium_page, fetch_players

            (folder / "npm").mkdir()
            page = stack.enter_context(chromium_page(media, fetch_players(folder / "npm")))
        material = prepare(folder, given.seconds, given.side, given.source)
        base = {"width_px": given.side, "height_px": given.side, "crf": given.crf, "x264_preset": given.preset}
        for codec, depth in variants():
            settings = VideoSettings.model_validate({**base, "codec": codec, "bit_depth": depth})
            clips, cpu_s = encode(material, folder, settings)
            length_s = len(material.frames) / float(FPS)
            quality = psnr_db(material.frames[: len(material.spans[0])], clips[0])
            number = own_quality(SOFTWARE[codec], given.crf)
            print(
                f"\n{codec} {depth} bit, quality {number}: {cpu_s:.2f} CPU s, {length_s / cpu_s:.1f} x real time, "
                f"{quality:.1f} dB"
            )
            for container in (each for each, codecs in CODECS_OF.items() if codec in codecs):
                path = media / f"{codec}-{depth}.{container}"
                assembled = assemble_video(
                    clips,
                    material.speech,
                    path,
                    frame_counts=material.counts,
                    fps=FPS,
                    settings=settings.model_copy(update={"container": container}),
                    metadata={"title": "delivery"},
                    inside=INSIDE,
                )
                print(f"  {container:4} {_read_back(assembled, path, material)}")
                if page is not None:
                    print(f"       Chromium {played_columns(page, path.name, length_s)}")
            if depth == 8:
                stream = media / f"stream-{codec}"
                stream.mkdir()
                ladder = [
                    scaled_clips(
                        clips,
                        folder,
                        rung,
                        frame_counts=material.counts,
                        fps=FPS,
                        settings=settings,
                        encoder=SOFTWARE[codec],
                    )
                    for rung in rungs(given.side, given.side, (360,))[:-1]
                ]
                written = write_stream(
                    [*ladder, clips],
                    material.speech,
                    stream,
                    frame_counts=material.counts,
                    fps=FPS,
                    sound=StreamSound(128),
                    captions=CAPTIONS,
                )
                print(f"  streams: {len(written.sizes)} sizes, {written.n_segments} segments of each")
                if page is not None:
                    for kind, playlist in (("hls", "master.m3u8"), ("dash", "manifest.mpd")):
                        print(f"       {kind} {played_columns(page, f'{stream.name}/{playlist}', length_s, kind)}")


def _read_back(assembled: AssembledVideo, path: Path, material: Material) -> str:
    probe = assembled.probe
    decoded = sum(1 for _ in iter_frames(path))
    lag_samples = audio_difference(path, material.speech).lag_samples
    return (
        f"{probe.size_bytes / 1000:7.0f} kB, {probe.codec} {probe.pix_fmt} + {probe.audio_codec}, {decoded} frames of "
        f"{len(material.frames)}, starts {float(probe.video_start_s)} {float(probe.audio_start_s)}, "
        f"{1000 * float(assembled.video_minus_audio_s):+.2f} ms, lag {lag_samples}"
    )


if __name__ == "__main__":
    main()
