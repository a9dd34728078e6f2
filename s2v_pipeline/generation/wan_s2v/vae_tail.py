"""The VAE's layers over a stretch of time: block by block, and only the frames that what is wanted depends on.

Belongs here: the streamed form of each layer of diffusers' AutoencoderKLWan.
Does not belong here: which frames each stage needs (vae_stages), weights, normalisation of latents (vae), tiles
(vae_tiles).

The VAE is causal (Wan-Video/Wan2.2 wan/modules/vae2_1.py, CausalConv3d): a frame depends on itself and on frames before
it. The official code walks through time frame by frame and keeps the last two inputs of every convolution on the model.
Here the layers' memory belongs to one walk, so that requests may interleave, and a walk may begin in the middle: its
convolutions then make no output before they have seen their whole history, and what they do make is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanDecoder3d,
    WanEncoder3d,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
)
from torch import nn
from torch.nn import functional

from s2v_pipeline.generation.wan_s2v.fused_norm import NormSilu
from s2v_pipeline.generation.wan_s2v.vae_rows import Rows
from s2v_pipeline.generation.wan_s2v.vae_stages import UPSAMPLED, StageSpan

Step = Callable[[torch.Tensor], torch.Tensor | None]
"""A layer within one walk: the next frames [1, channels, frames, height, width] in, what they complete out; None when
they complete no frame yet."""


class CausalConv:
    """One causal convolution within one walk; keeps the last inputs that its next output needs.

    Args:
        conv: diffusers' layer.
        from_start: whether the walk begins with the sequence.
        rows: where ranks share the picture's rows.
    """

    def __init__(self, conv: nn.Conv3d, *, from_start: bool, rows: Rows | None = None) -> None:
        self._conv = conv
        self._rows = rows if conv.kernel_size[1] > 1 else None
        self._reach = conv.kernel_size[0] - 1
        self._padding = (0, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2)
        self._from_start = from_start
        self._history: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        if self._reach:
            if self._history is not None:
                x = torch.cat([self._history, x], dim=2)
            elif self._from_start:
                x = functional.pad(x, (0, 0, 0, 0, self._reach, 0))
            # A copy: a view would hold the whole block.
            self._history = x[:, :, -self._reach :].clone()
            if x.shape[2] <= self._reach:
                return None
        conv, padding = self._conv, self._padding
        if self._rows is not None:
            x, padding = self._rows.with_edges(x, above=1, below=1), (0, 0, padding[2])
        return functional.conv3d(x, conv.weight, conv.bias, conv.stride, padding)


class ResidualStep:
    """One residual block within one walk."""

    def __init__(
        self, block: WanResidualBlock, *, from_start: bool, norm_silu: NormSilu, rows: Rows | None = None
    ) -> None:
        self._norm_silu = norm_silu
        self._gammas = (block.norm1.gamma, block.norm2.gamma)
        self._conv1 = CausalConv(block.conv1, from_start=from_start, rows=rows)
        self._conv2 = CausalConv(block.conv2, from_start=from_start, rows=rows)
        self._shortcut = block.conv_shortcut

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        inner = self._conv1(self._norm_silu(x, self._gammas[0]))
        if inner is not None:
            inner = self._conv2(self._norm_silu(inner, self._gammas[1]))
        if inner is None:
            return None
        x = x[
            :, :, -inner.shape[2] :
        ]  # a walk that begins in the middle makes its first frames later than it gets them
        if isinstance(self._shortcut, nn.Conv3d):
            x = functional.conv3d(x, self._shortcut.weight, self._shortcut.bias)
        return inner + x


class SkipStep:
    """Drops the first frames of a walk."""

    def __init__(self, frames: int) -> None:
        self._left = frames

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        dropped = min(self._left, x.shape[2])
        self._left -= dropped
        return x[:, :, dropped:] if dropped < x.shape[2] else None


class UpsampleStep:
    """Doubles height and width and, in mode "upsample3d", the frames, within one walk.

    Args:
        layer: diffusers' layer.
        taken_from: frame of the whole sequence at which the walk begins here.
        rows: where ranks share the picture's rows.
    """

    def __init__(self, layer: WanResample, *, taken_from: int, rows: Rows | None = None) -> None:
        self._rows = rows
        self._conv: nn.Conv2d = layer.resample[1]
        self._time: CausalConv | None = None
        if layer.mode == "upsample3d":
            # The first frame of the sequence is no part of this convolution's history.
            self._time = CausalConv(layer.time_conv, from_start=taken_from <= 1)
        self._first_passes = taken_from == 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        if self._time is None:
            return _per_frame(self._enlarge, x)
        parts = []
        if self._first_passes:
            self._first_passes = False
            parts.append(x[:, :, :1])
            x = x[:, :, 1:]
        made = self._time(x) if x.shape[2] else None
        if made is not None:
            parts.append(_interleaved(made))
        if not parts:
            return None
        return _per_frame(self._enlarge, parts[0] if len(parts) == 1 else torch.cat(parts, dim=2))

    def _enlarge(self, frames: torch.Tensor) -> torch.Tensor:
        # diffusers goes through float32 here; repeating values is exact in every type.
        enlarged = functional.interpolate(frames, scale_factor=2.0, mode="nearest-exact")
        height, width = (side // 2 for side in self._conv.kernel_size)
        padding = (height, width)
        if self._rows is not None:
            enlarged, padding = self._rows.with_edges(enlarged, above=1, below=1), (0, width)
        return functional.conv2d(enlarged, self._conv.weight, self._conv.bias, padding=padding)


def _interleaved(doubled: torch.Tensor) -> torch.Tensor:
    """[1, 2 * channels, frames, h, w], the channels of the earlier frame first -> [1, channels, 2 * frames, h, w]."""
    _, channels, frames, height, width = doubled.shape
    pairs = doubled.unflatten(1, (UPSAMPLED, channels // UPSAMPLED))
    if doubled.is_contiguous():
        merged = pairs.movedim(1, 3).reshape(1, -1, UPSAMPLED * frames, height, width)
    else:  # channels last, and stays so: one copy
        merged = pairs.permute(0, 3, 1, 4, 5, 2).reshape(1, UPSAMPLED * frames, height, width, -1).movedim(-1, 1)
    return merged


class DownsampleStep:
    """Halves height and width and, in mode "downsample3d", the frames but the first, within one walk from the start.

    Blocks after the first must have an even number of frames, the first an odd one.
    """

    def __init__(self, layer: WanResample, *, rows: Rows | None = None) -> None:
        self._rows = rows
        self._resample: nn.Module = layer.resample
        self._conv: nn.Conv2d = layer.resample[1]
        self._time: nn.Conv3d | None = layer.time_conv if layer.mode == "downsample3d" else None
        self._last: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = _per_frame(self._resample if self._rows is None else self._halve_rows, x)
        if self._time is None:
            return x
        last, self._last = self._last, x[:, :, -1:].clone()
        joined = x if last is None else torch.cat([last, x], dim=2)
        parts = [x[:, :, :1]] if last is None else []
        if joined.shape[2] >= self._time.kernel_size[0]:
            parts.append(functional.conv3d(joined, self._time.weight, self._time.bias, self._time.stride))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _halve_rows(self, frames: torch.Tensor) -> torch.Tensor:
        # diffusers pads a row below and a column on the right, then takes every second place.
        assert self._rows is not None  # noqa: S101 (of the caller)
        padded = functional.pad(self._rows.with_edges(frames, above=0, below=1), (0, 1))
        return functional.conv2d(padded, self._conv.weight, self._conv.bias, self._conv.stride)


def _per_frame(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A layer for images [frames, channels, h, w] on video [1, channels, frames, h, w]."""
    # In this order of views, and no other, torch still sees channels last in the result.
    return layer(x.squeeze(0).transpose(0, 1)).unsqueeze(0).transpose(1, 2)


