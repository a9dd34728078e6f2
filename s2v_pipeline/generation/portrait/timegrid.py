"""The absolute clock that all motion is drawn on: 200 steps a second, counted from the first audio sample.

Belongs here: the grid, easing, gestures, smoothing, speed limits, and reading a track at frames.
Does not belong here: what moves (mouth, eyes, head), random numbers (noise).

Everything here gives a step or a frame the same bytes whatever else is computed beside it, so that a video does not
depend on how it is cut into chunks, nor on the machine: only + - * /, comparisons and rounding are used, which IEEE 754
defines to the last bit, and sums run in a fixed order. `np.sum`, `np.convolve`, `@` and `np.exp` do not promise that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.timebase import FrameSpan

Track = NDArray[np.float64]
"""Values on a grid, (n_steps,)."""

GRID_HZ = 200
"""Steps a second: 5 ms is a tenth of the fastest gesture (a lip release)."""


@dataclass(frozen=True)
class TimeGrid:
    """Steps [first, first + n_steps) of the clock; a negative step lies before the audio.

    Raises:
        ValueError: no steps.
    """

    first: int
    n_steps: int

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ValueError(f"a grid needs steps; got {self.n_steps}")

    @property
    def times_s(self) -> Track:
        """Time of every step in seconds."""
        return np.arange(self.first, self.first + self.n_steps) / float(GRID_HZ)

    def widened(self, margin_steps: int) -> TimeGrid:
        """The grid with `margin_steps` more on both sides."""
        return TimeGrid(self.first - margin_steps, self.n_steps + 2 * margin_steps)

    def between(self, from_s: float, until_s: float) -> slice:
        """Indices of the steps inside [from_s, until_s], which may be infinite; may be empty."""
        start = self._index(from_s)
        return slice(start, max(start, self._index(until_s)))

    def _index(self, time_s: float) -> int:
        if math.isinf(time_s):
            return 0 if time_s < 0 else self.n_steps
        # Rounded before `first` is taken off, so that every grid agrees which step is the first one inside.
        return min(max(math.ceil(time_s * GRID_HZ) - self.first, 0), self.n_steps)


def steps(seconds: float) -> int:
    """Whole steps in a length of time, rounded up."""
    return math.ceil(seconds * GRID_HZ)


def frame_positions(frames: FrameSpan, fps: Fraction, lead_s: float = 0.0) -> Track:
    """Where the middles of frames lie on the clock, in steps, (len(frames),); `lead_s` looks that much ahead."""
    middles = np.arange(frames.start_frame, frames.stop_frame, dtype=np.float64) + 0.5
    return middles * float(GRID_HZ / fps) + lead_s * GRID_HZ


def grid_around(positions: Track) -> TimeGrid:
    """The smallest grid that `sample` needs for these positions."""
    first = math.floor(positions[0])
    return TimeGrid(first, math.floor(positions[-1]) + 2 - first)


def sample(grid: TimeGrid, track: Track, positions: Track) -> Track:
    """The track at positions on the clock, linearly between steps; exactly constant where the track is."""
    below = np.floor(positions)
    index = below.astype(np.int64) - grid.first
    low = track[index]
    return low + (track[index + 1] - low) * (positions - below)


def ease(share: Track) -> Track:
    """0 below 0, 1 above 1, and a cubic without corners between (Hermite's 3 u^2 - 2 u^3)."""
    u = np.clip(share, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


@dataclass(frozen=True)
class Gesture:
    """A movement away and back: rises over [rise_from_s, rise_to_s], falls over [fall_from_s, fall_to_s].

    Where the fall starts before the rise has ended, the top is not reached. Infinite times are allowed.
    """

    rise_from_s: float
    rise_to_s: float
    fall_from_s: float
    fall_to_s: float

    def at(self, times_s: Track) -> Track:
        """Size of the gesture, 0 to 1, at times in seconds."""
        return _ramp(times_s, self.rise_from_s, self.rise_to_s) * (
            1.0 - _ramp(times_s, self.fall_from_s, self.fall_to_s)
        )

    def on(self, grid: TimeGrid, times_s: Track) -> tuple[slice, Track]:
        """Where on a grid the gesture is not zero, and its size there; `times_s` are the grid's."""
        where = grid.between(self.rise_from_s, self.fall_to_s)
        return where, self.at(times_s[where])


def _ramp(times_s: Track, from_s: float, to_s: float) -> Track:
    if math.isinf(from_s) or math.isinf(to_s):
        return np.full(times_s.shape, 1.0 if to_s < 0 else 0.0)
    return ease((times_s - from_s) / (to_s - from_s))


def smooth(track: Track, half_width_steps: int) -> Track:
    """A weighted mean over 2 * half_width_steps + 1 steps (Epanechnikov's parabola); that much shorter at both ends."""
    width = 2 * half_width_steps + 1
    n_steps = track.size - width + 1
    reach = half_width_steps + 1
    weights = [1.0 - (offset / reach) ** 2 for offset in range(-half_width_steps, half_width_steps + 1)]
    total = 0.0
    for weight in weights:
        total += weight
    # Around the middle value, so that a constant track stays what it is to the last bit.
    middle = track[half_width_steps : half_width_steps + n_steps]
    lean = np.zeros(n_steps)
    for offset, weight in enumerate(weights):
        lean += (track[offset : offset + n_steps] - middle) * (weight / total)
    return middle + lean


def limit_speed(track: Track, most_per_s: float, window_steps: int) -> Track:
    """The track with no change faster than `most_per_s`; `window_steps` shorter at both ends.

    Mean of the highest slow curve below and the lowest slow curve above the track (the Lipschitz envelopes, or
    Pasch-Hausdorff; R. T. Rockafellar and R. Wets, "Variational Analysis", 9.11), which shifts nothing in time. Exact
    where changes within the window are below most_per_s times its length.
    """
    n_steps = track.size - 2 * window_steps
    below = track[window_steps : window_steps + n_steps].copy()
    above = below.copy()
    for offset in range(1, window_steps + 1):
        allowed = offset * (most_per_s / GRID_HZ)
        for neighbour in (
            track[window_steps - offset : window_steps - offset + n_steps],
            track[window_steps + offset : window_steps + offset + n_steps],
        ):
            np.minimum(below, neighbour + allowed, out=below)
            np.maximum(above, neighbour - allowed, out=above)
    return (below + above) * 0.5
