"""Layers that wait in pinned host memory and are copied to the GPU one ahead of their use.

Belongs here: the copies, their order, the slots on the GPU.
Does not belong here: which layers there are (transformer), whether to stream (memory).

diffusers' group offloading does this for modules that are entered through `forward` alone and moves everything else of
a model too; here a layer is a block with its audio injector, which is called in pieces, and all the rest stays.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s2v_pipeline.errors import WeightsError

N_SLOTS = 2  # the layer at work and the one that is copied meanwhile
_ALIGNMENT_BYTES = 256  # of every tensor in a slot, as CUDA's own allocations


@dataclass(frozen=True, eq=False)
class _Layer:
    """Tensors of one layer and their places in a flat buffer.

    Attributes:
        tensors: parameters and buffers, whose data is swapped.
        offsets_bytes: where each starts.
        host: (n_bytes,) uint8, pinned.
        resting: the tensors' data on the host.
    """

    tensors: tuple[Tensor, ...]
    offsets_bytes: tuple[int, ...]
    host: Tensor
    resting: tuple[Tensor, ...]


@dataclass(eq=False)
class _Slot:
    """A flat buffer on the GPU.

    Attributes:
        memory: (n_bytes,) uint8.
        layer: which one it holds; None at first.
        copied: recorded when the copy into it was enqueued.
        used: recorded when the last work on it was enqueued.
    """

    memory: Tensor
    layer: int | None
    copied: torch.cuda.Event
    used: torch.cuda.Event


class LayerStreamer:
    """Streams layers that are used in a cycle.

    One forward at a time: the layers' tensors point to the GPU while a layer is at work.

    Args:
        layers: modules of each layer, in the order of use. Their data is moved to pinned memory.
        device: a CUDA device.
    """

    def __init__(self, layers: Sequence[Sequence[nn.Module]], device: torch.device) -> None:
        self._layers = [_rest_on_host(modules) for modules in layers]
        largest = max(len(layer.host) for layer in self._layers)
        self._slots = [
            _Slot(torch.empty(largest, dtype=torch.uint8, device=device), None, torch.cuda.Event(), torch.cuda.Event())
            for _ in range(min(N_SLOTS, len(self._layers)))
        ]
        self._copies = torch.cuda.Stream(device)
        self._device = device

    @property
    def n_bytes_on_gpu(self) -> int:
        """What the slots take."""
        return sum(len(slot.memory) for slot in self._slots)

    @contextmanager
    def at_work(self, index: int) -> Generator[None, None, None]:
        """The layer's tensors lie on the GPU inside; the next layer is copied meanwhile."""
        slot = self._slot_with(index)
        following = (index + 1) % len(self._layers)
        if len(self._slots) > 1 and all(other.layer != following for other in self._slots):
            self._copy(following, next(other for other in self._slots if other is not slot))
        work = torch.cuda.current_stream(self._device)
        work.wait_event(slot.copied)
        layer = self._layers[index]
        for tensor, view in zip(layer.tensors, _views(layer, slot.memory), strict=True):
            tensor.data = view
        try:
            yield
        finally:
            slot.used.record(work)
            for tensor, resting in zip(layer.tensors, layer.resting, strict=True):
                tensor.data = resting

    def _slot_with(self, index: int) -> _Slot:
        for slot in self._slots:
            if slot.layer == index:
                return slot
        slot = self._slots[0]
        self._copy(index, slot)
        return slot

    def _copy(self, index: int, slot: _Slot) -> None:
        host = self._layers[index].host
        with torch.cuda.stream(self._copies):
            self._copies.wait_event(slot.used)
            slot.memory[: len(host)].copy_(host, non_blocking=True)
            slot.copied.record(self._copies)
        slot.layer = index


def _rest_on_host(modules: Sequence[nn.Module]) -> _Layer:
    tensors = tuple(tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    offsets, end = [], 0
    for tensor in tensors:
        offsets.append(end)
        end += -(-tensor.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    host = torch.empty(end, dtype=torch.uint8)
    _pin(host)
    layer = _Layer(tensors, tuple(offsets), host, ())
    resting = tuple(_views(layer, host))
    for tensor, place in zip(tensors, resting, strict=True):
        place.copy_(tensor.data)
        tensor.data = place
    return _Layer(tensors, tuple(offsets), host, resting)


def _pin(host: Tensor) -> None:
    """Lock the buffer's pages, so that copies run beside the GPU's work. torch's own allocator of pinned memory rounds
    up to powers of two, which would take 12 GB more for the 14B model."""
    if not torch.cuda.is_available():
        return
    cudart = torch.cuda.cudart()
    status = int(cudart.cudaHostRegister(host.data_ptr(), host.nbytes, 0))
    if status != 0:
        raise WeightsError(
            "layers that are streamed must be locked in host memory",
            got=f"CUDA error {status} for {host.nbytes / 2**20:.0f} MiB",
            cure="Free host memory or raise `ulimit -l`; wan.fp8 = true halves what is needed.",
        )
    weakref.finalize(host, cudart.cudaHostUnregister, host.data_ptr())


def _views(layer: _Layer, memory: Tensor) -> list[Tensor]:
    return [
        memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(layer.tensors, layer.offsets_bytes, strict=True)
    ]