def decoder_steps(
    decoder: WanDecoder3d,
    spans: Sequence[StageSpan],
    norm_silu: NormSilu,
    *,
    upsample_reach: int,
    rows: Rows | None = None,
) -> list[Step]:
    """The decoder's layers for a walk over the frames of `spans`, from latents to frames."""
    stage = 0
    from_start = spans[0].taken_from == 0
    steps: list[Step] = [
        CausalConv(decoder.conv_in, from_start=from_start, rows=rows),
        *_mid_steps(decoder.mid_block, from_start=from_start, norm_silu=norm_silu, rows=rows),
    ]
    for block in decoder.up_blocks:
        steps += [ResidualStep(each, from_start=from_start, norm_silu=norm_silu, rows=rows) for each in block.resnets]
        for layer in block.upsamplers or ():
            if layer.mode != "upsample3d":
                steps.append(UpsampleStep(layer, taken_from=0, rows=rows))
                continue
            before, after = spans[stage], spans[stage + 1]
            taken_from = before.kept_from
            made_from = 1 + UPSAMPLED * (taken_from + upsample_reach - 1) if taken_from > 1 else taken_from
            steps.append(SkipStep(taken_from - before.made_from))
            steps.append(UpsampleStep(layer, taken_from=taken_from, rows=rows))
            steps.append(SkipStep(after.taken_from - made_from))
            stage += 1
            from_start = after.taken_from == 0
    return [
        *steps,
        _norm_step(decoder.norm_out, norm_silu),
        CausalConv(decoder.conv_out, from_start=from_start, rows=rows),
        SkipStep(spans[-1].kept_from - spans[-1].made_from),
    ]


