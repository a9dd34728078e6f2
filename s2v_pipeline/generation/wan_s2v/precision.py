"""8-bit floating point products. An approximation, off by default.

Belongs here: the quantised layer, replacing a transformer's large layers by it.
Does not belong here: choosing it (settings), 16-bit dtypes (checkpoint).

Weights get one scale an output row, activations one a token, found anew for each call; both are e4m3. On one H100 the
products run about twice as fast as in bfloat16 (docs/benchmarks.md). What it does to a picture was not judged: that
needs the trained weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2v_pipeline.errors import SettingsError

FP8 = torch.float8_e4m3fn
_FP8_MAX = torch.finfo(FP8).max
_LEAST_SCALE = 1e-12  # of a row of zeros, which has no largest number
_ADA = (8, 9)  # compute capability from which e4m3 products exist


def quantise_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """(..., rows, columns) -> the same in e4m3 and float32 scales (..., rows, 1)."""
    exact = values.float()
    scales = (exact.abs().amax(dim=-1, keepdim=True) / _FP8_MAX).clamp(min=_LEAST_SCALE)
    return (exact / scales).to(FP8), scales


class Fp8Linear(nn.Module):
    """A linear layer with an e4m3 weight and activations quantised token by token; bfloat16 in and out.

    Args:
        linear: the layer to replace; its weight is not kept.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantise_rows(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.t().contiguous())
        self.register_buffer("bias", linear.bias.detach().to(torch.bfloat16))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        quantised, scales = quantise_rows(tokens.flatten(0, -2))
        if not tokens.is_cuda:
            # torch's own product takes scales of rows on some CPUs alone.
            exact = quantised.float() @ self.weight.t().float() * scales * self.scale + self.bias.float()
            return exact.to(torch.bfloat16).unflatten(0, tokens.shape[:-1])
        product = torch._scaled_mm(  # noqa: SLF001 (torch has no public name for it)
            quantised,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return product.unflatten(0, tokens.shape[:-1])


def check_fp8(device: torch.device) -> None:
    """Refuse a device without e4m3 products.

    Raises:
        SettingsError: a CUDA device older than compute capability 8.9.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _ADA:
        major, minor = torch.cuda.get_device_capability(device)
        raise SettingsError(
            "wan.fp8 needs a GPU of compute capability 8.9 or newer (Ada, Hopper, Blackwell)",
            got=f"{torch.cuda.get_device_name(device)} with {major}.{minor}",
            cure="Set wan.fp8 = false.",
        )


def quantise_transformer(transformer: nn.Module) -> int:
    """Replace the products that run at every step and token by `Fp8Linear`, one layer at a time.

    These are the blocks' self-attention and feed-forward and the query and output of every cross-attention; keys and
    values of text and sound are made once a clip and stay as they are, like the embeddings and the head.

    Returns:
        How many layers were replaced.
    """
    n_replaced = 0
    for name, module in list(transformer.named_modules()):
        if isinstance(module, nn.Linear) and runs_every_step(name):
            parent_name, _, child = name.rpartition(".")
            parent = transformer.get_submodule(parent_name)
            setattr(parent, child, Fp8Linear(module))
            n_replaced += 1
    return n_replaced


def runs_every_step(name: str) -> bool:
    """Whether a linear layer of this name works on every token of every step."""
    if ".self_attn." in name or ".ffn." in name:
        return True
    return (".cross_attn." in name or name.startswith("audio_injector.injector.")) and name.endswith((".q", ".o"))
