"""Lips, lids and bones in units of the face itself, so that size, place and turning of the head do not count.

Belongs here: which landmarks mean what to a measurement, the fit of the rigid parts, opening of mouth and eyes, width.
Does not belong here: time, phones, thresholds (lip_sync, face_motion, identity).

The unit is the distance of the eyes' outer corners. A frame's scale comes from all rigid points in three dimensions:
the corners' distance in the picture alone would shrink when the head turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.faces.landmarker import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

RIGID = (
    *(33, 133, 362, 263),  # corners of the eyes
    *(168, 6, 197, 195, 5, 4, 1, 98, 327),  # bridge, tip and base of the nose
    *(10, 151, 9, 109, 338, 67, 297),  # forehead
    *(127, 356, 162, 389, 234, 454, 116, 345, 123, 352),  # temples and cheekbones
)
"""Landmarks over bone that neither speech nor expressions move much; jaw, brows, lids and lips are left out."""

_INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper and lower, in the middle and to both sides of it
_MOUTH_CORNERS = (61, 291)
_LIDS = ((33, 133, (160, 144), (159, 145), (158, 153)), (362, 263, (385, 380), (386, 374), (387, 373)))


@dataclass(frozen=True, eq=False)
class RigidFit:
    """How each frame's rigid points lie against a template's, after Umeyama's least-squares similarity.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE Trans. PAMI
    13(4), 1991. Rows of frames without a face are NaN.

    Attributes:
        scales: (n,) float64: pixels of the frame that one eye distance of the template takes.
        residuals: (n, len(RIGID), 3) float64: fitted minus template, in eye distances of the template.
    """

    scales: NDArray[np.float64]
    residuals: NDArray[np.float64]


def eye_distance_px(landmarks_px: NDArray[np.float32]) -> float:
    """Distance of the outer corners of one face's eyes, in three dimensions."""
    return float(np.linalg.norm(landmarks_px[RIGHT_EYE_OUTER] - landmarks_px[LEFT_EYE_OUTER]))


def fit_rigid(landmarks_px: NDArray[np.float32], template_px: NDArray[np.float32]) -> RigidFit:
    """Fit each frame's rigid points (n, 478, 3) to those of a template (478, 3)."""
    points = landmarks_px[:, RIGID, :].astype(np.float64)
    template = template_px[RIGID, :].astype(np.float64)
    template = (template - template.mean(axis=0)) / eye_distance_px(template_px)
    scales = np.full(len(points), np.nan)
    residuals = np.full(points.shape, np.nan)
    seen = np.isfinite(points).all(axis=(1, 2))
    if not seen.any():
        return RigidFit(scales, residuals)
    centred = points[seen] - points[seen].mean(axis=1, keepdims=True)
    u, singular, vt = np.linalg.svd(np.einsum("pi,npj->nij", template, centred))
    signs = np.ones((len(centred), 3))
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))  # a reflection is no turning
    rotations = np.einsum("nij,nj,njk->nik", u, signs, vt)
    shrink = (singular * signs).sum(axis=1) / np.square(centred).sum(axis=(1, 2))
    residuals[seen] = shrink[:, None, None] * np.einsum("nij,npj->npi", rotations, centred) - template
    scales[seen] = 1.0 / shrink
    return RigidFit(scales, residuals)


def eye_distances_px(landmarks_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) the unit in pixels of each frame, from all rigid points; NaN without a face.

    The template is the middle one of the frames that hold a face.
    """
    seen = np.flatnonzero(np.isfinite(landmarks_px[:, 0, 0]))
    if not seen.size:
        return np.full(len(landmarks_px), np.nan)
    return fit_rigid(landmarks_px, landmarks_px[seen[len(seen) // 2]]).scales


def mouth_opening(landmarks_px: NDArray[np.float32], unit_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean gap between the inner lips, in eye distances."""
    gaps = [_distance(landmarks_px, upper, lower, axes=2) for upper, lower in _INNER_LIPS]
    return np.asarray(np.mean(gaps, axis=0) / unit_px)


def mouth_width(landmarks_px: NDArray[np.float32], unit_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) distance of the mouth's corners in three dimensions, in eye distances."""
    return np.asarray(_distance(landmarks_px, *_MOUTH_CORNERS, axes=3) / unit_px)


def eye_opening(landmarks_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) gap between the lids over the eye's width, mean of both eyes."""
    ratios = [
        np.mean([_distance(landmarks_px, *pair, axes=2) for pair in pairs], axis=0)
        / _distance(landmarks_px, outer, inner, axes=2)
        for outer, inner, *pairs in _LIDS
    ]
    return np.asarray(np.mean(ratios, axis=0))


def _distance(landmarks_px: NDArray[np.float32], first: int, second: int, *, axes: int) -> NDArray[np.float64]:
    between = landmarks_px[:, first, :axes].astype(np.float64) - landmarks_px[:, second, :axes]
    return np.asarray(np.linalg.norm(between, axis=1))
