"""The moved mouth as one picture on its canvas: interior, lower lip, upper lip, seam.

Belongs here: everything of the mouth that is computed once for a portrait, and composing it for one pose.
Does not belong here: contours (lips, mouth_shape), skin fields (deform), pasting into the frame (renderer).

The canvas has about twice the portrait's resolution, so that edges are smooth when the frame samples it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, feathered_mask, smoothstep
from s2v_pipeline.generation.portrait.deform import Jaw, MouthHandles, SkinGrid
from s2v_pipeline.generation.portrait.lip_cleaning import cleaned_lip
from s2v_pipeline.generation.portrait.lips import LipShape, lip_layer
from s2v_pipeline.generation.portrait.mouth_interior import MouthInterior
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.smile_folds import corner_correction, fold_correction
from s2v_pipeline.generation.portrait.warp import blend, enlarge, four_channels, grid, invert, sample

FIELD_STEP_PX = 6  # canvas pixels; lips are about 15 wide in a 512-pixel portrait
EDGE_SOFTNESS = 0.009  # iod; half the width of a lip's edge: portraits are never sharper than this
SEAM_WIDTH = 0.013  # iod
SEAM_TAKES = np.array([0.80, 1.0, 1.0], np.float32)  # between lips light turns red
FEATHER = 0.07  # iod


@dataclass(frozen=True, eq=False)
class MouthPatch:
    """All that composing a mouth needs.

    Attributes:
        canvas: where the patch lies.
        lips: the portrait's contours.
        upper_layer, lower_layer: (h, w, 3) lips and skin of either side.
        folds: (h, w, 3) what takes a smile's folds out of either layer.
        upper_corners, lower_corners: (h, w, 3) what takes the dark of an opening that is gone out of the corners.
        interior: what lies between them.
        skin: weights of the handles on coarse cells of the canvas.
        mask: (h, w) how much of the patch replaces the frame.
        cells: `grid` of the coarse cells.
        pixels: `grid` of the canvas.
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
    cells: Floats
    pixels: Floats

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
            upper_layer=upper_layer,
            lower_layer=lower_layer,
            folds=fold_correction(canvas, art, lips, landmarks),
            upper_corners=corner_correction(canvas, upper_layer, lips),
            lower_corners=corner_correction(canvas, lower_layer, lips),
            interior=MouthInterior.build(canvas, art, lips, skin_colour),
            skin=SkinGrid.build(
                coarse, lips, landmarks, handles, jaw, np.ones((coarse.height, coarse.width), np.float32)
            ),
            mask=feathered_mask(canvas.height, canvas.width, FEATHER * canvas.scale),
            cells=grid(coarse.height, coarse.width),
            pixels=grid(canvas.height, canvas.width),
        )

    def compose(self, pose: MouthPose, upper_moves: Floats, lower_moves: Floats, tongue_tip: float) -> Floats:
        """(h, w, 3): the mouth in this pose, in the portrait's own place (before the head turns)."""
        canvas = self.canvas
        upper_field, lower_field = self.skin.sides(upper_moves, lower_moves, pose.chin_drop)
        folds, gone = self.folds * np.float32(pose.smile_gone), np.float32(pose.gap_gone)
        upper = self._moved(self.upper_layer + folds + self.upper_corners * gone, upper_field)
        lower = self._moved(self.lower_layer + folds + self.lower_corners * gone, lower_field)

        upper_edge = np.interp(canvas.u, pose.u, pose.upper_edge).astype(np.float32)
        lower_edge = np.interp(canvas.u, pose.u, pose.lower_edge).astype(np.float32)
        from_corner = np.minimum(canvas.u - pose.u[0], pose.u[-1] - canvas.u)  # negative beyond the corners
        softness = (EDGE_SOFTNESS + 0.35 * np.maximum(-from_corner, 0)).astype(np.float32)
        v = canvas.v[:, None]
        above = smoothstep(1.0, -1.0, (v - upper_edge) / softness)
        below = smoothstep(-1.0, 1.0, (v - lower_edge) / softness)
        # Beyond the corners there is nothing between the lips.
        below = np.maximum(below, (1 - above) * smoothstep(0.03, 0.0, from_corner))

        out = self._with_interior(lower, below, pose, tongue_tip)
        out = blend(out, upper, above)
        return four_channels(self._with_seam(out, upper_edge, lower_edge, from_corner, pose))

    def _moved(self, layer: Floats, field: Floats) -> Floats:
        backward = invert(field, self.cells)
        return sample(layer, self.pixels + enlarge(backward, FIELD_STEP_PX, self.canvas.height, self.canvas.width))

    def _with_interior(self, lower: Floats, below: Floats, pose: MouthPose, tongue_tip: float) -> Floats:
        canvas = self.canvas
        if pose.opening < 1e-4:
            return lower
        rows = _covering(canvas.v, float(pose.upper_edge.min()), float(pose.lower_edge.max()), int(0.04 * canvas.scale))
        columns = _covering(canvas.u, float(pose.u[0]), float(pose.u[-1]), 3)
        interior = self.interior.paint(canvas, pose, self.lips, rows, columns, tongue_tip)
        lip_alpha = below[rows, columns]
        out = lower.copy()
        part = blend(interior, lower[rows, columns], lip_alpha)
        out[rows, columns] = self.interior.paint_before_lip(part, canvas, pose, self.lips, rows, columns, tongue_tip)
        return out

    def _with_seam(
        self, out: Floats, upper_edge: Floats, lower_edge: Floats, from_corner: Floats, pose: MouthPose
    ) -> Floats:
        canvas = self.canvas
        touching = smoothstep(0.035, 0.0, lower_edge - upper_edge) * smoothstep(-0.03, 0.06, from_corner)
        if not touching.any():
            return out
        seam = (upper_edge + lower_edge) / 2
        rows = _covering(canvas.v, float(pose.upper_edge.min()), float(pose.lower_edge.max()), int(0.05 * canvas.scale))
        distance = (canvas.v[rows][:, None] - seam) / SEAM_WIDTH
        # A fine dark line in a wide soft shade.
        dark = (0.7 * np.exp(-(distance**2)) + 0.3 * np.exp(-((distance / 2.6) ** 2))) * touching
        dark = np.asarray(dark * self.lips.seam_darkness, np.float32)
        out[rows] = out[rows] * (1 - dark[..., None] * (1 - (1 - SEAM_TAKES) * np.float32(self.interior.colourful)))
        return out


def mouth_canvas(lips_box: tuple[float, float, float, float], scale: float) -> Canvas:
    """Canvas around a mouth whose contours lie in `lips_box` (u0, v0, u1, v1), large enough for every pose."""
    u0, v0, u1, v1 = lips_box
    centre, half = (u0 + u1) / 2, max((u1 - u0) / 2, 0.42) + 0.30
    return Canvas.spanning(centre - half, v0 - 0.40, centre + half, v1 + 0.52, scale)


def _covering(axis: Floats, start: float, stop: float, margin: int) -> slice:
    first, last = np.searchsorted(axis, [start, stop])
    return slice(max(0, int(first) - margin), min(len(axis), int(last) + margin))
