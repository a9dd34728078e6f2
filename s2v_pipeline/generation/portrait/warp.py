"""Displacement fields: inverting, enlarging and applying them.

Belongs here: arithmetic on fields (h, w, 2) float32 whose last axis is (x, y), in samples of the field's own grid.
Does not belong here: where displacements come from (deform, relief), what is drawn over the result.

Fields are smooth, so they are made and inverted on coarse grids and enlarged; only the picture is sampled at full size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats

# A field whose slope stays below 0.6 halves its error in each round: six rounds leave less than 0.02 of a cell.
INVERSION_ROUNDS = 6


def grid(height: int, width: int) -> Floats:
    """(height, width, 2): x and y of each sample."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def sample(image: Floats, at: Floats) -> Floats:
    """`image` at (x, y) positions, linearly; the border continues outwards."""
    if image.ndim == 3 and image.shape[2] == 3:
        # OpenCV samples four floats in half the time of three, even with the way there and back.
        four = _sampled(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)), at)
        return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB), np.float32)
    return _sampled(image, at)


def _sampled(image: Floats, at: Floats) -> Floats:
    # x and y lie in one array, so there is no second map. The stubs know no None, but an empty array in its place is
    # read past its end.
    sampled = cv2.remap(image, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(sampled, np.float32)


def blurred(image: Floats, sigma_px: float) -> Floats:
    """`image` under a Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)


def invert(forward: Floats, identity: Floats) -> Floats:
    """Field that undoes `forward`: b with b(y) = -forward(y + b(y)), by fixed-point rounds.

    Args:
        forward: (h, w, 2), slope below one.
        identity: `grid(h, w)`.
    """
    undoing = -forward
    backward = undoing
    for _ in range(INVERSION_ROUNDS):
        backward = sample(undoing, identity + backward)
    return backward


def enlarge(field: Floats, step_px: int, height: int, width: int) -> Floats:
    """A field on cells of `step_px` at every pixel; values are scaled from cells to pixels."""
    cells_y, cells_x = field.shape[:2]
    in_pixels = field * np.float32(step_px)
    full = cv2.resize(in_pixels, (cells_x * step_px, cells_y * step_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[:height, :width], np.float32)


def blend(under: Floats, over: Floats, alpha: Floats) -> Floats:
    """`over` on `under` (h, w, 3) with alpha (h, w); `over` may be one row, or one colour."""
    full = np.ascontiguousarray(np.broadcast_to(over, under.shape), np.float32)
    share = np.ascontiguousarray(alpha, np.float32)
    return np.asarray(cv2.blendLinear(full, np.ascontiguousarray(under, np.float32), share, 1 - share), np.float32)


def four_channels(image: Floats) -> Floats:
    """(h, w, 4) of (h, w, 3), with an unused channel."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2RGBA), np.float32)


def mixed(under: Floats, over: Floats, alpha: Floats) -> Floats:
    """`over` on `under` (h, w, 4) each with alpha (h, w)."""
    share = np.asarray(alpha, np.float32)
    return np.asarray(cv2.blendLinear(over, under, share, 1 - share), np.float32)


def dimmed(image: Floats, share: Floats) -> Floats:
    """`image` (h, w, 4) without a share (h, w) of its light; a negative one adds light."""
    left = np.asarray(1 - share, np.float32)
    return np.asarray(cv2.multiply(image, cv2.merge((left, left, left, left))), np.float32)


def to_pixels(image: Floats) -> NDArray[np.uint8]:
    """Rounded and clipped to bytes."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), np.uint8)
