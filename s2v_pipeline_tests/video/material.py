"""Real small media for the tests of clips and video: moving pictures, voiced sound, FLAC files, clips on disk."""

from __future__ import annotations

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
from s2v_pipeline.video.mux import assemble_video

SIDE_PX = 64
SETTINGS = VideoSettings(width_px=SIDE_PX, height_px=SIDE_PX)
_LAYOUTS = {1: "mono", 2: "stereo"}


def picture(frame: int, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """A gradient with a bright square that moves, and the frame's number as a row of 16 black and white cells."""
    ramp = np.linspace(40, 200, side_px, dtype=np.float32)
    pixels = np.stack(
        [np.tile(ramp, (side_px, 1)), np.tile(ramp[:, None], (1, side_px)), np.full((side_px,) * 2, 90)], 2
    )
    left = (frame * 2) % (side_px - 16)
    pixels[24:40, left : left + 16] = (230, 180, 160)
    cell = side_px // 16
    for bit in range(16):
        pixels[-8:, bit * cell : (bit + 1) * cell] = 255 if frame >> bit & 1 else 0
    return pixels.astype(np.uint8)


def read_number(pixels: NDArray[np.uint8]) -> int:
    """The frame's number that `picture` wrote."""
    cell = pixels.shape[1] // 16
    row = pixels[-6:-2].mean(axis=(0, 2)).reshape(16, cell)[:, 1:-1].mean(axis=1)
    return sum(1 << bit for bit in range(16) if row[bit] > 127)


def batches(span: FrameSpan, fps: Fraction, *, size: int = 7) -> Iterator[FrameBatch]:
    """`picture` of every frame of a span, in batches."""
    for start in range(span.start_frame, span.stop_frame, size):
        stop = min(start + size, span.stop_frame)
        yield FrameBatch(np.stack([picture(frame) for frame in range(start, stop)]), fps, start)


def voice(n_samples: int, rate_hz: int, *, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """(channels, n) sound like a voice: harmonics of a gliding pitch under an envelope of syllables, a little noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time_s + seed)) / rate_hz
    harmonics = [np.sin(order * phase) / order for order in range(1, 12) if order * 150 < rate_hz / 2]
    syllables = 0.2 + np.abs(np.sin(2 * np.pi * 2.3 * time_s + 0.5 + seed))
    sound = 0.15 * syllables * np.sum(harmonics, axis=0) + 0.003 * rng.standard_normal(n_samples)
    return np.stack([sound, 0.5 * sound][:channels]).clip(-1, 1).astype(np.float32)


def write_flac(path: Path, sound: NDArray[np.float32], rate_hz: int) -> Path:
    """16-bit FLAC of (channels, n) samples."""
    layout = _LAYOUTS[len(sound)]
    samples = np.ascontiguousarray((sound * 32767).astype(np.int16).T.reshape(1, -1))
    with path.open("wb") as file, av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz)
        stream.layout = layout
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_clip(path: Path, span: FrameSpan, fps: Fraction, *, settings: VideoSettings = SETTINGS) -> Path:
    """A clip of `picture`."""
    encode_clip(batches(span, fps), path, frames=span, fps=fps, width_px=SIDE_PX, height_px=SIDE_PX, settings=settings)
    return path


@dataclass(frozen=True)
class Made:
    """A video, what it was made from, and what the assembly said."""

    path: Path
    speech: Path
    clips: tuple[Path, ...]
    n_samples: int
    n_frames: int
    assembled: AssembledVideo


def make_video(
    folder: Path,
    *,
    n_samples: int,
    rate_hz: int,
    fps: Fraction,
    chunk_frames: int = 10**6,
    channels: int = 1,
    seed: int = 0,
    settings: VideoSettings = SETTINGS,
) -> Made:
    """A whole video from voice and `picture`."""
    speech = write_flac(folder / "speech.flac", voice(n_samples, rate_hz, channels=channels, seed=seed), rate_hz)
    n_frames = frames_for_samples(n_samples, rate_hz, fps)
    plan = plan_chunks(n_frames, chunk_frames=chunk_frames)
    clips = tuple(
        write_clip(folder / f"{index:05d}.mp4", span, fps, settings=settings) for index, span in enumerate(plan.chunks)
    )
    path = folder / f"video.{settings.container}"
    assembled = assemble_video(
        clips,
        speech,
        path,
        frame_counts=[len(span) for span in plan.chunks],
        fps=fps,
        settings=settings,
        metadata={"title": "A title", "comment": "made in a test"},
    )
    return Made(path, speech, clips, n_samples, n_frames, assembled)
