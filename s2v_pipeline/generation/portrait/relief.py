"""How head, neck and shoulders move: turning about the neck, breathing.

Belongs here: depth of the head over the picture, which pixels belong to it how much, the forward field of a pose.
Does not belong here: expressions (deform), inverting and applying fields (warp).

There is one picture and no other view, so the head is a relief: the landmarks' depth inside the face, continued
outwards as a smooth dome that is flat where hair ends. What lies around follows softly, what is far away stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from s2v_pipeline.generation.portrait.canvas import FaceFrame, Floats, smoothstep
from s2v_pipeline.generation.portrait.outline import head_outline, outline_at
from s2v_pipeline.generation.portrait.topology import CHIN, FACE_OVAL, FACE_SIDES, FOREHEAD_TOP
from s2v_pipeline.generation.portrait.warp import blurred

HAIR_SIDE = 1.45  # half width of head and hair, over the face's
HAIR_TOP = 0.62  # height of hair over the forehead's landmark, over the face's height
DOME = 1.05  # iod; depth of the face in front of the neck's axis. Less than anatomy's 1.5: one view cannot show more.
GOES_ALONG = 1.04  # of the head's outline: what is as near moves with the head, so that no edge is torn
SURROUNDING = 0.75  # head radii beyond that, from which on the background rests; nearer, a wide turn would fold it
NECK_LENGTH = 1.15  # iod below the chin at which the body no longer turns
PIVOT_BELOW_CHIN = 0.30  # iod
BREATH_LIFT = 0.022  # iod: shoulders rise by about 1.4 mm
BREATH_WIDEN = 0.010
SWAY = 0.010  # iod to the side for one degree of tilt or turn: nobody holds the shoulders still under a moving head
NOD_LOWERS = 0.006  # iod for one degree of nod
HEAD_BREATH_SHARE = 0.40  # the head rises with the shoulders, less


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """The head's relief on cells of a frame.

    Attributes:
        step_px: size of a cell.
        points: (h, w, 3) u, v and depth of each cell's middle about the neck's pivot, in iod.
        weight: (h, w) share of the head's movement.
        breath: (h, w, 2) displacement in iod when breathed in.
        body: (h, w) share of what head and shoulders do together.
        axes: (2, 2) of the face.
        iod_px: of the face.
    """

    step_px: int
    points: Floats
    weight: Floats
    breath: Floats
    body: Floats
    axes: Floats
    iod_px: float

    @classmethod
    def build(cls, pixels: NDArray[np.uint8], frame: FaceFrame, landmarks_px: Floats, step_px: int) -> HeadGrid:
        """For a portrait (H, W, 3) with (478, 3) landmarks, on cells of `step_px`."""
        height, width = pixels.shape[:2]
        cells_y, cells_x = -(-height // step_px), -(-width // step_px)
        x, y = np.meshgrid(np.arange(cells_x, dtype=np.float32), np.arange(cells_y, dtype=np.float32))
        middles_px = np.stack([x, y], axis=-1) * step_px + np.float32((step_px - 1) / 2)
        face = frame.to_face(middles_px)
        landmarks = frame.to_face(landmarks_px[:, :2])
        chin_v, top_v = float(landmarks[CHIN, 1]), float(landmarks[FOREHEAD_TOP, 1])
        sides = landmarks[list(FACE_SIDES), 0]
        centre_u = float(sides.mean())
        half_width = HAIR_SIDE * float(np.ptp(sides)) / 2
        head_top = top_v - HAIR_TOP * (chin_v - top_v)
        centre_v, half_height = (head_top + chin_v) / 2, (chin_v - head_top) / 2
        middle = np.array([centre_u, centre_v], np.float32)
        ellipse = ((face - middle) / np.array([half_width, half_height], np.float32)).astype(np.float32)
        radius = np.hypot(ellipse[..., 0], ellipse[..., 1])

        outline = outline_at(head_outline(pixels, ellipse, _within(face, landmarks) > 0), ellipse)
        around = 1 - smoothstep(0.0, SURROUNDING, np.asarray(radius - GOES_ALONG * outline, np.float32))
        neck = 1 - smoothstep(chin_v - 0.25, chin_v + NECK_LENGTH, face[..., 1])
        beside = 1 - smoothstep(0.8 * half_width, 2.2 * half_width, np.abs(face[..., 0] - centre_u))
        below = smoothstep(centre_v, chin_v, face[..., 1])
        # Below the chin the ellipse ends, but the neck goes on.
        weight = neck * np.maximum(around, below * beside)

        dome = DOME * np.clip(1 - (radius / 1.25) ** 2, 0, 1)
        depth = _relief(face, landmarks, landmarks_px[:, 2] / frame.iod_px, dome.astype(np.float32))
        pivot = np.array([centre_u, chin_v + PIVOT_BELOW_CHIN], np.float32)
        points = np.concatenate([face - pivot, depth[..., None]], axis=-1)

        shoulders = smoothstep(chin_v + 0.1, chin_v + 1.1, face[..., 1])
        near = 1 - smoothstep(2.5, 4.5, np.abs(face[..., 0] - centre_u))
        lift = BREATH_LIFT * near * np.maximum(shoulders, HEAD_BREATH_SHARE * weight)
        widen = BREATH_WIDEN * near * shoulders * np.clip((face[..., 0] - centre_u) / 1.5, -1, 1)
        breath = np.stack([widen, -lift], axis=-1)
        return cls(
            step_px,
            points.astype(np.float32),
            weight.astype(np.float32),
            breath.astype(np.float32),
            (near * np.maximum(shoulders, weight)).astype(np.float32),
            frame.axes,
            frame.iod_px,
        )

    def forward(self, pitch_deg: float, yaw_deg: float, roll_deg: float, breath: float) -> Floats:
        """(h, w, 2): where each cell's content goes, in cells. Signs as in `coefficients.COEFFICIENTS`."""
        rotation = _rotation(np.deg2rad(pitch_deg), np.deg2rad(yaw_deg), np.deg2rad(roll_deg))
        turned = self.points @ rotation[:2].T - self.points[..., :2]
        sway = np.array([SWAY * (roll_deg + 0.5 * yaw_deg), NOD_LOWERS * pitch_deg], np.float32)
        moved = turned * self.weight[..., None] + self.breath * np.float32(breath) + self.body[..., None] * sway
        return np.asarray(moved @ self.axes * np.float32(self.iod_px / self.step_px), np.float32)


