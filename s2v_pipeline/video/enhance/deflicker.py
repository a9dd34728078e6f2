"""Brightness and colour that tremble from frame to frame, made steady.

Belongs here: measuring the picture's own brightness over time, smoothing it, correcting each frame.
Does not belong here: slow drift away from the portrait (drift), noise of single pixels (denoise).

Each frame is compared with the one before, block by block; the median over the blocks is the change that the whole
picture made, whatever the mouth does. Summed up, that is a curve of brightness for each channel. It is replaced by its
mean over a short window, which keeps fades. A step that stays (a lamp is switched on) parts the window and is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.enhance.stage import Window
from s2v_pipeline.video.frames import ShownFrame

STEP = 0.08
"""Relative change from one frame to the next that may be lighting, if it stays: a lamp makes more, ordinary flicker
less, and flicker that makes more does not stay."""

STEP_SPREADS = 3.0
"""A step must be this many standard deviations of the brightness on either side of it, so that chance makes none."""

LEAST_CORRECTION = 0.002
"""Relative corrections below this are left out: half a level at 255, which rounding hides."""

_BLOCKS_PER_SIDE = 32
_SIDE_FRAMES = 6  # on either side of a step that tell whether it stays
_LEAST_SIDE_FRAMES = 4  # fewer tell nothing
_STAYING_SHARE = 0.7  # of a step that must be left between the medians of the frames before and after it
_DARK = 8.0  # levels: ratios of darker blocks are mostly rounding

Curve = NDArray[np.float64]
"""(3,) natural logarithm of the brightness of each channel, up to a constant."""


@dataclass(frozen=True)
class Deflicker:
    """Each channel's brightness, smoothed over time.

    Args:
        reach_frames: frames on either side of the window; 6 are a quarter of a second at 25 frames a second: longer
            than any flicker, shorter than a change of light that means something.
    """

    reach_frames: int = 6
    name: str = "deflicker"

    @property
    def window(self) -> Window:
        """See `Enhancement`; beyond the reach lie frames that tell whether a step at its edge stays."""
        look = self.reach_frames + _SIDE_FRAMES
        return Window(look, look + 1)

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        look = self.window.back_frames
        waiting: deque[ShownFrame] = deque()  # frames whose window is not complete
        curve: deque[Curve] = deque()  # of the frames of the window and of those that wait
        n_given = 0
        blocks: NDArray[np.float64] | None = None
        for frame in frames:
            present = _block_means(frame.pixels)
            curve.append(np.zeros(3) if blocks is None else curve[-1] + _change(blocks, present))
            blocks = present
            waiting.append(frame)
            if len(waiting) > look:
                yield self._corrected(waiting.popleft(), curve, min(n_given, look))
                n_given += 1
        while waiting:
            yield self._corrected(waiting.popleft(), curve, min(n_given, look))
            n_given += 1

    def _corrected(self, frame: ShownFrame, curve: deque[Curve], own: int) -> ShownFrame:
        values = np.array(curve)[: own + self.window.stop_frames]
        if own == self.window.back_frames:
            curve.popleft()  # the next frame's window begins one later
        start, stop = steady_span(values, own, self.reach_frames)
        # As many frames on either side, so that a fade keeps its slope at the ends of the video and at a step; but at
        # least the nearest two, as a frame by itself would not be smoothed at all.
        reach = max(2, min(own - start, stop - 1 - own))
        mean = values[max(start, own - reach) : min(stop, own + reach + 1)].mean(axis=0)
        correction = np.expm1(mean - values[own])
        if np.abs(correction).max() < LEAST_CORRECTION:
            return frame
        table = np.arange(256)[:, None] * (1 + correction)
        table = np.rint(np.clip(table, 0, 255)).astype(np.uint8).reshape(1, 256, 3)
        return ShownFrame(frame.index, frame.time_s, np.asarray(cv2.LUT(frame.pixels, table), np.uint8))


def _block_means(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    small = cv2.resize(pixels, (_BLOCKS_PER_SIDE, _BLOCKS_PER_SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    # INTER_AREA rounds to whole levels; so do the pixels, and the median over a thousand blocks averages it away.
    return small.reshape(-1, 3)


def _change(before: NDArray[np.float64], after: NDArray[np.float64]) -> Curve:
    """Logarithm of the ratio of each channel's brightness."""
    change = np.zeros(3)
    for channel in range(3):
        one, two = before[:, channel], after[:, channel]
        bright = (one > _DARK) & (two > _DARK) & (two < 250) & (one < 250)
        if bright.any():
            ratio = np.log(two[bright] / one[bright])
            middle = np.median(ratio)
            # The mean of the half that lies nearest to the median: finer than the median of rounded values.
            near = np.abs(ratio - middle) <= np.median(np.abs(ratio - middle))
            change[channel] = ratio[near].mean()
    return change


def steady_span(values: NDArray[np.float64], own: int, reach: int) -> tuple[int, int]:
    """Half-open span around `own`, at most `reach` to either side, without a step that stays.

    Args:
        values: (n, 3) curve, reaching farther than `reach` where the video does.
        own: the frame's position in it.
        reach: frames to either side.
    """
    level = values.mean(axis=1)
    start, stop = max(0, own - reach), min(len(level), own + reach + 1)
    for at in range(start + 1, stop):
        jump = float(level[at] - level[at - 1])
        before, after = level[max(0, at - _SIDE_FRAMES) : at], level[at : at + _SIDE_FRAMES]
        if abs(jump) < STEP or min(len(before), len(after)) < _LEAST_SIDE_FRAMES:
            continue
        left = float(np.median(after) - np.median(before))
        spread = 1.4826 * max(float(np.median(np.abs(side - np.median(side)))) for side in (before, after))
        if left / jump > _STAYING_SHARE and abs(left) > STEP_SPREADS * spread:
            start, stop = (max(start, at), stop) if at <= own else (start, min(stop, at))
    return start, stop
