"""A chunk's latents on disk, and what it hands to the next chunk: one safetensors file.

Belongs here: saving and loading named arrays with the span that they decode to.
Does not belong here: where the file lies and whether it may be used (artifacts).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.timebase import FrameSpan

_SPAN_KEY = "frames"
_NOTES_KEY = "notes"
_CARRY_PREFIX = "carry."  # of the names of what the next chunk starts from
_Arrays = Mapping[str, NDArray[np.generic]]


def save_latents(
    path: Path, frames: FrameSpan, latents: _Arrays, carry: _Arrays | None = None, notes: Sequence[str] = ()
) -> None:
    """Write latents, their span, the carry for the next chunk and notes; not atomic by itself.

    Raises:
        ValueError: a latent's name starts as those of the carry do.
    """
    if any(name.startswith(_CARRY_PREFIX) for name in latents):
        raise ValueError(f"names of latents must not start with {_CARRY_PREFIX!r}; got {sorted(latents)}")
    arrays = {**latents, **{f"{_CARRY_PREFIX}{name}": array for name, array in (carry or {}).items()}}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {_SPAN_KEY: json.dumps([frames.start_frame, frames.stop_frame])}
    if notes:  # safetensors writes several entries in any order: without notes, the same latents make the same bytes
        metadata[_NOTES_KEY] = json.dumps(list(notes))
    save_file(contiguous, path, metadata=metadata)


def load_latents(path: Path) -> tuple[FrameSpan, dict[str, NDArray[np.generic]]]:
    """Span and latents that `save_latents` wrote, without the carry.

    Raises:
        ArtifactError: not such a file.
    """
    return _load(path, carry=False)


def load_carry(path: Path) -> dict[str, NDArray[np.generic]]:
    """The carry that `save_latents` wrote; empty where there was none.

    Raises:
        ArtifactError: not such a file.
    """
    _, arrays = _load(path, carry=True)
    return {name.removeprefix(_CARRY_PREFIX): array for name, array in arrays.items()}


def load_notes(path: Path) -> tuple[str, ...]:
    """The notes that `save_latents` wrote.

    Raises:
        ArtifactError: not such a file.
    """
    with _readable(path), safe_open(path, framework="numpy") as file:
        return tuple(str(note) for note in json.loads((file.metadata() or {}).get(_NOTES_KEY, "[]")))


def _load(path: Path, *, carry: bool) -> tuple[FrameSpan, dict[str, NDArray[np.generic]]]:
    with _readable(path), safe_open(path, framework="numpy") as file:
        start_frame, stop_frame = json.loads((file.metadata() or {})[_SPAN_KEY])
        if type(start_frame) is not int or type(stop_frame) is not int:
            raise ValueError(f"a frame span is two whole numbers; got {start_frame!r}, {stop_frame!r}")
        names = [name for name in file.keys() if name.startswith(_CARRY_PREFIX) is carry]  # noqa: SIM118 (not a mapping)
        return FrameSpan(start_frame, stop_frame), {name: file.get_tensor(name) for name in names}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    # TypeError and AttributeError: a dtype that NumPy lacks (bfloat16, float8), or JSON of another shape.
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            "chunk latents must be a safetensors file that names its frame span",
            got=f"{path.name}: {error}",
            cure="Materialise chunk_latents for this partition again.",
        ) from error
