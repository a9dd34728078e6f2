"""The portrait moved by a field, and patches drawn over the result: all that is done at a frame's full size.

Belongs here: what is kept of a portrait for that, sampling it, pasting.
Does not belong here: where fields come from (renderer), arithmetic on coarse fields (warp).

Fields live on cells of several pixels. What they say is enlarged where it is needed and nowhere else: the picture is
drawn in bands, each only as wide as something in it moves; all other pixels are the portrait's own, bit for bit.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats
from s2v_pipeline.generation.portrait.cell_grid import RING, CellGrid
from s2v_pipeline.generation.portrait.warp import to_pixels

Pixels = NDArray[np.uint8]

FINENESS = 2
"""The portrait is kept enlarged by this, with cubic interpolation, and sampled linearly: as sharp as sampling it
cubically, at a third of the time. Whole positions give the portrait's own pixels."""

BAND_CELLS = (
    32  # rows of cells: half a frame; narrower bands follow what moves more closely but cost more than that saves
)


class FrameWarp:
    """One portrait, ready to be moved by fields on cells.

    Colours have a fourth, unused channel between these calls: four bytes a pixel are sampled twice as fast as three.

    Args:
        pixels: (H, W, 3) uint8.
        step_px: size of a cell.
    """

    def __init__(self, pixels: Pixels, step_px: int) -> None:
        self._height, self._width = pixels.shape[:2]
        self._still = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), np.uint8)
        self._fine = _enlarged_picture(pixels)
        self._cells = CellGrid(self._height, self._width, step_px)

    def positions(self, displacement: Floats) -> Floats:
        """(2, h + 2, w + 2): x and y in the portrait that each cell's middle comes from, in pixels, with a ring around.

        Args:
            displacement: (h, w, 2), in cells.
        """
        return self._cells.positions(displacement)

    def moved(self, displacement: Floats) -> Pixels:
        """(H, W, 4): the portrait moved by `displacement` (h, w, 2), in cells."""
        fine = self.positions(displacement) * np.float32(FINENESS)
        moves = (displacement != 0).any(axis=-1)
        bands = []
        for first in range(0, self._cells.rows, BAND_CELLS):
            rows = slice(first, min(self._cells.rows, first + BAND_CELLS))
            # A pixel lies between the middles of two rows and columns of cells: the neighbours count, too.
            bands.append((rows, _span(moves[max(0, first - 1) : rows.stop + 1].any(axis=0), 1)))
        everywhere = slice(0, self._cells.columns)
        covered = all(columns == everywhere for _, columns in bands)
        out = np.empty_like(self._still) if covered else self._still.copy()
        for rows, columns in bands:
            if columns is None:
                continue
            part, (x, y) = self._cells.enlarged(fine, rows, columns)
            cv2.remap(self._fine, x, y, cv2.INTER_LINEAR, dst=out[part], borderMode=cv2.BORDER_REFLECT_101)
        return out

    def paste(self, out: Pixels, patch: Pixels, mask: Pixels, positions: Floats, matrix: Floats) -> None:
        """Draw a canvas over a frame, in place.

        Args:
            out: (H, W, 4).
            patch: (h, w, 4) colours of the canvas; its fourth channel is overwritten.
            mask: (h, w) how much of it replaces the frame, of 255; 0 at its border.
            positions: of the frame's cells in the portrait (`positions`).
            matrix: (2, 3), portrait pixels -> canvas pixels.
        """
        in_x, in_y = positions
        at_x, at_y = (row[0] * in_x + row[1] * in_y + row[2] for row in matrix)
        # One and a half cells: a middle may lie outside while a corner of its cell does not, and fields bend.
        reach = 1.5 * self._cells.step_px * float(np.abs(matrix[:, :2]).sum(axis=1).max())
        height, width = mask.shape
        near = (at_x > -reach) & (at_x < width + reach) & (at_y > -reach) & (at_y < height + reach)
        near = near[RING:-RING, RING:-RING]
        rows, columns = _span(near.any(axis=1), 0), _span(near.any(axis=0), 0)
        if rows is None or columns is None:
            return
        part, (x, y) = self._cells.enlarged((at_x, at_y), rows, columns)
        cv2.insertChannel(mask, patch, 3)
        # The mask is 0 at the canvas's border, so that continuing it outwards means: nothing is drawn there.
        colours = cv2.remap(patch, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        share = np.asarray(cv2.extractChannel(colours, 3), np.float32)
        share *= np.float32(1 / 255)
        under = out[part]
        under[:] = cv2.blendLinear(colours, under, share, 1 - share)


def mask_of(shares: Floats) -> Pixels:
    """(h, w) shares of 1 as `FrameWarp.paste` takes them."""
    return to_pixels(np.asarray(shares * np.float32(255), np.float32))


def to_rgb(rgba: Pixels, out: Pixels | None = None) -> Pixels:
    """(H, W, 3) of (H, W, 4); in `out`, which must be contiguous, where it is given."""
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8) if out is None else out
    cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB, dst=rgb)
    return rgb


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
