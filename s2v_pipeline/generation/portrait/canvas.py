"""Coordinates of a face, and small pictures that lie in them.

Belongs here: the face's own axes in units of the distance between the eyes, a canvas aligned with them, sampling.
Does not belong here: what is drawn on a canvas (lips, mouth_interior, eyelids), moving fields (warp).

Working in face coordinates makes every shape independent of the portrait's size and tilt: u runs towards the image's
right and v towards the chin, one unit is the distance between the eyes' centres ("iod").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.topology import (
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """Origin between the eyes, `right` along the line of the eyes; all in pixels of the portrait.

    Attributes:
        origin_px: (2,) float32.
        right: (2,) float32, unit vector.
        iod_px: distance between the centres of the eyes.
    """

    origin_px: Floats
    right: Floats
    iod_px: float

    @classmethod
    def of_landmarks(cls, landmarks_px: Floats) -> Self:
        """From (478, 3) landmarks; corners of the eyes, because irises move with the gaze."""
        left = landmarks_px[[LEFT_EYE_UPPER[0], LEFT_EYE_UPPER[-1], *LEFT_EYE_LOWER[2:-2]], :2].mean(axis=0)
        right = landmarks_px[[RIGHT_EYE_UPPER[0], RIGHT_EYE_UPPER[-1], *RIGHT_EYE_LOWER[2:-2]], :2].mean(axis=0)
        iod_px = float(np.linalg.norm(right - left))
        return cls(((left + right) / 2).astype(np.float32), ((right - left) / iod_px).astype(np.float32), iod_px)

    @property
    def axes(self) -> Floats:
        """(2, 2): rows are the unit vectors of u and v."""
        x, y = self.right
        return np.array([[x, y], [-y, x]], np.float32)

    def to_face(self, points_px: Floats) -> Floats:
        """(..., 2) pixels -> (..., 2) face coordinates."""
        return np.asarray((points_px - self.origin_px) @ self.axes.T / self.iod_px, np.float32)

    def to_px(self, points: Floats) -> Floats:
        """(..., 2) face coordinates -> (..., 2) pixels."""
        return np.asarray(points @ self.axes * self.iod_px + self.origin_px, np.float32)


@dataclass(frozen=True)
class Canvas:
    """A picture in face coordinates: pixel (x, y) has its sample at (u0 + x / scale, v0 + y / scale).

    Attributes:
        scale: canvas pixels for one iod.
        width, height: in canvas pixels.
    """

    u0: float
    v0: float
    scale: float
    width: int
    height: int

    @classmethod
    def spanning(cls, u0: float, v0: float, u1: float, v1: float, scale: float) -> Self:
        """A canvas that covers a rectangle."""
        return cls(u0, v0, scale, int(np.ceil((u1 - u0) * scale)) + 1, int(np.ceil((v1 - v0) * scale)) + 1)

    @property
    def u(self) -> Floats:
        """(width,): u of each column."""
        return (self.u0 + np.arange(self.width, dtype=np.float32) / self.scale).astype(np.float32)

    @property
    def v(self) -> Floats:
        """(height,): v of each row."""
        return (self.v0 + np.arange(self.height, dtype=np.float32) / self.scale).astype(np.float32)

    def points(self) -> Floats:
        """(height, width, 2): face coordinates of each pixel."""
        u, v = np.meshgrid(self.u, self.v)
        return np.stack([u, v], axis=-1)

    def coarser(self, step_px: int) -> Canvas:
        """Cells of `step_px` pixels over the same rectangle, sampled at their middles (what `cv2.resize` undoes)."""
        shift = (step_px - 1) / 2 / self.scale
        return Canvas(
            self.u0 + shift,
            self.v0 + shift,
            self.scale / step_px,
            -(-self.width // step_px),
            -(-self.height // step_px),
        )

    def to_canvas(self, points: Floats) -> Floats:
        """(..., 2) face coordinates -> (..., 2) canvas pixels."""
        # One axis after the other: NumPy is slow where the last axis has two entries and values differ along it.
        on_canvas = np.empty(points.shape, np.float32)
        for axis, origin in enumerate((self.u0, self.v0)):
            np.subtract(points[..., axis], np.float32(origin), out=on_canvas[..., axis])
        on_canvas *= np.float32(self.scale)
        return on_canvas

    def from_portrait(self, frame: FaceFrame, pixels: NDArray[np.uint8]) -> Floats:
        """(height, width, 3) float32: the part of a portrait that the canvas covers."""
        points_px = frame.to_px(self.points())
        art = cv2.remap(pixels, points_px[..., 0], points_px[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(art, np.float32)

    def matrix_from_px(self, frame: FaceFrame) -> Floats:
        """(2, 3): portrait pixels -> canvas pixels."""
        linear = frame.axes * (self.scale / frame.iod_px)
        offset = -linear @ frame.origin_px - np.array([self.u0, self.v0], np.float32) * self.scale
        return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def smoothstep(edge0: float, edge1: float, x: Floats) -> Floats:
    """0 below `edge0`, 1 above `edge1`, a cubic between them."""
    t = np.asarray((x - edge0) * (1.0 / (edge1 - edge0)), np.float32)
    np.maximum(t, 0.0, out=t)
    np.minimum(t, 1.0, out=t)
    curve = 3.0 - 2.0 * t
    curve *= t
    curve *= t
    return np.asarray(curve, np.float32)


def feathered_mask(height: int, width: int, feather_px: float) -> Floats:
    """(height, width): 0 at the border, 1 from `feather_px` inwards."""
    across = np.minimum(np.arange(width), np.arange(width)[::-1]).astype(np.float32)
    down = np.minimum(np.arange(height), np.arange(height)[::-1]).astype(np.float32)
    return smoothstep(0.0, feather_px, np.minimum(across[None, :], down[:, None]))
