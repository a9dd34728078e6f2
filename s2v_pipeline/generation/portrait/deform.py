"""How the face's skin follows the mouth, the jaw and the brows.

Belongs here: handles on the face, their weights on a grid, the jaw's and the brows' fields, in face coordinates.
Does not belong here: where the lips' contours go (mouth_shape), the head's turning (relief), pixels.

Two fields meet at the mouth: the upper side moves with the upper lip, the lower side with the lower lip and the jaw;
they agree beyond the corners. Lips are handles of a radial basis interpolation with Wendland's C2 function of compact
support (H. Wendland, Advances in Computational Mathematics 4, 1995), so that nothing far away moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import N_COLUMNS, LipShape
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.topology import CHIN, LEFT_BROW, NOSE_BASE, RIGHT_BROW, UPPER_LIDS

SUPPORT = 0.85  # iod; reach of one handle: from the lips to the cheeks and the chin
RIDGE = 1e-4  # handles of thin lips lie close together; this keeps their weights from growing without bound
HANDLE_COLUMNS = np.linspace(0, N_COLUMNS - 1, 11).round().astype(int)[1:-1]
SKIN_COLUMNS = HANDLE_COLUMNS[[1, 4, 7]]
CORNER_JOIN = 0.07  # iod beyond a corner at which both sides move as one
BROW_RAISE = 0.075  # iod, at brow_raise 1
NECK_REACH = 0.75  # iod below the chin over which the neck takes up the jaw's movement


@dataclass(frozen=True, eq=False)
class MouthHandles:
    """Handles of one side of the mouth: where they lie in the portrait, (n, 2) in face coordinates."""

    upper: bool
    points: Floats

    @classmethod
    def place(cls, lips: LipShape, landmarks: Floats, *, upper: bool) -> MouthHandles:
        """Handles on one lip, the corners, and the skin around."""
        inner, outer = (lips.upper_inner, lips.upper_outer) if upper else (lips.lower_inner, lips.lower_outer)
        anchor_v = float(landmarks[NOSE_BASE[2], 1] if upper else landmarks[CHIN, 1])
        skin_v = outer[SKIN_COLUMNS] + (0.45 if upper else 0.40) * (anchor_v - outer[SKIN_COLUMNS])
        corner_v = lips.upper_inner[[0, -1]]
        corner_u = lips.u[[0, -1]]
        rows = [
            np.stack([lips.u[HANDLE_COLUMNS], inner[HANDLE_COLUMNS]], axis=1),
            np.stack([lips.u[HANDLE_COLUMNS], outer[HANDLE_COLUMNS]], axis=1),
            np.stack([corner_u, corner_v], axis=1),
            np.stack([corner_u + np.array([-0.15, 0.15]), corner_v], axis=1),
            np.stack([corner_u + np.array([-0.40, 0.40]), corner_v], axis=1),
            np.stack([lips.u[SKIN_COLUMNS], skin_v], axis=1),
            landmarks[list(NOSE_BASE)] if upper else landmarks[[CHIN]],
        ]
        return cls(upper, np.concatenate(rows).astype(np.float32))

    def displacements(self, lips: LipShape, pose: MouthPose, jaw_at_points: Floats) -> Floats:
        """(n, 2): what the handles do beyond what the jaw's field does at them."""
        inner, outer = (lips.upper_inner, lips.upper_outer) if self.upper else (lips.lower_inner, lips.lower_outer)
        if self.upper:
            moved_inner, moved_outer = pose.upper_edge + pose.upper_roll, pose.upper_outer
        else:
            moved_inner, moved_outer = pose.lower_edge - pose.lower_roll, pose.lower_outer
        across = pose.u - lips.u
        inner_move = np.stack([across, moved_inner - inner], axis=1)
        outer_move = np.stack([0.92 * across, moved_outer - outer], axis=1)
        corner_v = (pose.upper_edge + pose.lower_edge)[[0, -1]] / 2 - lips.upper_inner[[0, -1]]
        corner = np.stack([across[[0, -1]], corner_v], axis=1)
        n = len(HANDLE_COLUMNS)
        jaw = jaw_at_points
        outer_beyond_jaw = outer_move[HANDLE_COLUMNS] - jaw[n : 2 * n]
        skin_share = np.array([0.35, 0.45], np.float32)
        corner_beyond_jaw = corner - jaw[2 * n : 2 * n + 2]
        rest = np.zeros((len(self.points) - (2 * n + 9), 2), np.float32)
        return np.concatenate(
            [
                inner_move[HANDLE_COLUMNS] - jaw[:n],
                outer_beyond_jaw,
                corner_beyond_jaw,
                0.74 * corner_beyond_jaw,
                0.40 * corner_beyond_jaw,
                skin_share * outer_beyond_jaw[[1, 4, 7]],
                rest,
            ]
        ).astype(np.float32)

    def weights_at(self, points: Floats) -> Floats:
        """(..., n): share of each handle's displacement at points (..., 2)."""
        among = _wendland(self.points[:, None], self.points[None])
        inverse = np.linalg.inv(among + RIDGE * np.eye(len(self.points)))
        return np.asarray(_wendland(points[..., None, :], self.points) @ inverse, np.float32)


