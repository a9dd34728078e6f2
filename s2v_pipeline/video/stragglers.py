"""Chunks that took far longer than the others of their video.

Belongs here: which ones, by how much. Does not belong here: logging it (defs.running), the file (generation_stats).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from s2v_pipeline.chunks.manifest import ChunkFile

MOST_TIMES = 2.0
"""Of the median. Chunks of one video are alike: side by side on two cores they differ by a third."""
_FEWEST_CHUNKS = 4  # of three, one that is slow is a third of all that is known
_LEAST_EXCESS_S = 1.0  # less is a pause of the machine, and nothing that anyone would look for
CPU = "CPU"


@dataclass(frozen=True)
class Straggler:
    """A chunk that took long.

    Attributes:
        chunk: its index.
        worker: that made it.
        device: kind of it: the GPUs' names, or "CPU".
        seconds_s: that it took, without loading.
        usual_s: what as many frames take at the median rate of the video's chunks on this kind of device.
    """

    chunk: int
    worker: str
    device: str
    seconds_s: float
    usual_s: float

    @property
    def times(self) -> float:
        """How many times as long as usual."""
        return self.seconds_s / self.usual_s

    def __str__(self) -> str:
        return (
            f"chunk {self.chunk} took {self.seconds_s:.1f} s, {self.times:.1f} times as long as usual on "
            f"{self.device} ({self.usual_s:.1f} s), by {self.worker}"
        )


def stragglers(chunks: Sequence[ChunkFile]) -> tuple[Straggler, ...]:
    """Of those that were made, the ones over `MOST_TIMES` the median, each among its kind of device."""
    by_device: dict[str, list[ChunkFile]] = {}
    for chunk in chunks:
        if chunk.made:
            by_device.setdefault(device_kind(chunk), []).append(chunk)
    found = []
    for device, made in by_device.items():
        if len(made) < _FEWEST_CHUNKS:
            continue
        # By frame: the last chunk of a video is short.
        usual_s = statistics.median(work_s(chunk) / len(chunk.frames) for chunk in made)
        for chunk in made:
            expected_s = usual_s * len(chunk.frames)
            if work_s(chunk) > max(MOST_TIMES * expected_s, expected_s + _LEAST_EXCESS_S):
                found.append(Straggler(chunk.index, chunk.worker, device, work_s(chunk), expected_s))
    return tuple(sorted(found, key=lambda straggler: straggler.chunk))


def device_kind(chunk: ChunkFile) -> str:
    """Names of its GPUs without their numbers on the host."""
    return ", ".join(name.partition(" ")[2] or name for name in chunk.gpus) or CPU


def work_s(chunk: ChunkFile) -> float:
    """Seconds of a chunk without loading the generator."""
    return chunk.seconds_s - sum(seconds for name, seconds in chunk.timings_s if name == "load")
