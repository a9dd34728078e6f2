"""Whether a state dict has the tensors that a model asks for: all of them, nothing else, each with its shape.

Belongs here: that check and its message.
Does not belong here: what the names are (checkpoint, vae_names, text_encoder), reading files (shards).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from s2v_pipeline.errors import WeightsError

_SHOWN = 4  # names in a message


def check_names(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], *, what: str, cure: str
) -> None:
    """Every expected tensor is there with its shape, as floating point, and nothing else is.

    Raises:
        WeightsError: tensors are missing, unknown, of another shape or not floating point; the first few are named.
    """
    rule = f"{what} must have {len(expected)} tensors of known names and shapes"
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    for fault, names in (("missing", missing), ("of another model", extra)):
        if names:
            raise WeightsError(rule, got=f"{len(names)} {fault}: {_first(names)}", cure=cure)
    wrong = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if tuple(state[name].shape) != shape
    ]
    if wrong:
        raise WeightsError(rule, got=f"{len(wrong)} of another shape: {_first(wrong)}", cure=cure)
    quantised = [f"{name} ({tensor.dtype})" for name, tensor in state.items() if not tensor.is_floating_point()]
    if quantised:
        raise WeightsError(rule, got=f"{len(quantised)} not floating point: {_first(quantised)}", cure=cure)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:120] for name in names[:_SHOWN]) + more