def _rotation(pitch: float, yaw: float, roll: float) -> Floats:
    """(3, 3) on (u, v, depth towards the camera): pitch first, then yaw, then roll."""
    cp, sp, cy, sy, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    about_u = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_v = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_depth = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_depth @ about_v @ about_u, np.float32)


def _relief(face: Floats, landmarks: Floats, landmark_z: Floats, dome: Floats) -> Floats:
    """Depth towards the camera, in iod: the landmarks' inside the face, the dome outside it."""
    depth = -landmark_z
    lo, hi = landmarks.min(axis=0) - 0.2, landmarks.max(axis=0) + 0.2
    inside = ((face >= lo) & (face <= hi)).all(axis=-1)
    relief = dome.copy()
    if not inside.any():
        return relief
    # Every third landmark carries the shape; smoothing keeps the relief from folding at the nose.
    fit = RBFInterpolator(landmarks[:468:3].astype(np.float64), depth[:468:3].astype(np.float64), smoothing=2e-3)
    fitted = fit(face[inside].astype(np.float64)).astype(np.float32)
    within = _within(face, landmarks)
    cell = float(np.linalg.norm(face[0, 1] - face[0, 0])) if face.shape[1] > 1 else 1.0
    inner = np.asarray(cv2.erode(within, np.ones((3, 3), np.uint8)), np.float32)
    within = blurred(inner, max(0.8, 0.12 / cell))
    # The landmarks' depth has no zero of its own: put it on the dome.
    share = within[inside]
    offset = float(((dome[inside] - fitted) * share).sum() / max(1e-6, float(share.sum())))
    relief[inside] += share * (fitted + offset - dome[inside])
    return blurred(relief, max(0.8, 0.05 / cell))


def _within(face: Floats, landmarks: Floats) -> Floats:
    """(h, w): 1 inside the face's oval."""
    within = np.zeros(face.shape[:2], np.float32)
    cells = _cell_positions(face, landmarks[list(FACE_OVAL)])
    cv2.fillPoly(within, [np.round(cells * 16).astype(np.int32)], 1.0, shift=4)
    return within


def _cell_positions(face: Floats, points: Floats) -> Floats:
    """Positions of `points` in cells of the regular grid `face` (h, w, 2)."""
    right, down = face[0, 1] - face[0, 0], face[1, 0] - face[0, 0]
    return np.asarray((points - face[0, 0]) @ np.linalg.inv(np.stack([right, down])), np.float32)
