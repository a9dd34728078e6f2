"""Which frames each chunk makes.

Belongs here: splitting a video's frames into chunks.
Does not belong here: what a chunk needs (request), how frames are made (generation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from s2v_pipeline.timebase import FrameSpan

_SEED_BYTES = 8  # NumPy's and torch's generators take 64-bit seeds


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of one video in order; together they are its frames, each exactly once.

    Raises:
        ValueError: no chunk, an empty chunk, a gap or an overlap.
    """

    chunks: tuple[FrameSpan, ...]

    def __post_init__(self) -> None:
        expected_start = 0
        for chunk in self.chunks:
            if chunk.start_frame != expected_start or not len(chunk):
                raise ValueError(f"chunks must follow each other without gap and hold frames; got {self.chunks}")
            expected_start = chunk.stop_frame
        if not self.chunks:
            raise ValueError("a plan needs at least one chunk")

    @property
    def n_frames(self) -> int:
        """Frames of the whole video."""
        return self.chunks[-1].stop_frame


def plan_chunks(n_frames: int, *, chunk_frames: int, first_chunk_frames: int | None = None) -> ChunkPlan:
    """Chunks of `chunk_frames` frames each, counted from the first frame; the last one holds the rest.

    Some generators make another number of frames in the first chunk, where none lie before it.

    Boundaries lie on a fixed grid, so that a longer audio leaves the earlier chunks as they are.

    Raises:
        ValueError: a number is not positive.
    """
    first_frames = chunk_frames if first_chunk_frames is None else first_chunk_frames
    if min(n_frames, chunk_frames, first_frames) < 1:
        raise ValueError(f"n_frames and chunk_frames must be positive; got {n_frames}, {chunk_frames}, {first_frames}")
    stops = [*range(first_frames, n_frames, chunk_frames), n_frames]
    return ChunkPlan(tuple(FrameSpan(start, stop) for start, stop in zip([0, *stops], stops, strict=False)))


def chunk_seed(input_seed: int, chunk_index: int) -> int:
    """Seed of one chunk, from (input seed, chunk index) alone, so that any chunk can be remade by itself."""
    digest = hashlib.sha256(f"{input_seed}/{chunk_index}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big")
