"""How loud the speech is: integrated loudness, peak, and the level of its active parts.

Belongs here: measuring levels of a waveform.
Does not belong here: changing them (normalisation), deciding where there is speech (voice_activity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyloudnorm import Meter

from s2v_pipeline.media import Waveform

SILENCE_DB = -100.0
"""Level given to digital silence, in dBFS: just below the rounding noise of 16-bit audio (-98 dBFS)."""

SILENCE_LUFS = -70.0
"""Loudness given to silence: the absolute gate of ITU-R BS.1770-4, below which nothing counts."""

_GATING_BLOCK_S = 0.4  # ITU-R BS.1770-4


@dataclass(frozen=True)
class Loudness:
    """Integrated loudness (LUFS, ITU-R BS.1770-4) and sample peak (dBFS, not oversampled)."""

    integrated_lufs: float
    peak_dbfs: float


def rms_db(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB below full scale; a full-scale square wave is 0. `SILENCE_DB` for nothing or silence."""
    if not samples.size:
        return SILENCE_DB
    return power_to_db(float(np.mean(np.square(samples, dtype=np.float64))))


def power_to_db(power: float) -> float:
    """10 log10(power), never below `SILENCE_DB`."""
    return max(SILENCE_DB, 10.0 * float(np.log10(max(power, np.finfo(np.float64).tiny))))


def measure_loudness(waveform: Waveform) -> Loudness:
    """Loudness by pyloudnorm and the sample peak.

    Audio shorter than the standard's gating block of 0.4 s is measured as one block of its own length.
    """
    peak_dbfs = power_to_db(float(np.max(np.abs(waveform.samples))) ** 2)
    block_s = min(_GATING_BLOCK_S, float(waveform.duration_s))
    if peak_dbfs <= SILENCE_LUFS:
        return Loudness(SILENCE_LUFS, peak_dbfs)
    meter = Meter(waveform.rate_hz, block_size=block_s)
    lufs = float(meter.integrated_loudness(waveform.samples.astype(np.float64)))
    return Loudness(max(SILENCE_LUFS, lufs), peak_dbfs)


def speech_level_db(waveform: Waveform, segments: tuple[tuple[float, float], ...]) -> float:
    """Rms dBFS of the samples inside `segments` ((start_s, end_s) each), of all samples where there are none."""
    parts = [
        waveform.samples[round(start_s * waveform.rate_hz) : round(end_s * waveform.rate_hz)]
        for start_s, end_s in segments
    ]
    return rms_db(np.concatenate(parts) if parts else waveform.samples)
