"""Skin that a closing lid shows and a portrait with open eyes does not.

Belongs here: what is made once of the portrait around an eye: lids without lashes, their tone, a corner without white.
Does not belong here: how lids move and are lit (eyelids).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import luminance_of
from s2v_pipeline.generation.portrait.warp import blurred, sample

LASH_GAPS = 0.022  # iod; lashes stand closer than twice this
UNDER_EYE = 0.14  # iod below the lower lid: skin without lashes or bags
LID_SHADE = 0.72  # of that skin's light is the least that a lid has
GRAIN_FROM, GRAIN_BAND = 0.06, 0.12  # iod below the lower lid from which, and over which skin's texture is taken
GRAIN_COARSEST = 0.035  # iod; standard deviation
GRAIN_MOST = 0.06  # of the light; more is a lash or the rim of glasses
CREASE_ABOVE, CREASE_WIDTH = 0.035, 0.017  # iod over the open lid's edge; half the line's width
CREASE_DARK, CREASE_LIGHT = 0.11, 0.02
CORNER_NEAR, CORNER_FAR = 0.10, 0.17  # iod around the outer corner of the eye
CORNER_WHITE = 0.12  # iod; white beyond the lids' landmarks is no higher than this


def lid_without_lashes(canvas: Canvas, art: Floats) -> Floats:
    """(h, w, 3): `art` without thin dark lines."""
    lash_px = 2 * max(1, round(LASH_GAPS * canvas.scale)) + 1
    bare = cv2.morphologyEx(art, cv2.MORPH_CLOSE, np.ones((1, lash_px), np.uint8))
    return blurred(np.asarray(bare, np.float32), LASH_GAPS * canvas.scale)


def skin_grain(canvas: Canvas, art: Floats, lower: Floats) -> Floats:
    """(h, w): texture of the skin under the eye as a share of its light; row y is y pixels from the lid's rim.

    Taken from a band that is lower than a lid, so it is mirrored at the band's ends.
    """
    light = luminance_of(art)
    coarse = blurred(light, GRAIN_COARSEST * canvas.scale)
    fine = np.clip((light - coarse) / np.maximum(coarse, 1.0), -GRAIN_MOST, GRAIN_MOST).astype(np.float32)
    rim_px = np.arange(canvas.height, dtype=np.float32)[:, None] / np.float32(canvas.scale)
    within_band = GRAIN_BAND - np.abs(rim_px % (2 * GRAIN_BAND) - GRAIN_BAND)
    from_v = lower + GRAIN_FROM + within_band
    at = canvas.to_canvas(np.stack([np.broadcast_to(canvas.u, from_v.shape), from_v], axis=-1).astype(np.float32))
    return sample(fine, at)


def lid_crease(canvas: Canvas, upper: Floats, within: Floats) -> Floats:
    """(h, w): share of light that the fold of a closed lid takes: it lies where the open lid's edge was, or just above.

    A dark line in the fold, and the lid's round below it, which is lighter.
    """
    off = (canvas.v[:, None] - upper + CREASE_ABOVE) / CREASE_WIDTH
    line = CREASE_DARK * np.exp(-(off * off)) - CREASE_LIGHT * np.exp(-(((off - 2.4) / 1.4) ** 2))
    return np.asarray(line * within, np.float32)


def corner_without_white(canvas: Canvas, art: Floats, corner: Floats) -> Floats:
    """(h, w, 3): what takes the white out of the outer `corner` (2,) of the eye when added to `art`.

    The inner corner is left: it is red, not white, and the bridge of the nose beside it is bright.
    """
    size_px = max(3, round(CORNER_WHITE * canvas.scale))
    dark = cv2.morphologyEx(art, cv2.MORPH_OPEN, np.ones((size_px, 1), np.uint8))
    dark = blurred(np.asarray(dark, np.float32), 0.006 * canvas.scale)
    near = smoothstep(CORNER_FAR, CORNER_NEAR, np.linalg.norm(canvas.points() - corner, axis=-1).astype(np.float32))
    return np.asarray(np.minimum(dark - art, 0) * near[..., None], np.float32)


def lid_tone(canvas: Canvas, art: Floats, upper: Floats, lower: Floats, reach: Floats) -> Floats:
    """(1, w, 3): the lightest skin over the eye, for lashes, folds and low brows are darker than the lid itself.

    Where even that is much darker than the skin under the eye, it is a brow, and the skin below stands for the lid.
    """
    soft = blurred(art, 0.02 * canvas.scale)
    rows = np.concatenate([_row(canvas, soft, upper - share * reach) for share in (0.3, 0.45, 0.6, 0.75)])
    tone = np.take_along_axis(rows, rows.sum(axis=-1).argmax(axis=0)[None, :, None], axis=0)
    below = _row(canvas, soft, lower + UNDER_EYE) * np.float32(LID_SHADE)
    lighter = tone.sum(axis=-1, keepdims=True) > below.sum(axis=-1, keepdims=True)
    return np.asarray(gaussian_filter1d(np.where(lighter, tone, below), 0.10 * canvas.scale, axis=1), np.float32)


def _row(canvas: Canvas, art: Floats, v: Floats) -> Floats:
    """(1, w, 3): colours along a line over the canvas."""
    at = canvas.to_canvas(np.stack([canvas.u, v], axis=-1))[None].astype(np.float32)
    return sample(art, at)
