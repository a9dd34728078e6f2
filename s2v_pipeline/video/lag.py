"""How much later one signal comes than another, how sure that is, and what chance would give.

Belongs here: correlation over lags, its peak between grid points, resampling by blocks, shifted controls.
Does not belong here: what the signals are (phone_signals, lip_sync, sound_lag).

A positive lag means that the measured signal is late. Signals lie on a grid of GRID_HZ, finer than any frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID_HZ = 200
MOST_LAG_S = 0.4
MARGIN_SAMPLES = round(MOST_LAG_S * GRID_HZ)
"""Samples that an expected signal holds before the first and after the last measured one."""

_BLOCK_S = 1.0  # a few syllables: blocks are nearly independent, and a short video still has several
_RESAMPLINGS = 200  # the 95 % range of the peak is then known to about a tenth of itself
_FEWEST_BLOCKS = 3
_CONTROL_FROM_S = 1.5  # speech so far away has nothing to do with what is seen
_MOST_CONTROLS = 60
_SLOWEST_S = 1.0  # autocorrelations of speech are gone after a syllable or two; their noise would add up
_LEAST_S = 2 * _CONTROL_FROM_S + 0.2  # so that there are several shifts


@dataclass(frozen=True)
class LagFit:
    """Correlation over lags.

    Attributes:
        lag_s: where the correlation is largest, between grid points.
        lag_95_s: half of the range that holds the middle 95 % of peaks when blocks of 1 s are drawn with replacement.
        correlation, correlation_at_zero: at the peak, and without a lag.
        control: mean of the correlations with the expected signal turned round by 1.5 s and more; must be near 0.
        chance_std: standard deviation of the correlation of two signals that have nothing to do with each other, and
            are as slow as these two (M. S. Bartlett, J. Royal Statistical Society 98(3), 1935).
        at_edge: the peak is at the end of the lags that were tried, so that it may be none.
    """

    lag_s: float
    lag_95_s: float
    correlation: float
    correlation_at_zero: float
    control: float
    chance_std: float
    at_edge: bool

    @property
    def beyond_chance(self) -> float:
        """Standard deviations of chance by which the peak is above 0."""
        return self.correlation / max(self.chance_std, 1e-6)


def fit_lag(measured: NDArray[np.float64], expected: NDArray[np.float64]) -> LagFit | None:
    """Find the lag of `measured` (n,) against `expected` (n + 2 MARGIN_SAMPLES,).

    NaN in `measured` is left out. None where less than 3.2 s are known, or nothing varies.

    Raises:
        ValueError: lengths that do not fit.
    """
    if len(expected) != len(measured) + 2 * MARGIN_SAMPLES:
        raise ValueError(f"{len(measured)} samples need {2 * MARGIN_SAMPLES} more expected; got {len(expected)}")
    known = np.isfinite(measured)
    block = round(_BLOCK_S * GRID_HZ)
    n_blocks = len(measured) // block
    if n_blocks < _FEWEST_BLOCKS or known.sum() < _LEAST_S * GRID_HZ:
        return None
    # The last block takes the rest, so that every sample counts.
    starts = np.arange(n_blocks) * block
    weight = known.astype(np.float64)
    x = np.where(known, measured, 0.0) - measured[known].mean()
    x *= weight
    lags = np.arange(-MARGIN_SAMPLES, MARGIN_SAMPLES + 1)
    sums = np.empty((len(lags), 6, n_blocks))
    centred = expected - expected.mean()
    for row, lag in enumerate(lags):
        y = centred[MARGIN_SAMPLES - lag : MARGIN_SAMPLES - lag + len(x)] * weight
        sums[row] = [np.add.reduceat(part, starts) for part in (weight, x, y, x * x, y * y, x * y)]
    whole = _correlations(sums.sum(axis=2).T)
    if not np.isfinite(whole).all():
        return None
    peak = _peak(whole)
    drawn = np.random.default_rng(0).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=_RESAMPLINGS)
    resampled = _correlations(np.einsum("lsb,rb->srl", sums, drawn))
    peaks = np.array([_peak(np.nan_to_num(row)) for row in resampled])
    unmoved = centred[MARGIN_SAMPLES : MARGIN_SAMPLES + len(x)][known]
    best = int(np.argmax(whole))
    return LagFit(
        lag_s=(peak - MARGIN_SAMPLES) / GRID_HZ,
        lag_95_s=float(np.subtract(*np.percentile(peaks, [97.5, 2.5]))) / 2 / GRID_HZ,
        correlation=float(whole[best]),
        correlation_at_zero=float(whole[MARGIN_SAMPLES]),
        control=float(_controls(x[known], unmoved).mean()),
        chance_std=_chance(x[known], unmoved),
        at_edge=best in (0, len(whole) - 1),
    )


def _correlations(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the sums (6, ...): n, x, y, xx, yy, xy. NaN where one of the signals does not vary."""
    n, x, y, xx, yy, xy = sums
    spread = (n * xx - x * x) * (n * yy - y * y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-12 * np.square(n * n), (n * xy - x * y) / np.sqrt(np.abs(spread)), np.nan)


def _peak(values: NDArray[np.float64]) -> float:
    """Index of the largest value, between samples by the parabola through it and its neighbours."""
    best = int(np.argmax(values))
    if best in (0, len(values) - 1):
        return float(best)
    before, at, after = values[best - 1 : best + 2]
    bend = before - 2 * at + after
    return best if bend == 0 else best + float(0.5 * (before - after) / bend)


def _controls(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations at shifts of what is known, laid end to end: pauses that are left out do not come into it."""
    first = round(_CONTROL_FROM_S * GRID_HZ)
    shifts = np.linspace(first, len(x) - first, min(_MOST_CONTROLS, 1 + (len(x) - 2 * first) // 10)).astype(int)
    return np.array([np.corrcoef(x, np.roll(y, shift))[0, 1] for shift in shifts])


def _chance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Bartlett's standard deviation: sqrt(sum of the products of both autocorrelations / n)."""
    reach = min(len(x) - 1, round(_SLOWEST_S * GRID_HZ))
    both = []
    for signal in (x - x.mean(), y - y.mean()):
        power = np.square(np.abs(np.fft.rfft(signal, 2 * len(signal))))
        correlation = np.fft.irfft(power)[: reach + 1]
        both.append(correlation / max(correlation[0], 1e-12))
    products = both[0] * both[1]
    return float(np.sqrt(max(products[0] + 2 * products[1:].sum(), 0.0) / len(x)))
