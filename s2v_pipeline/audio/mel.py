"""Bands of hearing: the mel filterbank.

Belongs here: triangular filters on the mel scale.
Does not belong here: windows and their spectra, what is made of the bands (features).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ


def mel_bands(n_bands: int, window: int) -> NDArray[np.float64]:
    """Triangular filters of height 1 from 0 Hz to 8 kHz, (n_bands, window // 2 + 1): weights of a real FFT's powers.

    Their edges lie evenly on the mel scale 2595 log10(1 + f / 700) (O'Shaughnessy 1987), each in the middle of a
    neighbour.

    Raises:
        ValueError: so many bands that one has no frequency of the FFT in it.
    """
    top_mel = 2595.0 * np.log10(1.0 + SPEECH_RATE_HZ / 2 / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(0.0, top_mel, n_bands + 2) / 2595.0) - 1.0)
    frequencies_hz = np.fft.rfftfreq(window, 1 / SPEECH_RATE_HZ)[None, :]
    low, middle, high = (edges_hz[offset : offset + n_bands, None] for offset in range(3))
    rising = (frequencies_hz - low) / (middle - low)
    falling = (high - frequencies_hz) / (high - middle)
    bands: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    if not bands.any(axis=1).all():
        raise ValueError(f"{n_bands} bands are too many for an FFT of {window} samples")
    return bands
