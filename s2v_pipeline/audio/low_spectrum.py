"""The spectrum below the voice, over time: what rumble and hum are measured by.

Belongs here: power per frequency and window. Does not belong here: what it means (rumble, hum).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft

from s2v_pipeline.media import Waveform

TOP_HZ = 650.0
"""Ten harmonics of 60 Hz and their surroundings; higher ones of mains hum are rarely above the noise."""

_WINDOW_S = 4  # bins of 0.25 Hz: mains stays within 0.2 Hz of its name, and lines 50 Hz apart do not touch
_HOP_S = 1


@dataclass(frozen=True, eq=False)
class LowSpectrum:
    """Power of a sine that would show at a frequency, in each window.

    Attributes:
        frequencies_hz: (bins,), from 0, evenly spaced.
        powers: (windows, bins) float64; a sine of amplitude a in the middle of a bin has a^2 / 2.
        bin_power: what the bins of a stretch must be multiplied by for their sum to be the power of noise in it.
    """

    frequencies_hz: NDArray[np.float64]
    powers: NDArray[np.float64]
    bin_power: float

    def between(self, low_hz: float, high_hz: float) -> NDArray[np.bool_]:
        """Which bins lie in [low_hz, high_hz)."""
        return (self.frequencies_hz >= low_hz) & (self.frequencies_hz < high_hz)


def low_spectrum(waveform: Waveform) -> LowSpectrum:
    """Hann windows of 4 s, one each second; a shorter sound is one window of its own length.

    Memory: 5200 bytes a second of sound.
    """
    rate_hz, samples = waveform.rate_hz, waveform.samples
    length = min(_WINDOW_S * rate_hz, samples.size)
    hann = np.hanning(length + 1)[:-1] if length > 1 else np.ones(1)
    frequencies_hz: NDArray[np.float64] = np.asarray(np.fft.rfftfreq(length, 1 / rate_hz), np.float64)
    frequencies_hz = frequencies_hz[frequencies_hz <= TOP_HZ]
    scale = 2.0 / max(float(hann.sum()), 1e-12) ** 2
    rows = [
        scale * np.square(np.abs(rfft(samples[start : start + length] * hann)[: frequencies_hz.size]))
        for start in range(0, samples.size - length + 1, _HOP_S * rate_hz)
    ]
    powers: NDArray[np.float64] = np.array(rows, np.float64)
    powers[:, 0] /= 2.0  # 0 Hz has no mirror image
    # The window's noise bandwidth: so many bins carry the power of one sine.
    noise_bins = length * float(np.square(hann).sum()) / max(float(hann.sum()), 1e-12) ** 2
    return LowSpectrum(frequencies_hz, powers, 1.0 / noise_bins)
