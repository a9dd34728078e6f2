"""Random numbers that belong to a place, not to an order: the same for a seed, a channel and an index, always.

Belongs here: hashing to uniform numbers, and smooth noise on the clock.
Does not belong here: what wanders (head, eyes).

No generator with a state is used: chunk 7 must find the number that chunk 6 saw without having run it.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
# The increment and the finaliser of SplitMix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014.
_INCREMENT = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MANTISSA_BITS = 53  # of a float64: the upper bits of a hash become a number in [0, 1) exactly


class Channel(enum.IntEnum):
    """One independent stream each; numbers are part of what a seed means, so they never change."""

    BLINK_SKIP = 1
    BLINK_TIME = 2
    BLINK_DOUBLE = 3
    BLINK_LENGTH = 4
    GAZE_TIME = 5
    GAZE_AWAY = 6
    GAZE_X = 7
    GAZE_Y = 8
    PITCH_SLOW = 9
    PITCH_FAST = 10
    YAW_SLOW = 11
    YAW_FAST = 12
    ROLL_SLOW = 13
    ROLL_FAST = 14
    NOD_CHOICE = 15
    NOD_SIZE = 16
    NOD_YAW = 17
    NOD_ROLL = 18
    BREATH_PHASE = 19
    BREATH_DEPTH = 20
    BROW_DRIFT = 21


def uniform(seed: int, channel: Channel, index: int) -> float:
    """A number in [0, 1) for an index of any sign."""
    state = _mix((_mix(seed & _MASK) + channel * _INCREMENT) & _MASK)
    return (_mix((state + index * _INCREMENT) & _MASK) >> (64 - _MANTISSA_BITS)) / float(1 << _MANTISSA_BITS)


def uniforms(seed: int, channel: Channel, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """`uniform` of many indices at once."""
    state = _mix((_mix(seed & _MASK) + channel * _INCREMENT) & _MASK)
    # Unsigned arithmetic wraps at 64 bits, as the mask does above.
    mixed = np.uint64(state) + indices.astype(np.uint64) * np.uint64(_INCREMENT)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX_1)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX_2)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(64 - _MANTISSA_BITS)).astype(np.float64) / float(1 << _MANTISSA_BITS)


def wander(seed: int, channel: Channel, times_s: NDArray[np.float64], period_s: float) -> NDArray[np.float64]:
    """Smooth noise in (-1, 1), mostly within +-0.7: a uniform cubic B-spline over one random value a period.

    Two derivatives are continuous and nothing comes to rest at the knots, as it does with eased value noise.
    """
    position = times_s / period_s
    knot = np.floor(position)
    u = position - knot
    v = 1.0 - u
    index = knot.astype(np.int64)
    u2, v2 = u * u, v * v
    weights = (
        v2 * v / 6.0,
        (4.0 - 6.0 * u2 + 3.0 * u2 * u) / 6.0,
        (4.0 - 6.0 * v2 + 3.0 * v2 * v) / 6.0,
        u2 * u / 6.0,
    )
    total = np.zeros(times_s.shape)
    for offset, weight in enumerate(weights):
        total += weight * (2.0 * uniforms(seed, channel, index + (offset - 1)) - 1.0)
    return total


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * _MIX_1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & _MASK
    return value ^ (value >> 31)
