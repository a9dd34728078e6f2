"""What torch says of a GPU's memory, as plain numbers.

Belongs here: reading, and what torch raises when there is none left. Does not belong here: what follows from it
(memory, noted_needs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from s2v_pipeline.errors import ClusterError

_MOST_BESIDE_BYTES = 3 * 2**29
"""CUDA's context, its libraries and NCCL take less than this 1.5 GiB (memory._RESERVE_BYTES) outside of torch's
allocator. What is beyond belongs to other processes."""
_BESIDE_THE_ALLOCATOR = ("out of memory", "_STATUS_ALLOC_FAILED")
"""What CUDA and NCCL, and what cuBLAS and cuDNN say when they get no memory; torch has no class of error for it."""


@dataclass(frozen=True)
class DeviceMemory:
    """A GPU at one moment.

    Attributes:
        gpu: its name.
        total_bytes: of the GPU.
        free_bytes: that no process has.
        held_bytes: by this process' allocator.
        peak_bytes: most of them since `start_peak`.
    """

    gpu: str
    total_bytes: int
    free_bytes: int
    held_bytes: int
    peak_bytes: int

    @property
    def took_bytes(self) -> int:
        """By this process at most, what CUDA takes beside the allocator included."""
        beside = self.total_bytes - self.free_bytes - self.held_bytes
        return self.peak_bytes + min(max(0, beside), _MOST_BESIDE_BYTES)

    @property
    def had_bytes(self) -> int:
        """That this process could have at most beside others, CUDA's share included."""
        beside = self.total_bytes - self.free_bytes - self.held_bytes
        return self.free_bytes + self.held_bytes + min(max(0, beside), _MOST_BESIDE_BYTES)


def read_memory(device: torch.device) -> DeviceMemory:
    """A CUDA device now."""
    free, total = torch.cuda.mem_get_info(device)
    return DeviceMemory(
        gpu=torch.cuda.get_device_name(device),
        total_bytes=total,
        free_bytes=free,
        held_bytes=torch.cuda.memory_reserved(device),
        peak_bytes=torch.cuda.max_memory_reserved(device),
    )


def usable_memory(device: torch.device) -> tuple[str, int]:
    """Name of a CUDA device, and bytes that this process may use of it, whoever else does at the moment."""
    total = torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.get_device_name(device), int(total * torch.cuda.get_per_process_memory_fraction(device))


def start_peak(device: torch.device, *, lets_go: bool) -> None:
    """The peak is that from here on; with `lets_go` what the allocator only holds on to does not count, either."""
    if lets_go:
        torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def memory_suffices(ran_out: Callable[[], None]) -> Iterator[None]:
    """Call `ran_out` where memory runs out in the block.

    Raises:
        ClusterError: then; executors answer it with new processes.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        ran_out()
        raise ClusterError(
            "the GPU's memory must be enough for a chunk",
            got=str(error).splitlines()[0],
            cure="Run it again: models are loaded so that they take less, or it is refused with figures.",
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _BESIDE_THE_ALLOCATOR)