def encoder_steps(encoder: WanEncoder3d, norm_silu: NormSilu, *, rows: Rows | None = None) -> list[Step]:
    """The encoder's layers for a walk from the first frame, from frames to the moments of the latents."""
    steps: list[Step] = [CausalConv(encoder.conv_in, from_start=True, rows=rows)]
    for layer in encoder.down_blocks:
        if isinstance(layer, WanResidualBlock):
            steps.append(ResidualStep(layer, from_start=True, norm_silu=norm_silu, rows=rows))
        else:
            steps.append(DownsampleStep(layer, rows=rows))
    return [
        *steps,
        *_mid_steps(encoder.mid_block, from_start=True, norm_silu=norm_silu, rows=rows),
        _norm_step(encoder.norm_out, norm_silu),
        CausalConv(encoder.conv_out, from_start=True, rows=rows),
    ]


def _mid_steps(block: WanMidBlock, *, from_start: bool, norm_silu: NormSilu, rows: Rows | None) -> Iterable[Step]:
    yield ResidualStep(block.resnets[0], from_start=from_start, norm_silu=norm_silu, rows=rows)
    for attention, residual in zip(block.attentions, block.resnets[1:], strict=True):
        # Within one frame, and keeps nothing.
        yield attention if rows is None else _on_whole(attention, rows)
        yield ResidualStep(residual, from_start=from_start, norm_silu=norm_silu, rows=rows)


def _on_whole(layer: nn.Module, rows: Rows) -> Step:
    """A layer that sees all of a frame: each rank computes it for all, at an eighth of the size."""
    return lambda x: rows.own(layer(rows.whole(x)))


def _norm_step(norm: WanRMS_norm, norm_silu: NormSilu) -> Step:
    return lambda x: norm_silu(x, norm.gamma)


def walk(steps: Iterable[Step], x: torch.Tensor) -> torch.Tensor | None:
    """The next frames through all layers; None when they complete no frame yet."""
    made: torch.Tensor | None = x
    for step in steps:
        if made is None:
            return None
        made = step(made)
    return made
