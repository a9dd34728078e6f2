"""How loud the speech is: integrated loudness, peak, and the level of its active parts.

Belongs here: measuring levels of a waveform.
Does not belong here: changing them (normalisation), deciding where there is speech (voice_activity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyloudnorm import Meter

from s2v_pipeline.media import Waveform

SILENCE_DB = -100.0
"""Level given to digital silence, in dBFS: just below the rounding noise of 16-bit audio (-98 dBFS)."""

SILENCE_LUFS = -70.0
"""Loudness given to silence: the absolute gate of ITU-R BS.1770-4, below which nothing counts."""

GATING_BLOCK_S = 0.4  # ITU-R BS.1770-4
GATING_STEPS_PER_S = 10  # the standard's blocks overlap by 75 %
_RELATIVE_GATE_LU = -10.0  # ITU-R BS.1770-4
_POWER_OFFSET_DB = -0.691  # ITU-R BS.1770-4, equation 4
_PIECE_S = 60  # measured at once: what pyloudnorm works with takes 30 bytes a sample
_RUN_IN_S = 1  # a piece's filters, whose slowest has 38 Hz, have forgotten by then that they began in its middle
_BLOCK = 1 << 18  # samples at a time: 2 MB as float64


@dataclass(frozen=True)
class Loudness:
    """Integrated loudness (LUFS, ITU-R BS.1770-4) and sample peak (dBFS, not oversampled)."""

    integrated_lufs: float
    peak_dbfs: float


def rms_db(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB below full scale; a full-scale square wave is 0. `SILENCE_DB` for nothing or silence."""
    return power_to_db(_square_sum(samples) / samples.size) if samples.size else SILENCE_DB


def _square_sum(samples: NDArray[np.float32]) -> float:
    blocks = (samples[first : first + _BLOCK] for first in range(0, samples.size, _BLOCK))
    return math.fsum(float(np.square(block, dtype=np.float64).sum()) for block in blocks)


def power_to_db(power: float) -> float:
    """10 log10(power), never below `SILENCE_DB`."""
    return max(SILENCE_DB, 10.0 * float(np.log10(max(power, np.finfo(np.float64).tiny))))


def measure_loudness(waveform: Waveform) -> Loudness:
    """Loudness by pyloudnorm and the sample peak.

    Audio shorter than the standard's gating block of 0.4 s is measured as one block of its own length.
    """
    peak_dbfs = power_to_db(max(float(waveform.samples.max()), -float(waveform.samples.min())) ** 2)
    block_s = min(GATING_BLOCK_S, float(waveform.duration_s))
    if peak_dbfs <= SILENCE_LUFS:
        return Loudness(SILENCE_LUFS, peak_dbfs)
    meter = Meter(waveform.rate_hz, block_size=block_s)
    if waveform.duration_s < 2 * _PIECE_S:
        lufs = float(meter.integrated_loudness(waveform.samples.astype(np.float64)))
    else:
        lufs = gated_lufs(_block_loudness(waveform, meter))
    return Loudness(max(SILENCE_LUFS, lufs), peak_dbfs)


def _block_loudness(waveform: Waveform, meter: Meter) -> NDArray[np.float64]:
    """Loudness of each gating block of a long sound, piece by piece; those of the whole, to the last digits."""
    rate_hz, whole_s = waveform.rate_hz, int(waveform.duration_s)
    found: list[float] = []
    for start_s in range(0, whole_s - _PIECE_S + 1, _PIECE_S):
        is_last = start_s + 2 * _PIECE_S > whole_s
        first = max(0, start_s - _RUN_IN_S) * rate_hz
        # Blocks that begin in this piece end in the next one.
        stop = waveform.samples.size if is_last else (start_s + _PIECE_S + 1) * rate_hz
        meter.integrated_loudness(waveform.samples[first:stop].astype(np.float64))
        n_run_in = min(start_s, _RUN_IN_S) * GATING_STEPS_PER_S
        n_kept = None if is_last else n_run_in + _PIECE_S * GATING_STEPS_PER_S
        found += meter.blockwise_loudness[n_run_in:n_kept]
    return np.array(found)


def gated_lufs(blocks_lufs: NDArray[np.float64]) -> float:
    """Integrated loudness of gating blocks (n,) by ITU-R BS.1770-4, equations 5 to 7; `SILENCE_LUFS` at least."""
    power = 10.0 ** ((blocks_lufs - _POWER_OFFSET_DB) / 10.0)
    is_heard = blocks_lufs >= SILENCE_LUFS
    if not is_heard.any():
        return SILENCE_LUFS
    gate_lufs = _POWER_OFFSET_DB + power_to_db(float(power[is_heard].mean())) + _RELATIVE_GATE_LU
    kept = power[is_heard & (blocks_lufs > gate_lufs)]
    return max(SILENCE_LUFS, _POWER_OFFSET_DB + power_to_db(float(kept.mean())))


def speech_level_db(waveform: Waveform, segments: tuple[tuple[float, float], ...]) -> float:
    """Rms dBFS of the samples inside `segments` ((start_s, end_s) each), of all samples where there are none."""
    spans = [(round(start_s * waveform.rate_hz), round(end_s * waveform.rate_hz)) for start_s, end_s in segments]
    parts = [waveform.samples[first:stop] for first, stop in spans] or [waveform.samples]
    n_samples = sum(part.size for part in parts)
    return power_to_db(math.fsum(_square_sum(part) for part in parts) / n_samples) if n_samples else SILENCE_DB
