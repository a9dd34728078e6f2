"""Spatial tiles for the VAE: where they lie and how they are blended.

Belongs here: cutting a length into overlapping spans, the weights of the blend, putting tiles together.
Does not belong here: what is computed on a tile (vae).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from s2v_pipeline.errors import SettingsError

LATENT_PX = 8
"""Pixels a latent, along height and width (Wan-Video/Wan2.2 wan/configs/wan_s2v_14B.py, vae_stride)."""


@dataclass(frozen=True)
class Tiling:
    """Square tiles for cards on which a whole frame does not fit.

    Approximate: a tile does not see what lies outside it, and the middle block's attention sees only its own tile, so
    colours can shift a little from tile to tile. The overlap is blended linearly, which hides the seam and not the
    shift.

    Attributes:
        tile_px: side of a tile, a multiple of 8.
        overlap_px: what neighbours share at least, a multiple of 8, at most half a tile.

    Raises:
        SettingsError: sizes that make no tiles.
    """

    tile_px: int = 256
    overlap_px: int = 64

    def __post_init__(self) -> None:
        on_grid = self.tile_px % LATENT_PX == 0 and self.overlap_px % LATENT_PX == 0
        if not (on_grid and 0 < self.overlap_px <= self.tile_px // 2):
            rule = f"a tile and its overlap must be multiples of {LATENT_PX} px, the overlap at most half a tile"
            got = f"tiles of {self.tile_px} px with {self.overlap_px} px overlap"
            raise SettingsError(rule, got=got, cure="Use 256 and 64, or leave tiling off.")


@dataclass(frozen=True)
class TileSpan:
    """Half-open span of one tile along one axis, in latents."""

    start: int
    stop: int


def tile_spans(length: int, tile: int, overlap: int) -> tuple[TileSpan, ...]:
    """Spans of equal length that cover [0, length); neighbours share at least `overlap`.

    The last one ends at the end, so that all have one shape; where `length` is at most `tile`, there is one span.
    """
    if length <= tile:
        return (TileSpan(0, length),)
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    return tuple(TileSpan(start, start + tile) for start in starts)


def blend_weights(spans: tuple[TileSpan, ...], scale: int) -> tuple[torch.Tensor, ...]:
    """float32 weights of each span, `scale` of them a latent; at every place the weights of all spans add up to one.

    They rise and fall linearly over what neighbours share.
    """
    ramps = []
    for index, span in enumerate(spans):
        at = torch.arange(span.start * scale, span.stop * scale, dtype=torch.float32) + 0.5
        weight = torch.ones_like(at)
        if index > 0:
            shared = spans[index - 1].stop - span.start
            weight = weight.minimum((at - span.start * scale) / (shared * scale))
        if index + 1 < len(spans):
            shared = span.stop - spans[index + 1].start
            weight = weight.minimum((span.stop * scale - at) / (shared * scale))
        ramps.append(weight)
    total = torch.zeros(spans[-1].stop * scale)
    for span, weight in zip(spans, ramps, strict=True):
        total[span.start * scale : span.stop * scale] += weight
    return tuple(
        weight / total[span.start * scale : span.stop * scale] for span, weight in zip(spans, ramps, strict=True)
    )


def run_in_tiles(
    compute: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    tiling: Tiling | None,
    *,
    px_in: int,
    px_out: int,
) -> torch.Tensor:
    """`compute` of x, in tiles where there is more than one; the result is float32.

    Args:
        compute: [channels, frames, height, width] -> the same axes, height and width scaled by px_out / px_in.
        x: [channels, frames, height, width].
        tiling: None for a single tile.
        px_in: values of x a latent, along height and width: 8 for pixels, 1 for latents.
        px_out: the same of the result.
    """
    height, width = x.shape[2] // px_in, x.shape[3] // px_in
    if tiling is None or max(height, width) * LATENT_PX <= tiling.tile_px:
        return compute(x)
    tile, overlap = tiling.tile_px // LATENT_PX, tiling.overlap_px // LATENT_PX
    rows, columns = tile_spans(height, tile, overlap), tile_spans(width, tile, overlap)
    result: torch.Tensor | None = None
    for row, row_weight in zip(rows, blend_weights(rows, px_out), strict=True):
        for column, column_weight in zip(columns, blend_weights(columns, px_out), strict=True):
            part = x[:, :, row.start * px_in : row.stop * px_in, column.start * px_in : column.stop * px_in]
            made = compute(part)
            if result is None:
                result = made.new_zeros(*made.shape[:2], height * px_out, width * px_out)
            made *= row_weight.to(made.device)[:, None] * column_weight.to(made.device)
            window = result[:, :, row.start * px_out : row.stop * px_out]
            window[..., column.start * px_out : column.stop * px_out] += made
    assert result is not None  # noqa: S101 (there is at least one tile)
    return result
