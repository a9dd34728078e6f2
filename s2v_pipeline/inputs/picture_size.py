"""The size of video that a picture gives, and the picture brought to that size: the official Wan2.2-S2V rules.

Belongs here: the rule for height and width, resizing and centre-cropping.
Does not belong here: reading a picture file (image), framing a face (framing), tensors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.errors import ImageError

# Both sides are multiples of this: VAE stride 8, patch 2, and the motion frames' coarsest patch 8
# (Wan-Video/Wan2.2 wan/speech2video.py, get_size_less_than_area: divisor).
SIDE_MULTIPLE_PX = 64
MIN_SIDE_PX = SIDE_MULTIPLE_PX  # a smaller picture would be padded with black more than it shows

# Sizes that the search tries between the largest scale and the smallest; the first that fits is taken (same function).
_N_SCALES = 100
_SMALLEST_SCALE_OF_FITTING_PICTURE = 0.1


def official_size(height_px: int, width_px: int, max_area_px: int) -> tuple[int, int]:
    """(height_px, width_px) of the video for a picture: nearly its aspect ratio, multiples of 64, <= `max_area_px`.

    The picture is never scaled up, but rounding up to 64 may make a side larger than the picture's. Same numbers as
    Wan-Video/Wan2.2 wan/speech2video.py, get_size_less_than_area.

    Raises:
        ImageError: a side below 64 px, or a picture so long that no size of at most `max_area_px` fits it.
        ValueError: `max_area_px` holds no multiple of 64.
    """
    if max_area_px < SIDE_MULTIPLE_PX**2:
        raise ValueError(f"max_area_px must be at least {SIDE_MULTIPLE_PX**2}; got {max_area_px}")
    _check_sides(height_px, width_px)
    smallest, largest = _scales(height_px, width_px, max_area_px)
    for i in range(_N_SCALES):
        scale = largest - (largest - smallest) * i / _N_SCALES
        size = (_rounded_up(int(height_px * scale)), _rounded_up(int(width_px * scale)))
        if math.prod(size) <= max_area_px:
            break
    else:
        size = _rounded_down_size(height_px, width_px, max_area_px)
    if min(size) < SIDE_MULTIPLE_PX:
        raise ImageError(
            f"a picture must fit a video of {max_area_px} pixels with sides of at least {SIDE_MULTIPLE_PX} px",
            got=f"{width_px}x{height_px} px",
            cure="Crop the picture so that its long side is at most a few times its short side.",
        )
    return size


def resize_and_crop(image: Image.Image | NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """The picture as (height_px, width_px, 3) uint8 RGB: short side resized to the shorter of both, centre cut out.

    Same pixels as torchvision's `Resize(min(height, width))` and `CenterCrop((height, width))` give for a PIL image
    (torchvision/transforms/functional.py; Wan-Video/Wan2.2 wan/speech2video.py, generate): bilinear with antialiasing,
    the long side truncated to an integer, black where the resized picture does not reach.

    Args:
        image: a PIL image, or (H, W, 3) uint8 RGB.

    Raises:
        ImageError: a side of the picture below 64 px.
        ValueError: an array of another shape or dtype, or a size that is not positive.
    """
    if height_px < 1 or width_px < 1:
        raise ValueError(f"a size must be positive; got {width_px}x{height_px}")
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a picture must be (height, width, 3) uint8; got {image.shape} {image.dtype}")
        _check_sides(image.shape[0], image.shape[1])  # before Pillow, which refuses an empty array in other words
        image = Image.fromarray(image)
    _check_sides(image.height, image.width)
    resized = _short_side_resized(image.convert("RGB"), min(height_px, width_px))
    return _centre(np.asarray(resized), height_px, width_px)


def _check_sides(height_px: int, width_px: int) -> None:
    if min(height_px, width_px) < MIN_SIDE_PX:
        raise ImageError(
            f"both sides of a picture must be at least {MIN_SIDE_PX} px",
            got=f"{width_px}x{height_px} px",
            cure="Give a larger picture; enlarging this one adds no detail.",
        )


def _scales(height_px: int, width_px: int, max_area_px: int) -> tuple[float, float]:
    """Smallest and largest scale to try."""
    area_px = height_px * width_px
    if area_px <= max_area_px:
        return _SMALLEST_SCALE_OF_FITTING_PICTURE, 1.0
    # The scale at which (h*s + 63) * (w*s + 63) reaches the area: a quadratic equation. The official discriminant has 2
    # where the formula has 4; it stays, since it sets the steps of the search and so the sizes.
    most_padding_px = SIDE_MULTIPLE_PX - 1
    linear = most_padding_px * (height_px + width_px)
    constant = most_padding_px**2 - max_area_px
    root = math.sqrt(linear**2 - 2 * area_px * constant)  # the constant is negative: 63 * 63 is below any area
    return (-linear + root) / (2 * area_px), math.sqrt(max_area_px / area_px)


def _rounded_up(length_px: int) -> int:
    return -(-length_px // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX


def _rounded_down_size(height_px: int, width_px: int, max_area_px: int) -> tuple[int, int]:
    """The size where no scale fits: both sides rounded down, from the area, or from the picture if that is smaller."""
    aspect = width_px / height_px
    width = int((max_area_px * aspect) ** 0.5 // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX
    height = int((max_area_px / aspect) ** 0.5 // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX
    if width >= width_px or height >= height_px:
        width = width_px // SIDE_MULTIPLE_PX * SIDE_MULTIPLE_PX
        height = height_px // SIDE_MULTIPLE_PX * SIDE_MULTIPLE_PX
    return height, width


def _short_side_resized(image: Image.Image, short_px: int) -> Image.Image:
    long_px = int(short_px * max(image.size) / min(image.size))
    size = (short_px, long_px) if image.width <= image.height else (long_px, short_px)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _centre(pixels: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """The middle (height_px, width_px) of a picture, with black added evenly where it is smaller."""
    missing = [max(0, want - have) for want, have in zip((height_px, width_px), pixels.shape[:2], strict=True)]
    padded = np.pad(pixels, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
    # Halves round to even, as Python's round does in torchvision.
    top = round((padded.shape[0] - height_px) / 2)
    left = round((padded.shape[1] - width_px) / 2)
    return np.ascontiguousarray(padded[top : top + height_px, left : left + width_px])
