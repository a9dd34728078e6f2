"""What every generator promises.

Belongs here: the protocol and the values that cross it.
Does not belong here: any implementation, and any import of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.chunks.manifest import GpuUse
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.timebase import FrameSpan

Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Carry:
    """What a chained generator hands from one chunk to the next.

    Attributes:
        key: of the chunk that hands it on, `request.key(fingerprint, key of the carry that it was given, or "")`; it
            stands for the content in the next chunk's key.
        tensors: name -> array.
    """

    key: str
    tensors: Tensors


@dataclass(frozen=True, eq=False)
class GeneratedChunk:
    """Latents of one chunk.

    Attributes:
        frames: which frames they decode to.
        latents: name -> array; the first axis of each is time.
        carry: for the next chunk; None where chunks are independent, and of a request that `is_last`.
        notes: what people should know about how they were made, such as an approximation for want of memory.
        timings_s: (part, seconds) of the work, such as ("denoise", 41.2), for those who look where the time went; they
            have no share in the chunk's file.
        gpu_use: memory of the GPU that it was made on; likewise.
        pixels: (frames, height, width, 3) uint8, where the generator had to decode the frames anyway.
    """

    frames: FrameSpan
    latents: Tensors
    carry: Carry | None = None
    notes: tuple[str, ...] = ()
    timings_s: tuple[tuple[str, float], ...] = ()
    pixels: NDArray[np.uint8] | None = None
    gpu_use: GpuUse | None = None


@runtime_checkable
class Generator(Protocol):
    """Makes the chunks of a talking video.

    Attributes:
        fingerprint: code version, weights and settings that change pixels; part of every chunk's key.
        chained: whether chunk k needs the carry of chunk k-1.

    Both methods are pure: the same arguments give the same bytes, in any process and in any order. Neither keeps state
    of a request on the object.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def chained(self) -> bool: ...

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        """Latents of the request's frames.

        Raises:
            GenerationError: the request cannot be met.
        """
        ...

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        """The chunk's frames in order, in batches small enough that memory stays bounded.

        Raises:
            GenerationError: the latents do not fit the request.
        """
        ...
