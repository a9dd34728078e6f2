"""Safetensors files written tensor by tensor, in shards with an index.

Belongs here: the layout of those files on disk. Does not belong here: reading them (shards), what goes in (convert).

The library's own writer wants a whole file's tensors in memory; the 14B transformer's shards have 10 GB.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch

from s2v_pipeline.generation.wan_s2v.shards import DTYPES

SHARD_BYTES = 10 * 10**9
"""Largest shard, as the hub's own tools cut them."""
_ALIGNMENT_BYTES = 8  # of the first tensor; safetensors pads its header with spaces


@dataclass(frozen=True)
class NewTensor:
    """What a file will say about a tensor; `dtype` as safetensors writes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * torch.empty(0, dtype=DTYPES[self.dtype]).element_size()


def write_shards(
    folder: Path,
    stem: str,
    named: Sequence[NewTensor],
    tensors: Iterator[torch.Tensor],
    *,
    shard_bytes: int = SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write `{stem}.safetensors`, or shards and their index when it would be larger than `shard_bytes`.

    Args:
        folder: made where it is missing.
        named: what is written, in order.
        tensors: the values in that order, each of the type and shape that `named` says.
        on_progress: called with (bytes done, bytes in all).

    Raises:
        ValueError: a tensor is not what `named` says.
        OSError: the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _cut(named, shard_bytes)
    n_total, n_done = sum(each.n_bytes for each in named), 0
    names = [f"{stem}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    paths = [folder / name for name in (names if len(shards) > 1 else [f"{stem}.safetensors"])]
    for path, shard in zip(paths, shards, strict=True):
        with path.open("wb") as file:
            file.write(_header(shard))
            for each in shard:
                tensor = next(tensors)
                if tensor.dtype != DTYPES[each.dtype] or tuple(tensor.shape) != each.shape:
                    raise ValueError(f"{each} is {tensor.dtype} {tuple(tensor.shape)}")
                file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
                n_done += each.n_bytes
                if on_progress is not None:
                    on_progress(n_done, n_total)
            file.flush()
            os.fsync(file.fileno())
    if len(shards) > 1:
        weight_map = {each.name: path.name for path, shard in zip(paths, shards, strict=True) for each in shard}
        index = {"metadata": {"total_size": n_total}, "weight_map": dict(sorted(weight_map.items()))}
        text = json.dumps(index, indent=2) + "\n"
        (folder / f"{stem}.safetensors.index.json").write_text(text, encoding="utf-8")
    return tuple(paths)


def _cut(named: Sequence[NewTensor], shard_bytes: int) -> list[list[NewTensor]]:
    shards: list[list[NewTensor]] = [[]]
    n_bytes = 0
    for each in named:
        if shards[-1] and n_bytes + each.n_bytes > shard_bytes:
            shards.append([])
            n_bytes = 0
        shards[-1].append(each)
        n_bytes += each.n_bytes
    return shards


def _header(shard: Sequence[NewTensor]) -> bytes:
    stops = list(accumulate(each.n_bytes for each in shard))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for each, stop in zip(shard, stops, strict=True):
        offsets = [stop - each.n_bytes, stop]
        entries[each.name] = {"dtype": each.dtype, "shape": list(each.shape), "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text
