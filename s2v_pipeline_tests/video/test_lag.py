"""Lags of made-up signals: found between samples, with a range that holds them; none in noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.video.lag import GRID_HZ, MARGIN_SAMPLES, fit_lag
from s2v_pipeline.video.lip_sync import is_peak


def slow_noise(n: int, seed: int, deviation_s: float = 0.06) -> NDArray[np.float64]:
    """As slow as lips."""
    return gaussian_filter1d(np.random.default_rng(seed).standard_normal(n), deviation_s * GRID_HZ)


@pytest.mark.parametrize("lag_s", [-0.2037, -0.0121, 0.0, 0.0484, 0.2])
def test_lags_are_found_between_samples(lag_s: float) -> None:
    n = 20 * GRID_HZ
    expected = slow_noise(n + 2 * MARGIN_SAMPLES, seed=1)
    times = np.arange(n) + MARGIN_SAMPLES - lag_s * GRID_HZ
    measured = 0.2 + 3 * np.interp(times, np.arange(len(expected)), expected)
    fit = fit_lag(measured + 0.3 * measured.std() * slow_noise(n, seed=2) / slow_noise(n, seed=2).std(), expected)
    assert fit is not None
    assert fit.lag_s == pytest.approx(lag_s, abs=0.006)
    assert fit.lag_95_s < 0.02
    assert fit.correlation > 0.9
    assert is_peak(fit)


def test_signals_without_relation_have_no_peak() -> None:
    n = 8 * GRID_HZ
    fits = [fit_lag(slow_noise(n, seed), slow_noise(n + 2 * MARGIN_SAMPLES, seed + 100)) for seed in range(12)]
    assert all(fit is not None for fit in fits)
    at_zero = [fit.correlation_at_zero for fit in fits if fit is not None]
    expected = np.mean([fit.chance_std for fit in fits if fit is not None])
    assert 0.5 < np.sqrt(np.mean(np.square(at_zero))) / expected < 2
    assert sum(is_peak(fit) for fit in fits if fit is not None) <= 1


def test_what_is_unknown_or_still_gives_none() -> None:
    n = 10 * GRID_HZ
    expected = slow_noise(n + 2 * MARGIN_SAMPLES, seed=1)
    known = expected[MARGIN_SAMPLES:-MARGIN_SAMPLES].copy()
    known[3 * GRID_HZ : 5 * GRID_HZ] = np.nan
    fit = fit_lag(known, expected)
    assert fit is not None
    assert fit.lag_s == pytest.approx(0.0, abs=0.001)
    known[2 * GRID_HZ :] = np.nan
    assert fit_lag(known, expected) is None
    assert fit_lag(np.full(n, 0.25), expected) is None
    with pytest.raises(ValueError, match="more expected"):
        fit_lag(known, expected[1:])
