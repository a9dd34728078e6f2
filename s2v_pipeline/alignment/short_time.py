"""Sound on a grid of 2 ms, for boundaries that are finer than an aligner's frames.

Belongs here: the grid, level and mel spectrum in dB around single points of it.
Does not belong here: what they say about phones (speech_edges, boundaries), features of the video's frames (audio).

Everything is local: what is computed for a stretch depends on no sound far from it, so that neither memory nor the
result depends on the speech's length.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.media import Waveform

STEP_S = 0.002
"""Grid of all points: a fifth of PocketSphinx's frames, and a fourth of a pitch period of a low voice."""

RANGE_DB = 60.0
"""What lies further below the loudest point of its stretch is silence: reading rooms and codecs differ below that."""

_STEP = round(STEP_S * SPEECH_RATE_HZ)
# Windows of 8 to 25 ms place boundaries alike within 0.1 ms in the mean; 12 ms hold a pitch period of 83 Hz.
_SPECTRUM_SAMPLES = 192
_LEVEL_SAMPLES = 160
_FFT = 512
_N_BANDS = 26  # 13 to 40 bands place boundaries alike within 0.1 ms
_BAND_EDGES_HZ = (80.0, 7600.0)
_TINY_POWER = 1e-12


def point_at(time_s: float) -> int:
    """The grid point nearest to a time."""
    return round(time_s / STEP_S)


def levels_db(waveform: Waveform, first: int, stop: int) -> NDArray[np.float64]:
    """Mean power of 10 ms around the grid points [first, stop), in dB, clipped to `RANGE_DB` below the loudest."""
    power = np.mean(np.square(_windows(waveform, first, stop, _LEVEL_SAMPLES)), axis=1)
    return _clipped(10 * np.log10(power + _TINY_POWER))


def spectra_db(waveform: Waveform, first: int, stop: int) -> NDArray[np.float64]:
    """Mel bands of 12 ms around the grid points [first, stop), (points, 26), in dB, clipped to `RANGE_DB`."""
    windows = _windows(waveform, first, stop, _SPECTRUM_SAMPLES) * np.hanning(_SPECTRUM_SAMPLES)
    power = np.square(np.abs(np.fft.rfft(windows, _FFT)))
    return _clipped(10 * np.log10(power @ _mel_bands().T + _TINY_POWER))


def _windows(waveform: Waveform, first: int, stop: int, length: int) -> NDArray[np.float64]:
    """(stop - first, length) samples around the grid points; beyond the speech there is silence."""
    begin = first * _STEP - length // 2
    end = begin + (stop - 1 - first) * _STEP + length
    inside = waveform.samples[max(0, begin) : max(0, end)].astype(np.float64)
    samples = np.pad(inside, (max(0, -begin), end - max(0, begin) - inside.size))
    windows: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(samples, length)[::_STEP]
    return windows


def _clipped(values_db: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.maximum(values_db, values_db.max() - RANGE_DB)
    return clipped


@lru_cache(maxsize=1)
def _mel_bands() -> NDArray[np.float64]:
    """(26, 257) triangles, evenly spaced in mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987)."""
    edges, bins = (
        2595 * np.log10(1 + np.asarray(hz) / 700)
        for hz in (np.array(_BAND_EDGES_HZ), np.fft.rfftfreq(_FFT, 1 / SPEECH_RATE_HZ))
    )
    corners = np.linspace(edges[0], edges[1], _N_BANDS + 2)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    bands: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    bands.flags.writeable = False
    return bands
