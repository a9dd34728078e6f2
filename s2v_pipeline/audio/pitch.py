"""Fundamental frequency by YIN.

Belongs here: one pitch and one measure of periodicity per analysis instant.
Does not belong here: smoothing over time, intonation, anything about words.

Source: A. de Cheveigné and H. Kawahara, "YIN, a fundamental frequency estimator for speech and music",
J. Acoust. Soc. Am. 111(4), 2002; steps 1 to 5 (difference function by FFT, cumulative mean normalisation, absolute
threshold, parabolic interpolation). Written from the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from s2v_pipeline.audio.instants import windows_at
from s2v_pipeline.media import Waveform

MIN_F0_HZ = 60.0
"""Below the lowest adult voices in running speech; creak below it counts as unvoiced."""

MAX_F0_HZ = 500.0
"""Above children's and excited women's speech; singing may go higher."""

_SURE_THRESHOLD = 0.15  # the first dip below this is the period (the paper's step 4, with 0.1)
_VOICED_THRESHOLD = 0.4  # else the deepest dip, if at least this deep: quickly changing speech; noise stays above 0.5
_WINDOW_S = 0.025  # the paper's integration window; with the longest lag it holds two periods of MIN_F0_HZ
_BLOCK = 512  # instants at a time: about 10 MB of work arrays, whatever the length of the audio
_MIN_RMS = 10.0 ** (-60.0 / 20.0)  # quieter than this, periodicity is hum and rounding noise
_FLAT = 1e-12  # keeps digital silence from dividing by zero


def estimate_f0(waveform: Waveform, centre_samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """F0 in Hz around each sample index, (n,) float64; 0 where the sound is not periodic or too quiet.

    Outside the waveform there is silence. Memory does not grow with the length of the audio beyond the result.
    """
    rate_hz = waveform.rate_hz
    shortest_lag = int(rate_hz / MAX_F0_HZ)
    longest_lag = int(np.ceil(rate_hz / MIN_F0_HZ)) + 1
    window = round(_WINDOW_S * rate_hz)
    reach = window + longest_lag
    f0_hz = np.zeros(centre_samples.size, np.float64)
    for which, frames in windows_at(waveform.samples, centre_samples - reach // 2, reach, block=_BLOCK):
        f0_hz[which] = _yin(frames, window, shortest_lag, longest_lag, rate_hz)
    return f0_hz


def _yin(
    frames: NDArray[np.float64], window: int, shortest_lag: int, longest_lag: int, rate_hz: int
) -> NDArray[np.float64]:
    frames = frames - frames.mean(axis=1, keepdims=True)
    normalised = _normalised_difference(frames, window, longest_lag)
    candidates = normalised[:, shortest_lag:longest_lag]
    # A local minimum under the threshold; the first one is the period, later ones are its multiples.
    is_minimum = (candidates <= normalised[:, shortest_lag - 1 : longest_lag - 1]) & (
        candidates < normalised[:, shortest_lag + 1 : longest_lag + 1]
    )
    sure = is_minimum & (candidates < _SURE_THRESHOLD)
    depths = np.where(is_minimum, candidates, np.inf)
    choice = np.where(sure.any(axis=1), np.argmax(sure, axis=1), np.argmin(depths, axis=1))
    voiced = depths[np.arange(choice.size), choice] < _VOICED_THRESHOLD
    loud = np.sqrt(np.mean(np.square(frames), axis=1)) >= _MIN_RMS
    return np.where(voiced & loud, rate_hz / _refined(normalised, shortest_lag + choice), 0.0)


def _normalised_difference(frames: NDArray[np.float64], window: int, longest_lag: int) -> NDArray[np.float64]:
    """d'(lag) of the paper's equation 8 for lags 0..longest_lag; (frames, longest_lag + 1)."""
    size = next_fast_len(frames.shape[1] + window, real=True)
    correlation: NDArray[np.float64] = irfft(rfft(frames, size) * np.conj(rfft(frames[:, :window], size)), size)[
        :, : longest_lag + 1
    ]
    energy = np.pad(np.cumsum(np.square(frames), axis=1), ((0, 0), (1, 0)))
    shifted_energy = energy[:, window : window + longest_lag + 1] - energy[:, : longest_lag + 1]
    difference = np.maximum(0.0, shifted_energy[:, :1] + shifted_energy - 2.0 * correlation)
    running_sum = np.cumsum(difference[:, 1:], axis=1)
    normalised: NDArray[np.float64] = np.ones_like(difference)
    normalised[:, 1:] = difference[:, 1:] * np.arange(1, longest_lag + 1) / np.maximum(running_sum, _FLAT)
    return normalised


def _refined(normalised: NDArray[np.float64], lags: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lags at the vertex of the parabola through each minimum and its neighbours."""
    rows = np.arange(lags.size)
    before, here, after = (normalised[rows, lags + step] for step in (-1, 0, 1))
    curvature = before - 2.0 * here + after
    shift = np.where(curvature > _FLAT, 0.5 * (before - after) / np.maximum(curvature, _FLAT), 0.0)
    refined: NDArray[np.float64] = lags + np.clip(shift, -0.5, 0.5)
    return refined
