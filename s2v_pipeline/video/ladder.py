"""The sizes of a stream, and the clips of each: the video's own clips for its own size, smaller ones encoded from them.

Belongs here: which sizes, scaling, encoding chunk by chunk so that each chunk starts with a key frame in every size.
Does not belong here: segments and playlists (streaming, playlists).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.frames import iter_frames

_BATCH_FRAMES = 16  # large pictures stay a few tens of megabytes


@dataclass(frozen=True)
class Rung:
    """One size of a stream."""

    width_px: int
    height_px: int


def rungs(width_px: int, height_px: int, shorter_sides_px: Sequence[int]) -> tuple[Rung, ...]:
    """The sizes from small to large: those below the video's, which keep its shape to a pixel or two, and its own."""
    shorter_px = min(width_px, height_px)
    smaller = [side for side in sorted(set(shorter_sides_px)) if side < shorter_px]
    scaled = [
        Rung(_even(Fraction(width_px * side, shorter_px)), _even(Fraction(height_px * side, shorter_px)))
        for side in smaller
    ]
    return (*scaled, Rung(width_px, height_px))


def scaled_clips(
    clips: Sequence[Path],
    folder: Path,
    rung: Rung,
    *,
    frame_counts: Sequence[int],
    fps: Fraction,
    settings: VideoSettings,
    encoder: str,
) -> tuple[Path, ...]:
    """A clip of the rung's size for every clip, in `folder`; a few frames are in memory at a time.

    Raises:
        MediaError: a clip that cannot be read, or frames that cannot be encoded.
    """
    made = []
    for index, (clip, n_frames) in enumerate(zip(clips, frame_counts, strict=True)):
        path = folder / f"{rung.width_px}x{rung.height_px}-{index:05d}.mp4"
        encode_clip(
            _scaled(clip, rung, fps),
            path,
            frames=FrameSpan(0, n_frames),
            fps=fps,
            width_px=rung.width_px,
            height_px=rung.height_px,
            settings=settings,
            encoder=encoder,
        )
        made.append(path)
    return tuple(made)


def _scaled(clip: Path, rung: Rung, fps: Fraction) -> Iterator[FrameBatch]:
    batch: list[np.ndarray] = []
    start_frame = 0
    for shown in iter_frames(clip):
        # Averages the pixels that become one: no moire from fabric and hair, whatever the factor.
        batch.append(cv2.resize(shown.pixels, (rung.width_px, rung.height_px), interpolation=cv2.INTER_AREA))
        if len(batch) == _BATCH_FRAMES:
            yield FrameBatch(np.stack(batch), fps, start_frame)
            start_frame, batch = start_frame + len(batch), []
    if batch:
        yield FrameBatch(np.stack(batch), fps, start_frame)


def _even(length_px: Fraction) -> int:
    return max(2, 2 * round(length_px / 2))
