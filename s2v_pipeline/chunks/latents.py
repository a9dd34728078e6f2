"""A chunk's latents on disk: one safetensors file.

Belongs here: saving and loading named arrays with the span that they decode to.
Does not belong here: where the file lies and whether it may be used (artifacts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.timebase import FrameSpan

_SPAN_KEY = "frames"


def save_latents(path: Path, frames: FrameSpan, latents: Mapping[str, NDArray[np.generic]]) -> None:
    """Write latents and their span; not atomic by itself."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in latents.items()}
    save_file(contiguous, path, metadata={_SPAN_KEY: json.dumps([frames.start_frame, frames.stop_frame])})


def load_latents(path: Path) -> tuple[FrameSpan, dict[str, NDArray[np.generic]]]:
    """Read what `save_latents` wrote.

    Raises:
        ArtifactError: not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            start_frame, stop_frame = json.loads((file.metadata() or {})[_SPAN_KEY])
            if type(start_frame) is not int or type(stop_frame) is not int:
                raise ValueError(f"a frame span is two whole numbers; got {start_frame!r}, {stop_frame!r}")
            return FrameSpan(start_frame, stop_frame), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    # TypeError and AttributeError: a dtype that NumPy lacks (bfloat16, float8), or JSON of another shape.
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            "chunk latents must be a safetensors file that names its frame span",
            got=f"{path.name}: {error}",
            cure="Materialise chunk_latents for this partition again.",
        ) from error
