"""Lips of a portrait without bits of teeth and of the mouth's dark on their inner edges.

Belongs here: what on a lip is no lip, and the lip colour that goes there, once for a portrait.
Does not belong here: where the contours lie (lips), the skin beside the mouth (smile_folds).

A contour that is off by a pixel leaves half a tooth on a lip. It is a speck as soon as the lip moves away from that
tooth, so a lip is compared with its own middle, and what cannot be lip is painted over with that.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import GREY_LIP, LipShape, luminance_of
from s2v_pipeline.generation.portrait.warp import blend, blurred, sample

REFERENCE_AT = 0.6  # of a lip's thickness from its inner edge: no tooth reaches there
REFERENCE_SPREAD = 3.0  # columns of the contour; standard deviation
CLEANED = 0.75  # of the thickness, from the inner edge on
INTO_MOUTH = 0.03  # iod beyond the inner edge
DARK_FULL, DARK_NONE = 0.50, 0.70  # of the reference's light: surely not lip, surely lip
TOOTH_RED_FULL, TOOTH_RED_NONE = 0.45, 0.75  # the same of its redness, in what is no darker than `TOOTH_LIGHT`
TOOTH_LIGHT = 0.85
GREY_TOOTH_NONE, GREY_TOOTH_FULL = 1.25, 1.5  # of the reference's light, in a portrait without colour
GROWN = 0.014  # iod; the rim of a speck is mixed with lip by the camera


def cleaned_lip(canvas: Canvas, art: Floats, shape: LipShape, *, upper: bool) -> Floats:
    """(h, w, 3): `art` whose upper or lower lip has nothing but lip on its inner side."""
    edge = shape.upper_inner if upper else shape.lower_inner
    outwards = (shape.upper_outer if upper else shape.lower_outer) - edge
    at = canvas.to_canvas(np.stack([shape.u, edge + REFERENCE_AT * outwards], axis=-1))[None].astype(np.float32)
    # Towards the corners a lip has no middle of its own: the thicker a lip, the more its colour counts.
    weight = np.square(outwards)[:, None] + 1e-8
    middle = sample(blurred(art, 0.008 * canvas.scale), at)[0]
    total = gaussian_filter1d(weight, REFERENCE_SPREAD, axis=0)
    reference = gaussian_filter1d(middle * weight, REFERENCE_SPREAD, axis=0) / total
    lip = np.stack([np.interp(canvas.u, shape.u, channel) for channel in reference.T], axis=-1).astype(np.float32)[None]

    thickness = np.interp(canvas.u, shape.u, np.abs(outwards)).astype(np.float32)
    from_edge = canvas.v[:, None] - np.interp(canvas.u, shape.u, edge).astype(np.float32)
    from_edge = np.asarray(-from_edge if upper else from_edge, np.float32)
    soft = np.maximum(0.15 * thickness, 1e-3)
    near = smoothstep(-1.3, -1.0, from_edge / INTO_MOUTH)
    near = near * smoothstep(1.0, -1.0, (from_edge - CLEANED * thickness) / soft)
    near = near * smoothstep(0.0, 0.02, np.minimum(canvas.u - shape.u[0], shape.u[-1] - canvas.u))

    strange = np.asarray(_no_lip(art, lip) * near, np.float32)
    size_px = 2 * max(1, round(GROWN * canvas.scale)) + 1
    grown = cv2.dilate(strange, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px)))
    return blend(art, lip, np.minimum(blurred(np.asarray(grown, np.float32), 0.5 * GROWN * canvas.scale), near))


def _no_lip(art: Floats, lip: Floats) -> Floats:
    """(h, w): 0..1, tooth or dark by its colour."""
    light = np.asarray(luminance_of(art) / np.maximum(luminance_of(lip), 1.0), np.float32)
    dark = smoothstep(DARK_NONE, DARK_FULL, light)
    redness = _redness(lip)
    share = np.asarray(_redness(art) / np.maximum(redness, GREY_LIP), np.float32)
    tooth = smoothstep(TOOTH_RED_NONE, TOOTH_RED_FULL, share) * smoothstep(0.8 * TOOTH_LIGHT, TOOTH_LIGHT, light)
    grey_tooth = smoothstep(GREY_TOOTH_NONE, GREY_TOOTH_FULL, light)
    return np.asarray(np.maximum(dark, np.where(redness < GREY_LIP, grey_tooth, tooth)), np.float32)


def _redness(colours: Floats) -> Floats:
    return np.asarray((colours[..., 0] - colours[..., 1]) / np.maximum(luminance_of(colours), 1.0), np.float32)
