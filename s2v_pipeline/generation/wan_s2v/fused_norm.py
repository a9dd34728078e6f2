"""The VAE's RMS norm and the SiLU that always follows it, as one function.

Belongs here: that function and its compiled form.
Does not belong here: the layers around it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

NormSilu = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x [1, channels, frames, h, w], gamma [channels, 1, 1, 1]) -> SiLU of the normalised x, in x's type."""

_SMALLEST_NORM = 1e-12
"""Keeps a position whose channels are all zero from a division by zero (eps of torch.nn.functional.normalize)."""


def norm_silu(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """SiLU(x / |x| * sqrt(channels) * gamma), |x| over the channels of each position.

    The formula is RMS_norm and SiLU of Wan-Video/Wan2.2 wan/modules/vae2_1.py. All of it is computed in float32
    (float64 for float64) and rounded to x's type once, at the end.

    Args:
        x: [1, channels, frames, h, w], any floating type and memory format.
        gamma: [channels, 1, 1, 1].
    """
    return _norm_silu(x, gamma, 1)


def _norm_silu(x: torch.Tensor, gamma: torch.Tensor, axis: int) -> torch.Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=axis, keepdim=True, dtype=wide)
    scaled = x * (x.shape[axis] ** 0.5 / norm.clamp_min(_SMALLEST_NORM))
    return functional.silu(scaled.mul_(gamma.to(wide)), inplace=True).to(x.dtype)


def _norm_silu_rows(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return _norm_silu(x, gamma, 1)


def _norm_silu_columns(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return _norm_silu(x, gamma, 0)


def compiled_norm_silu() -> NormSilu:
    """`norm_silu` as one kernel; compiled at the first call for a number of channels, a type and a memory format.

    Activations are seen as a matrix of positions and channels. The number of positions stays symbolic, so that no video
    size and no length of a block compiles anything anew.
    """
    from torch._dynamo import mark_static, maybe_mark_dynamic  # starts the compiler: only where it is asked for

    rows: NormSilu = torch.compile(_norm_silu_rows)
    columns: NormSilu = torch.compile(_norm_silu_columns)

    def compiled(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        _, channels, frames, height, width = x.shape
        # A channel stride of 1 is channels last, whatever strides axes of length 1 have.
        channels_last = x.stride(1) == 1 and channels > 1
        # Without .data the compiler would hold the shapes of what this is a view of against every later call.
        matrix = (x.movedim(1, -1).reshape(-1, channels) if channels_last else x.reshape(channels, -1)).data
        mark_static(matrix, 1 if channels_last else 0)
        maybe_mark_dynamic(matrix, 0 if channels_last else 1)
        if channels_last:
            return rows(matrix, gamma.view(1, -1)).view(1, frames, height, width, channels).movedim(-1, 1)
        return columns(matrix, gamma.view(-1, 1)).view(1, channels, frames, height, width)

    return compiled
