"""What a stage that works chunk by chunk hands on: which file holds which frames.

Belongs here: the manifests of chunk_latents and rendered_clips.
Does not belong here: making the files (cluster.tasks), where they lie (artifacts).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction

from s2v_pipeline.chunks.plan import ChunkPlan
from s2v_pipeline.timebase import FrameSpan


@dataclass(frozen=True)
class GpuUse:
    """What a chunk took of a GPU's memory.

    Attributes:
        gpu: its name.
        way: how models were loaded, such as "text_encoder".
        total_bytes: memory that the process may use.
        estimated_bytes: expected before anything was measured.
        measured_bytes: expected by what chunks took before; None where none was made so.
        took_bytes: by this process, CUDA's own share included.
    """

    gpu: str
    way: str
    total_bytes: int
    estimated_bytes: int
    measured_bytes: int | None
    took_bytes: int


@dataclass(frozen=True)
class ChunkFile:
    """One chunk's file.

    Attributes:
        index: position in the plan.
        frames: which frames it holds.
        part: its name in the artifact store.
        key: hash of everything that its content depends on.
        made: whether this run made it; otherwise it was there already.
        seconds_s: wall time in the worker, the look-up included.
        worker: "host:pid" of the process that made it or found it.
        notes: what people should know about how it was made.
        cached: whether it came from the chunk cache, made earlier for this or another input.
        retries: times that it was begun before, by workers that did not get to its end.
        timings_s: (name, seconds) of the parts of `seconds_s`: "generate", "decode", "encode", "write", "cache" ...;
            parts of a part have its name in front ("generate.denoise"). "wait" comes before: for a free worker.
        gpus: what the worker computed on, "index name" each; () for CPUs and where it cannot be told.
        gpu_use: of memory, by the worker's first process; None for CPUs.
    """

    index: int
    frames: FrameSpan
    part: str
    key: str
    made: bool
    seconds_s: float
    worker: str
    notes: tuple[str, ...] = ()
    cached: bool = False
    retries: int = 0
    timings_s: tuple[tuple[str, float], ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_use: GpuUse | None = None

    @property
    def origin(self) -> str:
        """Where the file came from, in a word or three."""
        return "made" if self.made else "found in cache" if self.cached else "found"


@dataclass(frozen=True)
class ChunkManifest:
    """All chunks of one video at one stage, in order.

    Attributes:
        input_id, asset: whose chunks, and of which asset.
        generator, fingerprint: what made them.
        fps, width_px, height_px: of the video.
        prompt_words: what the generator understood of the prompt.
        notes: what people should know about how they were made, such as approximations.
        chunks: one file each.
        prompt_words_ignored: what of the prompt changes nothing.
        segment_starts: frames at which the chain of chunks starts, see `ChunkPlan`; all but 0 are cuts in pauses.

    Raises:
        ValueError: the chunks do not follow each other from frame 0 without gap, or a segment does not start with one.
    """

    input_id: str
    asset: str
    generator: str
    fingerprint: str
    fps: Fraction
    width_px: int
    height_px: int
    prompt_words: tuple[str, ...]
    notes: tuple[str, ...]
    chunks: tuple[ChunkFile, ...]
    prompt_words_ignored: tuple[str, ...] = ()
    segment_starts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        expected_start = 0
        for position, chunk in enumerate(self.chunks):
            if chunk.index != position or chunk.frames.start_frame != expected_start:
                raise ValueError(f"chunk files must follow the plan in order; got {chunk} at position {position}")
            expected_start = chunk.frames.stop_frame
        if self.chunks:
            ChunkPlan(tuple(chunk.frames for chunk in self.chunks), self.segment_starts)

    @property
    def segments(self) -> tuple[FrameSpan, ...]:
        """Frames of each segment."""
        return ChunkPlan(tuple(chunk.frames for chunk in self.chunks), self.segment_starts).segments

    def segment_number(self, chunk: ChunkFile) -> int:
        """Which segment a chunk is part of, from 0."""
        return bisect_right(self.segment_starts, chunk.frames.start_frame) - 1

    @property
    def n_frames(self) -> int:
        """Frames of the whole video."""
        return self.chunks[-1].frames.stop_frame if self.chunks else 0

    @property
    def n_made(self) -> int:
        """Chunks that this run made, rather than found."""
        return sum(chunk.made for chunk in self.chunks)

    @property
    def n_cached(self) -> int:
        """Chunks that came from the chunk cache."""
        return sum(chunk.cached for chunk in self.chunks)
