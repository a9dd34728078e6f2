"""Softmax attention on the kernel that was measured to be the fastest, through torch's own dispatcher.

Belongs here: the names of the kernels, choosing one for a device, calling it.
Does not belong here: projections, rotary positions, masks (the model attends without masks).

diffusers' dispatcher offers the same kernels; it copies query, key and value to (batch, heads, tokens, channels) first,
which the kernels do not need.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from s2v_pipeline.errors import SettingsError

AttentionName = Literal["auto", "cudnn", "flash", "math"]
_HOPPER = (9, 0)  # compute capability from which cuDNN's kernel is of the FlashAttention-3 class


def choose_attention(name: AttentionName, device: torch.device, dtype: torch.dtype) -> SDPBackend:
    """The kernel for the long self-attention.

    On one H100 at 35,074 tokens cuDNN's kernel runs at 589 TFLOP/s and flash at 369 (docs/benchmarks.md); below
    compute capability 9.0 flash is the one that exists. Both need 16-bit numbers on a CUDA device.

    Raises:
        SettingsError: the named kernel cannot run there.
    """
    can_fuse = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    if name == "math" or (name == "auto" and not can_fuse):
        return SDPBackend.MATH
    if not can_fuse:
        raise SettingsError(
            f"wan.attention = {name!r} needs 16-bit numbers on a CUDA device",
            got=f"{dtype} on {device.type}",
            cure="Set wan.attention = 'auto'.",
        )
    if name == "auto":
        is_hopper = torch.cuda.get_device_capability(device) >= _HOPPER
        return SDPBackend.CUDNN_ATTENTION if is_hopper else SDPBackend.FLASH_ATTENTION
    return SDPBackend.CUDNN_ATTENTION if name == "cudnn" else SDPBackend.FLASH_ATTENTION


def choose_short_attention(kernel: SDPBackend) -> SDPBackend:
    """The kernel for audio cross-attention, whose five keys a row do not fill cuDNN's tiles."""
    return SDPBackend.FLASH_ATTENTION if kernel is SDPBackend.CUDNN_ATTENTION else kernel


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kernel: SDPBackend) -> torch.Tensor:
    """Attention over all keys.

    Args:
        query: (batch, queries, heads, channels).
        key, value: (batch, keys, heads, channels).
        kernel: see `choose_attention`.

    Returns:
        (batch, queries, heads * channels).
    """
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if kernel is SDPBackend.MATH:
        # torch chooses: on the CPU that is a kernel that does not keep the whole matrix, as MATH itself would.
        attended = functional.scaled_dot_product_attention(query, key, value)
    else:
        with sdpa_kernel(kernel):
            attended = functional.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).flatten(2)
