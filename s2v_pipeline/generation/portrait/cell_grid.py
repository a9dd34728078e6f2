"""Positions on cells of several pixels, enlarged to pixels where they are needed.

Belongs here: cells over a picture, what a field says at each pixel of some of them.
Does not belong here: making and inverting fields (deform, relief, warp), sampling pictures (frame_warp, mouth_patch).
"""

from __future__ import annotations

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Floats
from s2v_pipeline.generation.portrait.warp import grid

RING = 1  # cells around the grid, so that interpolation between cells reaches the picture's border


class CellGrid:
    """Cells over a picture, the last ones perhaps reaching beyond it.

    Args:
        height_px, width_px: of the picture.
        step_px: size of a cell.
    """

    def __init__(self, height_px: int, width_px: int, step_px: int) -> None:
        self._height_px, self._width_px = height_px, width_px
        self.step_px = step_px
        self.rows, self.columns = -(-height_px // step_px), -(-width_px // step_px)
        ringed = grid(self.rows + 2 * RING, self.columns + 2 * RING) - np.float32(RING)
        middles_px = ringed * step_px + np.float32((step_px - 1) / 2)
        self._middles_px = np.ascontiguousarray(np.moveaxis(middles_px, -1, 0))

    def positions(self, displacement: Floats) -> Floats:
        """(2, rows + 2, columns + 2): x and y that each cell's middle comes from, in pixels, with a ring around.

        Args:
            displacement: (rows, columns, 2), in cells.
        """
        ringed = cv2.copyMakeBorder(displacement, RING, RING, RING, RING, cv2.BORDER_REPLICATE)
        return np.asarray(self._middles_px + np.moveaxis(ringed, -1, 0) * np.float32(self.step_px), np.float32)

    def enlarged(
        self, ringed: Floats | tuple[Floats, Floats], rows: slice, columns: slice
    ) -> tuple[tuple[slice, slice], tuple[Floats, Floats]]:
        """The pixels of some cells, and what two ringed grids say at each of them."""
        step = self.step_px
        y, x = rows.start * step, columns.start * step
        height, width = min(self._height_px, rows.stop * step) - y, min(self._width_px, columns.stop * step) - x
        cells = slice(rows.start, rows.stop + 2 * RING), slice(columns.start, columns.stop + 2 * RING)
        size_px = (columns.stop - columns.start + 2 * RING) * step, (rows.stop - rows.start + 2 * RING) * step
        inner = slice(RING * step, RING * step + height), slice(RING * step, RING * step + width)
        at_x, at_y = (cv2.resize(axis[cells], size_px, interpolation=cv2.INTER_LINEAR)[inner] for axis in ringed)
        return (slice(y, y + height), slice(x, x + width)), (np.asarray(at_x), np.asarray(at_y))
