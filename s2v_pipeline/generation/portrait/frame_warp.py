"""The portrait moved by a field, and patches drawn over the result: all that is done at a frame's full size.

Belongs here: what is kept of a portrait for that, sampling it, pasting.
Does not belong here: where fields come from (renderer), arithmetic on coarse fields (warp).

Fields live on cells of several pixels. What they say is enlarged where it is needed and nowhere else: the picture is
drawn in bands that fit a processor's cache, each only as wide as something in it moves; all other pixels are the
portrait's own, bit for bit.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats
from s2v_pipeline.generation.portrait.warp import grid, to_pixels

Pixels = NDArray[np.uint8]

FINENESS = 2
"""The portrait is kept enlarged by this, with cubic interpolation, and sampled linearly: as sharp as sampling it
cubically, at a third of the time. Whole positions give the portrait's own pixels."""

BAND_CELLS = 8  # rows of cells; the band's positions and pixels are about 1 MB in a frame of 1080 x 1080
RING = 1  # cells around the grid, so that interpolation between cells reaches the frame's border


class FrameWarp:
    """One portrait, ready to be moved by fields on cells.

    Colours have a fourth, unused channel between these calls: four bytes a pixel are sampled twice as fast as three.

    Args:
        pixels: (H, W, 3) uint8.
        step_px: size of a cell.
    """

    def __init__(self, pixels: Pixels, step_px: int) -> None:
        self._height, self._width = pixels.shape[:2]
        self._step_px = step_px
        self._still = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), np.uint8)
        self._fine = _enlarged_picture(pixels)
        self._cells_y, self._cells_x = -(-self._height // step_px), -(-self._width // step_px)
        ringed = grid(self._cells_y + 2 * RING, self._cells_x + 2 * RING) - np.float32(RING)
        self._middles_px = ringed * step_px + np.float32((step_px - 1) / 2)

    def positions(self, displacement: Floats) -> Floats:
        """(h + 2, w + 2, 2): where in the portrait each cell's middle comes from, in pixels, with a ring around.

        Args:
            displacement: (h, w, 2), in cells.
        """
        ringed = cv2.copyMakeBorder(displacement, RING, RING, RING, RING, cv2.BORDER_REPLICATE)
        return np.asarray(self._middles_px + ringed * np.float32(self._step_px), np.float32)

    def moved(self, displacement: Floats) -> Pixels:
        """(H, W, 4): the portrait moved by `displacement` (h, w, 2), in cells."""
        out = self._still.copy()
        fine = self.positions(displacement) * np.float32(FINENESS)
        moves = (displacement != 0).any(axis=-1)
        for first in range(0, self._cells_y, BAND_CELLS):
            rows = slice(first, min(self._cells_y, first + BAND_CELLS))
            # A pixel lies between the middles of two rows and columns of cells: the neighbours count, too.
            columns = _span(moves[max(0, first - 1) : rows.stop + 1].any(axis=0), 1)
            if columns is None:
                continue
            part, at = self._enlarged(fine, rows, columns)
            cv2.remap(self._fine, at, None, cv2.INTER_LINEAR, dst=out[part], borderMode=cv2.BORDER_REFLECT_101)
        return out

    def paste(self, out: Pixels, patch: Floats, mask: Floats, positions: Floats, matrix: Floats) -> None:
        """Draw a canvas over a frame, in place.

        Args:
            out: (H, W, 4).
            patch: (h, w, 3) colours of the canvas.
            mask: (h, w) how much of it replaces the frame; 0 at its border.
            positions: of the frame's cells in the portrait (`positions`).
            matrix: (2, 3), portrait pixels -> canvas pixels.
        """
        height, width = mask.shape
        at_cells = positions @ matrix[:, :2].T + matrix[:, 2]
        # One and a half cells: a middle may lie outside while a corner of its cell does not, and fields bend.
        reach = 1.5 * self._step_px * float(np.abs(matrix[:, :2]).sum(axis=1).max())
        near = ((at_cells > -reach) & (at_cells < np.array([width, height], np.float32) + reach)).all(axis=-1)
        near = near[RING:-RING, RING:-RING]
        rows, columns = _span(near.any(axis=1), 0), _span(near.any(axis=0), 0)
        if rows is None or columns is None:
            return
        part, at = self._enlarged(at_cells, rows, columns)
        rgba = cv2.cvtColor(to_pixels(patch), cv2.COLOR_RGB2RGBA)
        # The mask is 0 at the canvas's border, so that continuing it outwards means: nothing is drawn there.
        colours = cv2.remap(rgba, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.remap(mask, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        under = out[part]
        under[:] = cv2.blendLinear(colours, under, alpha, 1 - alpha)

    def _enlarged(self, ringed: Floats, rows: slice, columns: slice) -> tuple[tuple[slice, slice], Floats]:
        """The pixels of some cells, and (n, m, 2) what a ringed grid says at each of them."""
        step = self._step_px
        cells = ringed[rows.start : rows.stop + 2 * RING, columns.start : columns.stop + 2 * RING]
        full = cv2.resize(cells, (cells.shape[1] * step, cells.shape[0] * step), interpolation=cv2.INTER_LINEAR)
        y, x = rows.start * step, columns.start * step
        height, width = min(self._height, rows.stop * step) - y, min(self._width, columns.stop * step) - x
        ring_px = RING * step
        return (
            (slice(y, y + height), slice(x, x + width)),
            np.asarray(full[ring_px : ring_px + height, ring_px : ring_px + width], np.float32),
        )


def to_rgb(rgba: Pixels) -> Pixels:
    """(H, W, 3) of (H, W, 4)."""
    return np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)


def _enlarged_picture(pixels: Pixels) -> Pixels:
    """(2 H - 1, 2 W - 1, 4): pixel (2 y, 2 x) is the picture's (y, x), those between are interpolated cubically."""
    height, width = pixels.shape[:2]
    matrix = np.array([[1 / FINENESS, 0, 0], [0, 1 / FINENESS, 0]], np.float32)
    size = (FINENESS * (width - 1) + 1, FINENESS * (height - 1) + 1)
    fine = cv2.warpAffine(
        pixels, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(cv2.cvtColor(fine, cv2.COLOR_RGB2RGBA), np.uint8)


def _span(flags: NDArray[np.bool_], margin: int) -> slice | None:
    """From the first to the last that is set, and so many more on both sides; None where none is."""
    (where,) = flags.nonzero()
    if not where.size:
        return None
    return slice(max(0, int(where[0]) - margin), min(len(flags), int(where[-1]) + 1 + margin))
