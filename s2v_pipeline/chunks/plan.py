"""Which frames each chunk makes, and where a chain of chunks starts anew.

Belongs here: splitting a video's frames into segments and chunks; seeds.
Does not belong here: where speech pauses (segments), what a chunk needs (request), how frames are made (generation).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from s2v_pipeline.timebase import FrameSpan

_SEED_BYTES = 8  # NumPy's and torch's generators take 64-bit seeds


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of one video in order; together they are its frames, each exactly once.

    Attributes:
        chunks: frames of each.
        segment_starts: frames at which a segment starts: a run of chunks, of which only the later ones may continue the
            one before.

    Raises:
        ValueError: no chunk, an empty chunk, a gap or an overlap; a segment that does not start with a chunk.
    """

    chunks: tuple[FrameSpan, ...]
    segment_starts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        expected_start = 0
        for chunk in self.chunks:
            if chunk.start_frame != expected_start or not len(chunk):
                raise ValueError(f"chunks must follow each other without gap and hold frames; got {self.chunks}")
            expected_start = chunk.stop_frame
        if not self.chunks:
            raise ValueError("a plan needs at least one chunk")
        starts = [chunk.start_frame for chunk in self.chunks if chunk.start_frame in set(self.segment_starts)]
        if starts != list(self.segment_starts) or starts[0] != 0:
            raise ValueError(f"segments must start with a chunk, the first at frame 0; got {self.segment_starts}")

    @property
    def n_frames(self) -> int:
        """Frames of the whole video."""
        return self.chunks[-1].stop_frame

    @property
    def segments(self) -> tuple[FrameSpan, ...]:
        """Frames of each segment."""
        stops = [*self.segment_starts[1:], self.n_frames]
        return tuple(FrameSpan(start, stop) for start, stop in zip(self.segment_starts, stops, strict=True))

    def segment_of(self, chunk: FrameSpan) -> FrameSpan:
        """Frames of the segment that a chunk is part of."""
        return self.segments[bisect_right(self.segment_starts, chunk.start_frame) - 1]


def plan_chunks(
    n_frames: int, *, chunk_frames: int, first_chunk_frames: int | None = None, cuts: Sequence[int] = ()
) -> ChunkPlan:
    """Chunks of `chunk_frames` frames each, counted from the first frame of their segment; its last one holds the rest.

    Some generators make another number of frames in the first chunk of a segment, where none lie before it.

    Boundaries lie on a fixed grid, so that a longer audio leaves the earlier chunks as they are.

    Args:
        n_frames: of the video.
        chunk_frames: of a chunk.
        first_chunk_frames: of the first chunk of a segment.
        cuts: frames at which a segment starts, but for the first, in order.

    Raises:
        ValueError: a number is not positive, or cuts are out of order or beyond the video.
    """
    first_frames = chunk_frames if first_chunk_frames is None else first_chunk_frames
    if min(n_frames, chunk_frames, first_frames) < 1:
        raise ValueError(f"n_frames and chunk_frames must be positive; got {n_frames}, {chunk_frames}, {first_frames}")
    edges = [0, *cuts, n_frames]
    if any(start >= stop for start, stop in pairwise(edges)):
        raise ValueError(f"cuts must be in order and within {n_frames} frames; got {tuple(cuts)}")
    starts = [
        start for first, stop in pairwise(edges) for start in (first, *range(first + first_frames, stop, chunk_frames))
    ]
    spans = zip(starts, [*starts[1:], n_frames], strict=True)
    return ChunkPlan(tuple(FrameSpan(start, stop) for start, stop in spans), (0, *cuts))


def chunk_seed(input_seed: int, position: int, segment_start_frame: int = 0) -> int:
    """Seed of one chunk, so that any chunk can be remade by itself.

    Args:
        input_seed: of the input.
        position: of the chunk in its segment. A chunk more or less in one segment leaves the others' seeds.
        segment_start_frame: of its segment.
    """
    place = f"{segment_start_frame}/{position}" if segment_start_frame else f"{position}"
    digest = hashlib.sha256(f"{input_seed}/{place}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big")
