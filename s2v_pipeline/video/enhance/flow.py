"""Movement between two pictures, and pictures moved by it.

Belongs here: dense optical flow (OpenCV's DIS), warping.
Does not belong here: what is done with them (denoise, interpolate, video.joins).

DIS: T. Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV implements it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

FLOW_SIDE_PX = 640
"""Longer side of the pictures that flow is computed on: a mouth of a framed portrait is then about 100 px wide, and a
1080p picture costs a ninth. Flow is smooth, so enlarging it loses little."""

Pixels = NDArray[np.uint8]
Flow = NDArray[np.float32]
"""(height, width, 2): where a pixel of the first picture lies in the second, minus where it lies in the first; px."""


class FlowMeter:
    """Flow from one picture to another.

    Args:
        preset: of cv2.DISOpticalFlow; FAST is within 0.1 dB of MEDIUM for 25 to 50 frames a second, at twice its speed.
        blur_px: standard deviation of a blur beforehand, against noise.
    """

    def __init__(self, preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST, *, blur_px: float = 0.0) -> None:
        self._dis = cv2.DISOpticalFlow.create(preset)
        self._blur_px = blur_px

    def gray(self, pixels: Pixels) -> Pixels:
        """What flow is computed on: gray, at most FLOW_SIDE_PX long."""
        gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if self._blur_px:
            gray = cv2.GaussianBlur(gray, (0, 0), self._blur_px)
        longer = max(gray.shape)
        if longer > FLOW_SIDE_PX:
            scale = FLOW_SIDE_PX / longer
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.asarray(gray, np.uint8)

    def between(self, first: Pixels, second: Pixels, size: tuple[int, int]) -> Flow:
        """Flow between two pictures of `gray`, enlarged to `size` (width, height), in px of that size."""
        # calc() starts from the field that it is given: one of zeros, so that nothing depends on the call before.
        flow = self._dis.calc(first, second, np.zeros((*first.shape, 2), np.float32))
        height_px, width_px = first.shape
        if (width_px, height_px) != size:
            flow = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR)
            flow = flow * np.array([size[0] / width_px, size[1] / height_px], np.float32)
        return np.asarray(flow, np.float32)


@lru_cache(maxsize=2)
def _grid(width_px: int, height_px: int) -> NDArray[np.float32]:
    grid = np.stack(np.meshgrid(np.arange(width_px), np.arange(height_px)), axis=2).astype(np.float32)
    grid.flags.writeable = False
    return grid


def pulled(pixels: Pixels, flow: Flow) -> Pixels:
    """The picture whose pixel x is `pixels` at x + flow(x); edges are continued."""
    height_px, width_px = flow.shape[:2]
    places = np.asarray(_grid(width_px, height_px) + flow, np.float32)
    no_second_map = np.empty(0, np.int16)  # both coordinates are in the first
    moved = cv2.remap(pixels, places, no_second_map, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)
