"""Colours that drift away from the portrait, chunk by chunk, brought back.

Belongs here: measuring a frame's colours against the portrait's still parts, smoothing over time, correcting.
Does not belong here: fast trembling (deflicker), a colour that somebody wants (tone).

For each channel a gain and an offset map the frame to the portrait. They are fitted over blocks that do not move, with
weights that leave out what is not as in the portrait (the mouth, hair that moved). They are averaged over about a
second, but never across a join of two chunks, as that is where a step is to be taken out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.enhance.stage import Window
from s2v_pipeline.video.frames import ShownFrame

SMOOTHING_S = Fraction(1, 2)
"""Reach of the average on either side: drift is slow; a second of frames averages a breath or a nod away."""

GAIN_LIMITS = (0.75, 1.33)
MOST_OFFSET = 40.0
"""Limits of the correction: what lies beyond is another picture rather than drift, and is left to the gate."""

LEAST_LEVELS = 1.0
"""A correction that moves no level of 0-255 by more than this is left out: the eye does not see it, rounding would."""

_BLOCKS_PER_SIDE = 48
_ROUNDS = 8  # of reweighting; the weights change by less than a hundredth after six
_TUKEY = 4.685  # tuning constant of Tukey's biweight: 95 % efficient for normal errors
_RIDGE = 25.0  # levels^2: a picture with less contrast than 5 levels says nothing about gain
_LEAST_SCALE = 1.0  # levels: a perfect fit must not make the weights singular
_STILL_LEVELS = 1.5  # change of a block from frame to frame at which its weight is halved
_MEMORY = 0.9  # of the running mean of each block's change: ten frames

Blocks = NDArray[np.float32]
"""(blocks, 3) mean colours."""


@dataclass(frozen=True, eq=False)
class ColourMap:
    """What maps a frame's colours to the portrait's: gain * level + offset, each (3,) float64."""

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def levels(self) -> float:
        """Largest change of any channel at 16, 128 or 240: the drift in levels."""
        at = np.array([16.0, 128.0, 240.0])[:, None]
        return float(np.abs(self.gain * at + self.offset - at).max())


@dataclass(frozen=True)
class DriftSample:
    """Drift of one frame, before correction, in levels (0-255), and whether the limits cut the correction."""

    index: int
    levels: float
    limited: bool


def block_colours(pixels: NDArray[np.uint8]) -> Blocks:
    """Mean colours of the picture's blocks."""
    side = (_BLOCKS_PER_SIDE, _BLOCKS_PER_SIDE)
    small = cv2.resize(pixels.astype(np.float32), side, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(-1, 3)


def measure_drift(frame: Blocks, portrait: Blocks, stillness: NDArray[np.float64]) -> ColourMap:
    """The robust fit portrait = gain * frame + offset for each channel, by reweighted least squares.

    Tukey's biweight as in P. Huber, "Robust Statistics"; the scale is the median absolute residual.

    Args:
        frame, portrait: colours of the same blocks.
        stillness: (blocks,) weights, 1 for a block that never moves.
    """
    gain, offset = np.ones(3), np.zeros(3)
    for channel in range(3):
        x, y = frame[:, channel].astype(np.float64), portrait[:, channel].astype(np.float64)
        # From the median difference, so that a shift of all colours is no outlier.
        a, b = 1.0, float(np.median(y - x))
        for _ in range(_ROUNDS):
            residual = np.abs(y - a * x - b)
            scale = max(_LEAST_SCALE, 1.4826 * float(np.median(residual)))
            weight = stillness * np.clip(1 - (residual / (_TUKEY * scale)) ** 2, 0, None) ** 2
            total = weight.sum()
            if total <= 0:
                break
            mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
            spread = (weight * (x - mean_x) ** 2).sum() / total
            shared = (weight * (x - mean_x) * (y - mean_y)).sum() / total
            a = (shared + _RIDGE) / (spread + _RIDGE)
            b = mean_y - a * mean_x
        gain[channel], offset[channel] = a, b
    return ColourMap(gain, offset)


@dataclass(frozen=True, eq=False)
class DriftCorrection:
    """Frames with the portrait's colours.

    Args:
        portrait: (height, width, 3) uint8 RGB as framed for the video.
        fps: frames a second.
        joins: first frame of each chunk but the first, ascending.
        on_sample: told the drift of every frame, before correction.
    """

    portrait: NDArray[np.uint8]
    fps: Fraction
    joins: tuple[int, ...] = ()
    on_sample: Callable[[DriftSample], None] | None = None
    name: str = "drift"

    @property
    def window(self) -> Window:
        """See `Enhancement`."""
        reach = max(1, int(SMOOTHING_S * self.fps))
        return Window(reach, reach + 1)

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`; frames must be numbered as the joins count them, from 0."""
        reach = self.window.back_frames
        portrait = block_colours(self.portrait)
        waiting: deque[ShownFrame] = deque()
        maps: deque[tuple[int, ColourMap]] = deque()  # (index, map) of the window and of those that wait
        still = _Stillness()
        for frame in frames:
            if frame.pixels.shape != self.portrait.shape:
                raise MediaError(
                    "the portrait must have the frames' size for colours to be compared",
                    got=f"{self.portrait.shape[:2]} and {frame.pixels.shape[:2]}",
                    cure="Correct drift before anything changes the size.",
                )
            colours = block_colours(frame.pixels)
            maps.append((frame.index, measure_drift(colours, portrait, still.weights(colours))))
            waiting.append(frame)
            if len(waiting) > reach:
                yield self._corrected(waiting.popleft(), maps, reach)
        while waiting:
            yield self._corrected(waiting.popleft(), maps, reach)

    def _corrected(self, frame: ShownFrame, maps: deque[tuple[int, ColourMap]], reach: int) -> ShownFrame:
        while maps[0][0] < frame.index - reach:
            maps.popleft()
        chunk = bisect_right(self.joins, frame.index)
        near = [
            one for index, one in maps if abs(index - frame.index) <= reach and bisect_right(self.joins, index) == chunk
        ]
        mean = ColourMap(np.mean([one.gain for one in near], axis=0), np.mean([one.offset for one in near], axis=0))
        used = _limited(mean)
        if self.on_sample is not None:
            self.on_sample(DriftSample(frame.index, mean.levels, used is not mean))
        if used.levels < LEAST_LEVELS:
            return frame
        levels = np.arange(256)[:, None] * used.gain + used.offset
        table = np.rint(np.clip(levels, 0, 255)).astype(np.uint8).reshape(1, 256, 3)
        return ShownFrame(frame.index, frame.time_s, np.asarray(cv2.LUT(frame.pixels, table), np.uint8))


class _Stillness:
    """Weights of the blocks by how much each changes from frame to frame, beyond what all of them do."""

    def __init__(self) -> None:
        self._before: Blocks | None = None
        self._change: NDArray[np.float64] | None = None

    def weights(self, colours: Blocks) -> NDArray[np.float64]:
        if self._before is None or self._change is None:
            self._change = np.zeros(len(colours))
        else:
            difference = (colours - self._before).astype(np.float64)
            difference -= np.median(difference, axis=0)
            self._change = _MEMORY * self._change + (1 - _MEMORY) * np.abs(difference).mean(axis=1)
        self._before = colours
        return np.asarray(1 / (1 + (self._change / _STILL_LEVELS) ** 2), np.float64)


def _limited(found: ColourMap) -> ColourMap:
    gain = np.clip(found.gain, *GAIN_LIMITS)
    # The limit is on what the correction does at mid grey, where gain and offset act together.
    middle = found.gain * 128 + found.offset
    shift = np.clip(middle - 128, -MOST_OFFSET, MOST_OFFSET)
    if np.array_equal(gain, found.gain) and np.array_equal(shift, middle - 128):
        return found
    return ColourMap(gain, 128 + shift - gain * 128)


def worst_drift(samples: Sequence[DriftSample]) -> DriftSample | None:
    """The frame that drifted most; None without frames."""
    return max(samples, key=lambda sample: sample.levels, default=None)
