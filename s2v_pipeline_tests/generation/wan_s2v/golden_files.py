"""The reference vectors of the official Wan2.2-S2V code: found, put together from their parts, and decoded.

Here: reading (and once, writing) the files under `s2v_pipeline_tests/data/wan_s2v`. Not here: any comparison with them.

A vector is one safetensors file `NAME.safetensors`, or parts `NAME_0.safetensors`, `NAME_1.safetensors`, ... that each
hold the same metadata and some of the tensors. A tensor too large for one part is cut along its first axis; its pieces
are named `tensor[start:stop]`.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

GOLDEN_FOLDER = Path(__file__).parents[2] / "data" / "wan_s2v"

# A pre-commit hook refuses files of more than 2 MiB; the header of a part stays far below what is left.
LARGEST_PART_BYTES = 1_900_000

_PIECE = re.compile(r"(?P<name>.+)\[(?P<start>\d+):(?P<stop>\d+)\]")


def load_golden(name: str, folder: Path = GOLDEN_FOLDER) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The metadata (decoded from JSON) and the tensors of the vector `name`, whole or in parts.

    Raises:
        FileNotFoundError: `folder` holds neither `NAME.safetensors` nor all parts of it.
        ValueError: the parts' metadata differ, or a tensor is there twice or in part only.
    """
    whole = folder / f"{name}.safetensors"
    paths = [whole] if whole.is_file() else _parts(name, folder)
    if not paths:
        raise FileNotFoundError(f"no reference vector {name!r} in {folder}")
    metadata: dict[str, str] | None = None
    tensors: dict[str, torch.Tensor] = {}
    pieces: dict[str, list[tuple[int, int, torch.Tensor]]] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            if metadata is not None and metadata != (file.metadata() or {}):
                raise ValueError(f"{path}: metadata differ from those of the other parts")
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 (not a dict)
                if match := _PIECE.fullmatch(key):
                    piece = (int(match["start"]), int(match["stop"]), file.get_tensor(key))
                    pieces.setdefault(match["name"], []).append(piece)
                elif key in tensors:
                    raise ValueError(f"{path}: {key} is in two parts")
                else:
                    tensors[key] = file.get_tensor(key)
    for key, found in pieces.items():
        tensors[key] = _joined(key, sorted(found, key=lambda piece: piece[0]))
    return {key: json.loads(value) for key, value in (metadata or {}).items()}, tensors


def load_sizes(folder: Path = GOLDEN_FOLDER) -> list[tuple[int, int, int, int, int]]:
    """The rows (height, width, max_area, out_height, out_width) of the official resize rule."""
    table = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    if table["columns"] != ["height", "width", "max_area", "out_height", "out_width"]:
        raise ValueError(f"unknown columns: {table['columns']}")
    return [(row[0], row[1], row[2], row[3], row[4]) for row in table["rows"]]


def write_parts(original: Path, folder: Path) -> list[Path]:
    """Write the file `original` into `folder`: as it is, or as parts of at most LARGEST_PART_BYTES of tensors each."""
    with safe_open(original, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
    parts: list[dict[str, torch.Tensor]] = [{}]
    room_bytes = LARGEST_PART_BYTES
    for key, piece in (item for tensor in tensors.items() for item in _cut(*tensor)):
        if piece.nbytes > room_bytes:
            parts.append({})
            room_bytes = LARGEST_PART_BYTES
        parts[-1][key] = piece
        room_bytes -= piece.nbytes
    stems = [original.stem] if len(parts) == 1 else [f"{original.stem}_{i}" for i in range(len(parts))]
    paths = [folder / f"{stem}.safetensors" for stem in stems]
    for path, part in zip(paths, parts, strict=True):
        save_file(part, path, metadata=metadata)
    return paths


def _parts(name: str, folder: Path) -> list[Path]:
    numbered = re.compile(re.escape(name) + r"_(\d+)\.safetensors")
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := numbered.fullmatch(path.name))]
    numbers = sorted(number for number, _ in found)
    if numbers != list(range(len(numbers))):
        raise FileNotFoundError(f"a part of {name!r} is missing in {folder}: there are {numbers}")
    return [path for _, path in sorted(found)]


def _cut(key: str, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    if tensor.nbytes <= LARGEST_PART_BYTES:
        return [(key, tensor)]
    rows = max(1, LARGEST_PART_BYTES * len(tensor) // tensor.nbytes)
    spans = [(start, min(start + rows, len(tensor))) for start in range(0, len(tensor), rows)]
    return [(f"{key}[{start}:{stop}]", tensor[start:stop].clone()) for start, stop in spans]


def _joined(key: str, pieces: list[tuple[int, int, torch.Tensor]]) -> torch.Tensor:
    end = 0
    for start, stop, piece in pieces:
        if start != end or len(piece) != stop - start:
            raise ValueError(f"{key}: rows {end} to {start} are missing or there twice")
        end = stop
    return torch.cat([piece for _, _, piece in pieces])
