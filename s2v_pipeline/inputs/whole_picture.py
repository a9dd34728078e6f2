"""The whole picture as the video's frame, at a size of its own: what `video.framing = "picture"` asks for.

Belongs here: from a portrait and an area to the framed portrait.
Does not belong here: the rule for the size, resampling (picture_size); the crop around a face (framing).
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.inputs.framing import FramedPortrait
from s2v_pipeline.inputs.picture_size import official_size, resize_and_crop

_log = logging.getLogger(__name__)
_WORTH_A_NOTE = 0.05  # of a side: rounding to the model's sizes always cuts a little


def frame_whole_picture(pixels: NDArray[np.uint8], *, max_area_px: int) -> FramedPortrait:
    """The portrait (H, W, 3) uint8 RGB at nearly its own aspect ratio, at most `max_area_px` pixels and never enlarged.

    Raises:
        ImageError: a portrait too small or too long for such a size.
    """
    image_height_px, image_width_px = pixels.shape[:2]
    height_px, width_px = official_size(image_height_px, image_width_px, max_area_px)
    # The short side is resized to the shorter side of the frame, whatever the aspect ratios are.
    scale = min(image_width_px, image_height_px) / min(width_px, height_px)
    crop_width_px, crop_height_px = round(width_px * scale), round(height_px * scale)
    left, top = (image_width_px - crop_width_px) // 2, (image_height_px - crop_height_px) // 2
    notes = []
    lost = max(1 - crop_width_px / image_width_px, 1 - crop_height_px / image_height_px)
    if lost > _WORTH_A_NOTE:
        notes.append(f"{lost:.0%} of one side is cut off: the model takes sizes of {width_px}x{height_px} and the like")
    if left < 0 or top < 0:
        notes.append("the picture does not reach to the frame's edge; what is missing is black")
    for note in notes:
        _log.info("%s", note)
    crop_px = (left, top, left + crop_width_px, top + crop_height_px)
    return FramedPortrait(resize_and_crop(pixels, height_px, width_px), crop_px, tuple(notes))
