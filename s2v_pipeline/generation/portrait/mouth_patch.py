"""The moved mouth as one picture on its canvas: interior, lower lip, upper lip, seam.

Belongs here: everything of the mouth that is computed once for a portrait, and composing it for one pose.
Does not belong here: contours (lips, mouth_shape), skin fields (deform), pasting into the frame (renderer).

The canvas has about twice the portrait's resolution, so that edges are smooth when the frame samples it. Colours have a
fourth, unused channel: OpenCV samples four faster than three. Each part is drawn only where it can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, feathered_mask, smoothstep
from s2v_pipeline.generation.portrait.cell_grid import CellGrid
from s2v_pipeline.generation.portrait.deform import Jaw, MouthHandles, SkinGrid
from s2v_pipeline.generation.portrait.lip_cleaning import cleaned_lip
from s2v_pipeline.generation.portrait.lips import LipShape, lip_layer
from s2v_pipeline.generation.portrait.mouth_interior import MouthInterior
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.painting import Part
from s2v_pipeline.generation.portrait.smile_folds import corner_correction, fold_correction
from s2v_pipeline.generation.portrait.warp import four_channels, grid, invert, to_pixels

Pixels = NDArray[np.uint8]

FIELD_STEP_PX = 6  # canvas pixels; lips are about 15 wide in a 512-pixel portrait
EDGE_SOFTNESS = 0.009  # iod; half the width of a lip's edge: portraits are never sharper than this
SEAM_WIDTH = 0.013  # iod
SEAM_TAKES_RED = 0.80  # of red, when it takes all of the other colours
SOFTER_BEYOND = 0.35  # of the distance beyond a corner: there both sides are one skin
FEATHER = 0.07  # iod


@dataclass(frozen=True, eq=False)
class MouthPatch:
    """All that composing a mouth needs.

    Attributes:
        canvas: where the patch lies.
        lips: the portrait's contours.
        upper_layer, lower_layer: (h, w, 4) lips and skin of either side.
        folds: (h, w, 4) what takes a smile's folds out of either layer.
        upper_corners, lower_corners: (h, w, 4) what takes the dark of an opening that is gone out of the corners.
        interior: what lies between them.
        skin: weights of the handles on coarse cells of the canvas.
        mask: (h, w) how much of the patch replaces the frame.
        cells: the coarse cells, and their `grid`.
    """

    canvas: Canvas
    lips: LipShape
    upper_layer: Floats
    lower_layer: Floats
    folds: Floats
    upper_corners: Floats
    lower_corners: Floats
    interior: MouthInterior
    skin: SkinGrid
    mask: Floats
    cells: CellGrid
    cell_grid: Floats

    @classmethod
    def build(
        cls,
        canvas: Canvas,
        art: Floats,
        lips: LipShape,
        landmarks: Floats,
        handles: tuple[MouthHandles, MouthHandles],
        jaw: Jaw,
        skin_colour: Floats,
    ) -> MouthPatch:
        """From the portrait on `canvas`."""
        coarse = canvas.coarser(FIELD_STEP_PX)
        upper_layer, lower_layer = (
            lip_layer(canvas, cleaned_lip(canvas, art, lips, upper=upper), lips, upper=upper) for upper in (True, False)
        )
        return cls(
            canvas=canvas,
            lips=lips,
            upper_layer=four_channels(upper_layer),
            lower_layer=four_channels(lower_layer),
            folds=four_channels(fold_correction(canvas, art, lips, landmarks)),
            upper_corners=four_channels(corner_correction(canvas, upper_layer, lips)),
            lower_corners=four_channels(corner_correction(canvas, lower_layer, lips)),
            interior=MouthInterior.build(canvas, art, lips, skin_colour),
            skin=SkinGrid.build(
                coarse, lips, landmarks, handles, jaw, np.ones((coarse.height, coarse.width), np.float32)
            ),
            mask=feathered_mask(canvas.height, canvas.width, FEATHER * canvas.scale),
            cells=CellGrid(canvas.height, canvas.width, FIELD_STEP_PX),
            cell_grid=grid(coarse.height, coarse.width),
        )

    def compose(self, pose: MouthPose, upper_moves: Floats, lower_moves: Floats, tongue_tip: float) -> Pixels:
        """(h, w, 4) uint8: the mouth in this pose, in the portrait's own place (before the head turns)."""
        canvas = self.canvas
        upper_field, lower_field = self.skin.sides(upper_moves, lower_moves, pose.chin_drop)
        edges = _Edges.of(canvas, pose)
        # Above the lips' edges only the upper side is seen, below them only the lower one; both where edges are soft.
        both = _covering(canvas.v, *edges.soft_span(), 1)
        out = np.empty((canvas.height, canvas.width, 4), np.uint8)
        self._draw_side(out, slice(0, both.stop), (self.upper_layer, self.upper_corners), upper_field, pose)
        upper = out[both].copy()
        self._draw_side(
            out, slice(both.start, canvas.height), (self.lower_layer, self.lower_corners), lower_field, pose
        )
        self._draw_interior(out, both.start, edges, pose, tongue_tip)
        above = edges.above(canvas.v[both])
        out[both] = cv2.blendLinear(upper, out[both], above, 1 - above)
        self._draw_seam(out, edges, pose)
        return out

    def _draw_side(
        self, out: Pixels, rows: slice, layers: tuple[Floats, Floats], field: Floats, pose: MouthPose
    ) -> None:
        """Fill rows of `out` with one side of the mouth, without the folds and the dark of a smile that is gone."""
        step = self.cells.step_px
        whole = slice(rows.start // step, -(-rows.stop // step))
        at_x, at_y = self.cells.positions(invert(field, self.cell_grid))
        # Rows of the layer that are asked for, with room for interpolation.
        asked = at_y[whole.start : whole.stop + 2]
        first = max(0, int(asked.min()) - 2)
        source = slice(first, max(first + 1, min(self.canvas.height, int(asked.max()) + 3)))
        layer, corners = (part[source] for part in layers)
        if self.lips.is_open:
            corrected = cv2.scaleAdd(self.folds[source], pose.smile_gone, layer)
            colours = cv2.addWeighted(corrected, 1.0, corners, pose.gap_gone, 0.0, dtype=cv2.CV_8U)
        else:
            colours = cv2.addWeighted(layer, 1.0, self.folds[source], pose.smile_gone, 0.0, dtype=cv2.CV_8U)
        part, (x, y) = self.cells.enlarged((at_x, at_y - np.float32(first)), whole, slice(0, self.cells.columns))
        of_part = slice(rows.start - part[0].start, rows.stop - part[0].start)
        cv2.remap(colours, x[of_part], y[of_part], cv2.INTER_LINEAR, dst=out[rows], borderMode=cv2.BORDER_REPLICATE)

    def _draw_interior(self, out: Pixels, first_row: int, edges: _Edges, pose: MouthPose, tongue_tip: float) -> None:
        """Between the lower side, which `out` has from `first_row` on, and the upper one, which comes over it."""
        canvas = self.canvas
        if pose.opening < 1e-4:
            return
        margin_px = int(0.04 * canvas.scale)
        rows = _covering(canvas.v, float(pose.upper_edge.min()), float(pose.lower_edge.max()), margin_px)
        rows = slice(max(rows.start, first_row), rows.stop)
        columns = _covering(canvas.u, float(pose.u[0]), float(pose.u[-1]), 3)
        lower = out[rows, columns].astype(np.float32)
        part = Part(canvas, rows, columns, np.empty_like(lower))
        self.interior.paint(part, pose, self.lips, tongue_tip)
        part.lay(lower, edges.below(canvas.v[rows], columns))
        self.interior.paint_before_lip(part, pose, self.lips, tongue_tip)
        out[rows, columns] = to_pixels(part.pixels)

    def _draw_seam(self, out: Pixels, edges: _Edges, pose: MouthPose) -> None:
        canvas = self.canvas
        touching = smoothstep(0.035, 0.0, edges.lower - edges.upper) * smoothstep(-0.03, 0.06, edges.from_corner)
        columns = _covering(canvas.u, float(pose.u[0]) - 0.03, float(pose.u[-1]) + 0.03, 0)
        touching = touching[columns]
        if not touching.any():
            return
        seam = ((edges.upper + edges.lower) / 2)[columns]
        rows = _covering(canvas.v, float(seam.min()), float(seam.max()), int(0.08 * canvas.scale))
        square = np.square((canvas.v[rows][:, None] - seam) / np.float32(SEAM_WIDTH))
        # A fine dark line in a wide soft shade.
        dark = 0.7 * np.exp(-square) + 0.3 * np.exp(square * np.float32(-1 / 2.6**2))
        dark = dark * (touching * np.float32(self.lips.seam_darkness))
        # Between lips light turns red.
        red = 1 - dark * np.float32(1 - (1 - SEAM_TAKES_RED) * self.interior.colourful)
        others = 1 - dark
        left = cv2.merge((red, others, others, others))
        out[rows, columns] = cv2.multiply(out[rows, columns].astype(np.float32), left, dtype=cv2.CV_8U)


@dataclass(frozen=True, eq=False)
class _Edges:
    """Edges of the lips at the canvas's columns.

    Attributes:
        upper, lower: (w,) v.
        from_corner: (w,) distance from the nearer corner, negative beyond it.
        softness: (w,) half the height over which one side turns into the other.
    """

    upper: Floats
    lower: Floats
    from_corner: Floats
    softness: Floats

    @classmethod
    def of(cls, canvas: Canvas, pose: MouthPose) -> _Edges:
        u = canvas.u
        from_corner = np.minimum(u - pose.u[0], pose.u[-1] - u)
        return cls(
            np.interp(u, pose.u, pose.upper_edge).astype(np.float32),
            np.interp(u, pose.u, pose.lower_edge).astype(np.float32),
            from_corner,
            (EDGE_SOFTNESS + SOFTER_BEYOND * np.maximum(-from_corner, 0)).astype(np.float32),
        )

    def soft_span(self) -> tuple[float, float]:
        """From where on the lower side is seen, and up to where the upper one is."""
        return float((self.upper - self.softness).min()), float((self.upper + self.softness).max())

    def above(self, v: Floats) -> Floats:
        """(len(v), w): share of the upper side."""
        return smoothstep(1.0, -1.0, (v[:, None] - self.upper) / self.softness)

    def below(self, v: Floats, columns: slice) -> Floats:
        """(len(v), columns): share of the lower side over what lies between the lips."""
        softness, from_corner = self.softness[columns], self.from_corner[columns]
        below = smoothstep(-1.0, 1.0, (v[:, None] - self.lower[columns]) / softness)
        above = smoothstep(1.0, -1.0, (v[:, None] - self.upper[columns]) / softness)
        # Beyond the corners there is nothing between the lips.
        return np.asarray(np.maximum(below, (1 - above) * smoothstep(0.03, 0.0, from_corner)), np.float32)


def mouth_canvas(lips_box: tuple[float, float, float, float], scale: float) -> Canvas:
    """Canvas around a mouth whose contours lie in `lips_box` (u0, v0, u1, v1), large enough for every pose."""
    u0, v0, u1, v1 = lips_box
    centre, half = (u0 + u1) / 2, max((u1 - u0) / 2, 0.42) + 0.30
    return Canvas.spanning(centre - half, v0 - 0.40, centre + half, v1 + 0.52, scale)


def _covering(axis: Floats, start: float, stop: float, margin: int) -> slice:
    first, last = np.searchsorted(axis, [start, stop])
    return slice(max(0, int(first) - margin), min(len(axis), int(last) + margin))
