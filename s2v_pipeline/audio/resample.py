"""The same sound at another rate, without moving a single sample.

Belongs here: the resampling of a whole waveform, and of one that comes in blocks.
Does not belong here: decoding, mixing channels (decode).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from s2v_pipeline.media import Waveform

_STEP_S = 10  # of sound that is converted at once: a few MB of work arrays at any rate
_HALF_LENGTH = 10  # resample_poly's default filter reaches this many samples of the slower rate to either side


def resample(waveform: Waveform, rate_hz: int) -> Waveform:
    """The same sound at another rate: sample k is the sound at k / rate_hz seconds; `resampled_size` samples.

    Raises:
        ValueError: `rate_hz` is not positive.
    """
    if rate_hz == waveform.rate_hz:
        return waveform
    return Waveform(np.concatenate(list(resampled([waveform.samples], waveform.rate_hz, rate_hz))), rate_hz)


def resampled_size(n_samples: int, from_hz: int, to_hz: int) -> int:
    """How many samples `n_samples` become: the nearest whole number, at least one."""
    return max(1, round(Fraction(n_samples * to_hz, from_hz)))


def resampled(blocks: Iterable[NDArray[np.float32]], from_hz: int, to_hz: int) -> Iterator[NDArray[np.float32]]:
    """(n,) float32 blocks of one sound, at another rate; memory does not grow with the sound's length.

    A symmetric polyphase FIR filter (scipy.signal.resample_poly, Kaiser window), whose delay is removed: what happens
    at t stays at t. The result is that of the whole sound at once, bit for bit: every piece is converted together with
    all samples that the filter reaches.

    Raises:
        ValueError: `to_hz` is not positive.
    """
    if to_hz <= 0:
        raise ValueError(f"a sample rate must be positive; got {to_hz}")
    if from_hz == to_hz:
        yield from blocks
        return
    divisor = gcd(to_hz, from_hz)
    up, down = to_hz // divisor, from_hz // divisor
    # Pieces begin at whole multiples of `down`, where a sample of the source and one of the result coincide.
    reach = down * -(-(_HALF_LENGTH * max(up, down) // up + 1) // down)
    step = down * max(1, _STEP_S * from_hz // down)
    waiting = np.zeros(0, np.float32)  # from `before` samples ahead of the next one that is due
    before = n_in = n_out = 0
    for block in blocks:
        n_in += block.size
        waiting = np.concatenate([waiting, block])
        while waiting.size >= before + step + reach:
            converted = resample_poly(waiting[: before + step + reach], up, down)
            made = converted[before * up // down : (before + step) * up // down]
            n_out += made.size
            yield np.ascontiguousarray(made, np.float32)
            kept_from = max(0, before + step - reach)
            before = before + step - kept_from
            waiting = waiting[kept_from:]
    n_left = resampled_size(n_in, from_hz, to_hz) - n_out if n_in else 0
    if n_left > 0:
        # resample_poly gives the length rounded up, which is never shorter than the length rounded to nearest.
        rest = resample_poly(waiting, up, down)[before * up // down :][:n_left]
        yield np.ascontiguousarray(rest, np.float32)
