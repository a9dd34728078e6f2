"""Noise out of the picture, by averaging over time along the movement.

Belongs here: measuring how much noise there is, the two denoisers.
Does not belong here: brightness that changes from frame to frame (deflicker), flow itself.

The strength follows from the noise that is measured in the first frames; a picture without noise passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.enhance.filter_graph import Filter, filtered
from s2v_pipeline.video.enhance.flow import FlowMeter, pulled
from s2v_pipeline.video.enhance.stage import Window, sliding
from s2v_pipeline.video.frames import ShownFrame

MEASURED_FRAMES = 12
"""Frames whose differences tell the noise: half a second, in which the larger part of a portrait does not move."""

LEAST_NOISE = 0.7
"""Levels (0-255) of noise below which nothing is done: rounding alone is 0.29, and less than a level is not seen."""

_FAST_WINDOW = Window(4, MEASURED_FRAMES)  # nine frames for the filter, and those that the noise is measured on
_BLOCK_PX = 8
_STILL_PERCENTILE = 25  # of the blocks' differences over time: a quarter of any portrait's frame is at rest
_UNCLIPPED = (20, 235)  # where black or white cut the noise off it would look smaller than it is


def noise_level(frames: Sequence[ShownFrame]) -> float:
    """Standard deviation of the noise in levels (0-255), from the differences of successive frames at rest.

    Noise that does not change over time is not noise to this measure; nor is a still picture.
    """
    spreads: list[NDArray[np.float32]] = []
    for one, two in pairwise(frames):
        difference = two.pixels.astype(np.float32) - one.pixels
        height_px = difference.shape[0] // _BLOCK_PX * _BLOCK_PX
        width_px = difference.shape[1] // _BLOCK_PX * _BLOCK_PX
        blocks = _blocks(difference[:height_px, :width_px])
        mean = _blocks(two.pixels[:height_px, :width_px].astype(np.float32)).mean(axis=1)
        usable = (mean > _UNCLIPPED[0]) & (mean < _UNCLIPPED[1])
        spreads.append(blocks.std(axis=1)[usable])
    if not spreads:
        return 0.0
    together = np.concatenate(spreads)
    return float(np.percentile(together, _STILL_PERCENTILE) / np.sqrt(2)) if together.size else 0.0


def _blocks(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(blocks, px of a block, 3)."""
    height_px, width_px, channels = pixels.shape
    shape = (height_px // _BLOCK_PX, _BLOCK_PX, width_px // _BLOCK_PX, _BLOCK_PX, channels)
    return pixels.reshape(shape).swapaxes(1, 2).reshape(-1, _BLOCK_PX * _BLOCK_PX, channels)


@dataclass(frozen=True)
class FastDenoise:
    """FFmpeg's atadenoise: averages a pixel over time for as long as it stays nearly the same.

    Some fifteen times as fast as MotionDenoise; parts that move keep much of their noise.
    """

    name: str = "denoise (fast)"
    window: Window = _FAST_WINDOW

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        level, stream = _measured(frames)
        if level < LEAST_NOISE:
            return stream
        # 4 sigma for a single difference and 9 for their sum: the best whole-picture PSNR for noise of 2 to 8 levels
        # among (3, 6) to (5, 20), give or take 0.5 dB, on frames of the portrait generator.
        # Nine frames are what FFmpeg takes by default.
        one, many = 4 * level / 255, 9 * level / 255
        options = ":".join(f"{plane}a={min(one, 0.3):.5f}:{plane}b={min(many, 5):.5f}" for plane in (0, 1, 2))
        return filtered(stream, [Filter("atadenoise", f"{options}:s=9")])


@dataclass(frozen=True)
class MotionDenoise:
    """Averages over time along the optical flow, where the moved neighbour looks the same.

    Args:
        reach_frames: neighbours on either side; three bring 8 dB in theory (10 log10 7).
    """

    reach_frames: int = 3
    name: str = "denoise (motion)"

    @property
    def window(self) -> Window:
        """See `Enhancement`."""
        return Window(self.reach_frames, max(self.reach_frames + 1, MEASURED_FRAMES))

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        level, stream = _measured(frames)
        if level < LEAST_NOISE:
            yield from stream
            return
        meter = FlowMeter(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST, blur_px=1.2)
        grays: dict[int, NDArray[np.uint8]] = {}
        for around, position in sliding(stream, Window(self.reach_frames, self.reach_frames + 1)):
            grays = {frame.index: grays.get(frame.index, meter.gray(frame.pixels)) for frame in around}
            yield _averaged(around, position, grays, meter, level)


def _averaged(
    around: Sequence[ShownFrame],
    position: int,
    grays: dict[int, NDArray[np.uint8]],
    meter: FlowMeter,
    level: float,
) -> ShownFrame:
    own = around[position]
    height_px, width_px, _ = own.pixels.shape
    # What noise alone makes of the mean absolute difference of two pictures, a little less for interpolation's blur.
    expected = np.float32(0.8 * level * 2 / np.sqrt(np.pi))
    total = own.pixels.astype(np.float32)
    weights = np.ones((height_px, width_px), np.float32)
    for other in around:
        if other.index == own.index:
            continue
        flow = meter.between(grays[own.index], grays[other.index], (width_px, height_px))
        moved = pulled(other.pixels, flow)
        difference = cv2.cvtColor(cv2.absdiff(moved, own.pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
        # Full weight up to what noise explains over 5 x 5 px, none from twice that on. Gray of three channels' absolute
        # differences has the mean of one.
        weight = np.clip(2 - cv2.boxFilter(difference, -1, (5, 5)) / expected, 0, 1).astype(np.float32)
        total += moved * weight[..., None]
        weights += weight
    return ShownFrame(own.index, own.time_s, np.rint(total / weights[..., None]).astype(np.uint8))


def _measured(frames: Iterable[ShownFrame]) -> tuple[float, Iterator[ShownFrame]]:
    """The noise of the first frames, and all frames."""
    source = iter(frames)
    first = list(islice(source, MEASURED_FRAMES))
    return noise_level(first), _forgetting(first, source)


def _forgetting(first: list[ShownFrame], rest: Iterator[ShownFrame]) -> Iterator[ShownFrame]:
    first.reverse()
    while first:
        yield first.pop()
    yield from rest