@dataclass(frozen=True)
class Jaw:
    """The jaw's own field: full at the chin, fading up the cheeks, to the sides and down the neck."""

    centre_u: float
    seam_v: float
    chin_v: float
    half_width: float

    @classmethod
    def of(cls, lips: LipShape, landmarks: Floats, half_width: float) -> Jaw:
        """From the middle of the mouth, the chin, and half the face's width."""
        middle = N_COLUMNS // 2
        seam_v = float(lips.upper_inner[middle] + lips.lower_inner[middle]) / 2
        return cls(float(lips.u[0] + lips.u[-1]) / 2, seam_v, float(landmarks[CHIN, 1]), half_width)

    def field(self, points: Floats) -> Floats:
        """(..., 2): displacement at points (..., 2) for a chin that drops by one."""
        u, v = points[..., 0] - self.centre_u, points[..., 1]
        down = smoothstep(self.seam_v - 0.22, self.chin_v - 0.10, v)
        down = down * (1 - smoothstep(self.chin_v, self.chin_v + NECK_REACH, v))
        down = down * (1 - smoothstep(0.35 * self.half_width, 1.05 * self.half_width, np.abs(u)))
        # Cheeks are drawn in a little where the jaw pulls them long.
        hollow = np.exp(-(((np.abs(u) - 0.62 * self.half_width) / 0.28) ** 2) - ((v - self.seam_v) / 0.40) ** 2)
        return np.stack([-0.10 * np.sign(u) * hollow, down], axis=-1).astype(np.float32)


def brow_field(points: Floats, landmarks: Floats) -> Floats:
    """(...,): share of the brows' rise at points (..., 2); lids stay."""
    brows = landmarks[[*LEFT_BROW, *RIGHT_BROW]]
    pins = landmarks[list(UPPER_LIDS)]
    nodes = np.concatenate([brows, pins, brows - np.array([0, 0.75], np.float32)])
    values = np.concatenate([np.ones(len(brows)), np.zeros(len(pins) + len(brows))])
    weights = np.linalg.solve(_wendland(nodes[:, None], nodes[None]) + 1e-3 * np.eye(len(nodes)), values)
    return np.asarray(_wendland(points[..., None, :], nodes) @ weights, np.float32)


def lower_side(points: Floats, lips: LipShape) -> Floats:
    """(...,): 0 above the mouth's line, 1 below it; the change is sharp in the mouth and soft beyond its corners."""
    u, v = points[..., 0], points[..., 1]
    seam = (lips.upper_inner + lips.lower_inner) / 2
    line = np.interp(u, lips.u, seam)
    beyond = _beyond_corners(u, lips)
    softness = 0.004 + 0.35 * beyond
    return smoothstep(-1.0, 1.0, np.asarray((v - line) / softness, np.float32))


@dataclass(frozen=True, eq=False)
class SkinGrid:
    """Everything that a grid needs to be deformed: weights of the handles of both sides, jaw and brows.

    Attributes:
        canvas: the grid.
        upper_weights, lower_weights: (h * w, n).
        lower_share: (h * w, 1) of the lower side's field where both are merged.
        common: (h * w, 1) 1 where both sides are one skin: beyond the corners of the mouth.
        jaw: (h * w, 2) for a chin that drops by one.
        brows: (h * w,) for a full rise.
        fade: (h * w, 1) 0 at the grid's border, where nothing may move.
    """

    canvas: Canvas
    upper_weights: Floats
    lower_weights: Floats
    lower_share: Floats
    common: Floats
    jaw: Floats
    brows: Floats
    fade: Floats

    @classmethod
    def build(
        cls,
        canvas: Canvas,
        lips: LipShape,
        landmarks: Floats,
        handles: tuple[MouthHandles, MouthHandles],
        jaw: Jaw,
        fade: Floats,
    ) -> SkinGrid:
        """Weights at every sample of `canvas`; `fade` (h, w)."""
        points = canvas.points().reshape(-1, 2)
        upper, lower = handles
        return cls(
            canvas=canvas,
            upper_weights=upper.weights_at(points),
            lower_weights=lower.weights_at(points),
            lower_share=lower_side(points, lips)[:, None],
            common=smoothstep(0.0, CORNER_JOIN, _beyond_corners(points[:, 0], lips))[:, None],
            jaw=jaw.field(points),
            brows=brow_field(points, landmarks),
            fade=fade.reshape(-1, 1),
        )

    def sides(self, upper_moves: Floats, lower_moves: Floats, chin_drop: float) -> tuple[Floats, Floats]:
        """Upper and lower side's forward fields, (h, w, 2) each, in samples of the grid."""
        shape = (self.canvas.height, self.canvas.width, 2)
        jaw = self.jaw * np.float32(chin_drop)
        scale = np.float32(self.canvas.scale)
        upper = (self.upper_weights @ upper_moves + jaw) * self.fade * scale
        lower = (self.lower_weights @ lower_moves + jaw) * self.fade * scale
        towards_common = (lower - upper) * (self.common / 2)
        upper, lower = upper + towards_common, lower - towards_common
        return upper.reshape(shape).astype(np.float32), lower.reshape(shape).astype(np.float32)

    def merged(self, upper_moves: Floats, lower_moves: Floats, chin_drop: float, brow_raise: float) -> Floats:
        """One forward field for everything outside the lips, (h, w, 2), in samples of the grid."""
        upper, lower = self.sides(upper_moves, lower_moves, chin_drop)
        both = upper + (lower - upper) * self.lower_share.reshape(upper.shape[0], upper.shape[1], 1)
        rise = self.brows * self.fade[:, 0] * np.float32(BROW_RAISE * brow_raise * self.canvas.scale)
        both[..., 1] -= rise.reshape(both.shape[:2])
        return both


def _beyond_corners(u: Floats, lips: LipShape) -> Floats:
    return np.asarray(np.maximum(np.maximum(lips.u[0] - u, u - lips.u[-1]), 0), np.float32)


def _wendland(a: Floats, b: Floats) -> NDArray[np.floating]:
    r = np.linalg.norm(a - b, axis=-1) / SUPPORT
    near = np.clip(1 - r, 0, None) ** 2
    return np.asarray(near * near * (4 * r + 1))
