"""Cheek folds and dark corners that a smile leaves in a portrait's skin, and what to add so that they are gone.

Belongs here: finding where they lie beside the mouth, and the smoother skin there, once for a portrait.
Does not belong here: how much of a smile is left at a moment (mouth_shape), moving skin (deform).

A fold is light and shade between the scale of pores and that of a cheek. That band alone is taken out, so that pores,
freckles and the cheek's own shading stay; lips, nose and what lies around the face neither change nor bleed in.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import LipShape
from s2v_pipeline.generation.portrait.topology import FACE_OVAL, NOSE_BASE
from s2v_pipeline.generation.portrait.warp import blurred, to_pixels

PORES = 0.009  # iod; finer than this is kept
CHEEK = 0.15  # iod; coarser than this is kept
TAKEN = 0.9  # of the band between
NEAR, FAR = 0.16, 0.30  # iod from the fold's line: all of it, nothing of it
LIP_MARGIN = 0.03  # iod around the lips that is no skin
NOSE_WINGS = (129, 358)
BESIDE_CORNER = 0.16  # iod outwards: where a fold passes the corner of the mouth
BELOW_CORNER = 0.30  # iod: where it ends
CORNER, CORNER_INWARDS = 0.16, 0.05  # iod around a corner, whose shade belongs to the opening that is gone
SPOT = 0.065  # iod; radius within which a corner's dark, or a tooth's gleam in it, is the smaller part


def fold_correction(canvas: Canvas, art: Floats, lips: LipShape, landmarks: Floats) -> Floats:
    """(h, w, 3): what makes skin beside the mouth smooth when added to `art`; 0 far from folds and at the border."""
    skin = _skin(canvas, lips, landmarks)
    fine, coarse = (_mean_of(art, skin, size * canvas.scale) for size in (PORES, CHEEK))
    band = (fine - coarse) * (TAKEN * _near_fold(canvas, lips, landmarks) * skin)[..., None]
    inside = np.minimum(
        np.minimum(np.arange(canvas.width), np.arange(canvas.width)[::-1])[None, :],
        np.minimum(np.arange(canvas.height), np.arange(canvas.height)[::-1])[:, None],
    ).astype(np.float32)
    return np.asarray(-band * smoothstep(0.0, 0.12 * canvas.scale, inside)[..., None], np.float32)


def corner_correction(canvas: Canvas, layer: Floats, lips: LipShape) -> Floats:
    """(h, w, 3): what makes a lip's layer at the corners like the skin beside them; nothing for lips that touch."""
    if not lips.is_open:
        return np.zeros_like(layer)
    size_px = 2 * max(1, round(SPOT * canvas.scale)) + 1
    clean = cv2.medianBlur(to_pixels(layer), size_px).astype(np.float32)
    spot = blurred(np.asarray(clean - layer, np.float32), PORES * canvas.scale)
    return np.asarray(spot * _near_corner(canvas, lips)[..., None], np.float32)


def _skin(canvas: Canvas, lips: LipShape, landmarks: Floats) -> Floats:
    """(h, w): 1 inside the face, 0 on lips and nose and outside the face."""
    outline = np.concatenate(
        [
            np.stack([lips.u, lips.upper_outer - LIP_MARGIN], axis=1),
            np.stack([lips.u, lips.lower_outer + LIP_MARGIN], axis=1)[::-1],
        ]
    )
    skin = _filled(canvas, landmarks[list(FACE_OVAL)])
    left, right = landmarks[list(NOSE_WINGS)]
    base = landmarks[list(NOSE_BASE)] + np.array([0, 0.04], np.float32)
    up = np.array([0, 1.0], np.float32)
    nose = np.concatenate([left[None], base, right[None], (right - up)[None], (left - up)[None]])
    skin = np.minimum(skin, 1 - np.maximum(_filled(canvas, outline), _filled(canvas, nose)))
    return blurred(np.asarray(skin, np.float32), 0.012 * canvas.scale + 0.5)


def _near_fold(canvas: Canvas, lips: LipShape, landmarks: Floats) -> Floats:
    """(h, w): 1 along the lines from the nose's wings past the corners to the chin's sides."""
    points = canvas.points()
    distance = np.full(points.shape[:2], np.inf, np.float32)
    for wing, end, side in zip(NOSE_WINGS, (0, -1), (-1.0, 1.0), strict=True):
        corner = np.array([lips.u[end], lips.seam[end]], np.float32)
        line = (
            landmarks[wing] + np.array([0.05 * side, 0.02], np.float32),
            corner + np.array([BESIDE_CORNER * side, 0], np.float32),
            corner + np.array([0.8 * BESIDE_CORNER * side, BELOW_CORNER], np.float32),
        )
        for a, b in pairwise(line):
            distance = np.minimum(distance, _distance(points, a, b))
    return smoothstep(FAR, NEAR, distance)


def _near_corner(canvas: Canvas, lips: LipShape) -> Floats:
    """(h, w): 1 at the corners of the mouth."""
    near = np.zeros((canvas.height, canvas.width), np.float32)
    for end, side in ((0, -1.0), (-1, 1.0)):
        du, dv = canvas.u[None, :] - lips.u[end], canvas.v[:, None] - lips.seam[end]
        off = np.hypot(du + side * CORNER_INWARDS, 1.3 * dv).astype(np.float32)
        near = np.maximum(near, smoothstep(CORNER, 0.6 * CORNER, off))
    return near


def _distance(points: Floats, a: Floats, b: Floats) -> Floats:
    """(...): from each point to the stretch between `a` and `b`."""
    along = b - a
    share = np.clip(((points - a) @ along) / float(along @ along), 0, 1)[..., None]
    return np.asarray(np.linalg.norm(points - (a + share * along), axis=-1), np.float32)


def _filled(canvas: Canvas, outline: Floats) -> Floats:
    mask = np.zeros((canvas.height, canvas.width), np.float32)
    at = np.round(canvas.to_canvas(np.asarray(outline, np.float32)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [at], 1.0, shift=4)
    return mask


def _mean_of(art: Floats, skin: Floats, sigma_px: float) -> Floats:
    """`art` under a Gaussian that sees skin only."""
    weight = blurred(skin, sigma_px)[..., None]
    return np.asarray(blurred(art * skin[..., None], sigma_px) / np.maximum(weight, 1e-3), np.float32)
