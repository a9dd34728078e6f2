"""Contrast, saturation and white balance: one fixed mapping of colours for the whole video.

Belongs here: the mapping, grey-world gains from the portrait.
Does not belong here: anything that changes over time (deflicker, drift).

A mapping that is the same for every frame cannot flicker, whatever is in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.enhance.stage import ALONE, Window
from s2v_pipeline.video.frames import ShownFrame

LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709, the matrix that clips are encoded with
MOST_BALANCE = 0.12
"""Largest change of a channel by white balance. A face in front of a coloured wall is no grey world: what goes beyond a
seventh is the scene's colour rather than the camera's cast."""

_UNCLIPPED = (8, 247)


def grey_world_gains(portrait: NDArray[np.uint8], *, most: float = MOST_BALANCE) -> tuple[float, float, float]:
    """Gain of each channel that makes the portrait's mean grey, at its own luma, limited to 1 - most .. 1 + most.

    Grey world: G. Buchsbaum, "A spatial processor model for object colour perception", 1980. Pixels with a clipped
    channel do not count.
    """
    pixels = portrait.reshape(-1, 3)
    inside = ((pixels > _UNCLIPPED[0]) & (pixels < _UNCLIPPED[1])).all(axis=1)
    if not inside.any():
        return (1.0, 1.0, 1.0)
    mean = pixels[inside].mean(axis=0, dtype=np.float64)
    red, green, blue = (float(gain) for gain in np.clip(np.dot(mean, LUMA) / mean, 1 - most, 1 + most))
    return (red, green, blue)


@dataclass(frozen=True)
class Tone:
    """Contrast around a pivot, saturation around luma, a gain for each channel.

    Args:
        contrast: slope at the pivot; 1 changes nothing.
        saturation: distance from grey; 1 changes nothing, 0 is grey.
        balance: gains of red, green and blue, such as those of `grey_world_gains`.
        pivot: level (0-255) that contrast leaves alone, such as the portrait's mean luma.

    Raises:
        ValueError: contrast outside 0.5 to 2, or saturation outside 0 to 2.
    """

    contrast: float = 1.0
    saturation: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pivot: float = 118.0  # 18 % grey in sRGB
    name: str = "tone"
    window: Window = ALONE

    def __post_init__(self) -> None:
        if not (0.5 <= self.contrast <= 2 and 0 <= self.saturation <= 2):
            raise ValueError(
                f"contrast must be 0.5 to 2 and saturation 0 to 2; got {self.contrast} and {self.saturation}"
            )

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        curve = _curve(self.contrast, self.pivot)
        luma = np.tile(np.array(LUMA), (3, 1))
        matrix = (luma + self.saturation * (np.eye(3) - luma)) @ np.diag(self.balance)
        for frame in frames:
            pixels = frame.pixels
            if not np.array_equal(matrix, np.eye(3)):
                pixels = np.asarray(cv2.transform(pixels, matrix), np.uint8)  # rounds and saturates
            if self.contrast != 1:
                pixels = np.asarray(cv2.LUT(pixels, curve), np.uint8)
            yield ShownFrame(frame.index, frame.time_s, pixels)


def _curve(contrast: float, pivot: float) -> NDArray[np.uint8]:
    """A power curve on either side of the pivot: slope `contrast` there, 0 and 255 stay, so nothing is cut off."""
    level = np.arange(256, dtype=np.float64)
    below = pivot * (level / pivot) ** contrast
    above = 255 - (255 - pivot) * ((255 - level) / (255 - pivot)) ** contrast
    return np.rint(np.where(level < pivot, below, above)).astype(np.uint8)
