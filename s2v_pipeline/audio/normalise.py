"""Loudness and true peak of a whole sound in any number of channels, and the one gain that brings it to a target.

Belongs here: measuring in windows, the gain, applying it.
Does not belong here: which sound is delivered (tracks), levels of speech and noise (loudness, noise).

The gain is the same for every sample. A limiter would reach every target but would change the voice where it is
loudest; a gain changes nothing else, and where the peak does not let it reach the target the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pyloudnorm import Meter
from scipy.signal import resample_poly

from s2v_pipeline.audio.loudness import (
    GATING_BLOCK_S,
    GATING_STEPS_PER_S,
    SILENCE_DB,
    SILENCE_LUFS,
    gated_lufs,
    power_to_db,
)
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks, windows

TRUE_PEAK_CEILING_DBTP = -1.0
"""EBU R 128 (2020), recommendation h: the most that a programme's true peak may reach."""

_ROUNDING_DB = 0.001  # of samples to 24 bits and of what is measured: far below what is heard, far above either
_OVERSAMPLING = 4  # ITU-R BS.1770-4, annex 2, for 48 kHz
_WINDOW_S = 60
_MARGIN_S = (
    1  # more than a gating block, and long after the weighting filters (corner 38 Hz) have forgotten their start
)


@dataclass(frozen=True)
class SoundLevel:
    """Integrated loudness (LUFS, ITU-R BS.1770-4) and true peak (dBTP, four times oversampled)."""

    integrated_lufs: float
    true_peak_dbtp: float


@dataclass(frozen=True)
class Normalisation:
    """What brings a sound to its target.

    Attributes:
        gain_db: of every sample.
        target_lufs: what was asked for.
        limited: the true peak allows less gain than the target needs.
        silent: there is nothing to bring to a target; the gain is 0.
    """

    gain_db: float
    target_lufs: float
    limited: bool
    silent: bool


def measure_level(blocks: SoundBlocks, rate_hz: int) -> SoundLevel:
    """Level of a sound, in windows: memory does not grow with its length but for a number each 0.1 s.

    The loudness of each gating block is pyloudnorm's; the gates are applied to all of them together. A sound shorter
    than a gating block is measured as one block of its own length.

    Raises:
        ValueError: `rate_hz` is not positive.
    """
    if rate_hz <= 0:
        raise ValueError(f"a sample rate must be positive; got {rate_hz}")
    peak = 0.0
    loudness: list[float] = []
    for window in windows(blocks, length=_WINDOW_S * rate_hz, margin=_MARGIN_S * rate_hz):
        peak = max(peak, _true_peak(window.samples))
        block_s = min(GATING_BLOCK_S, window.samples.shape[1] / rate_hz)
        meter = Meter(rate_hz, block_size=block_s)
        meter.integrated_loudness(window.samples.T.astype(np.float64))
        first = round(window.before / rate_hz * GATING_STEPS_PER_S)
        last = math.ceil((window.before + window.length) / rate_hz * GATING_STEPS_PER_S - 1e-9)
        loudness += [float(block) for block in meter.blockwise_loudness[first:last]]
    return SoundLevel(gated_lufs(np.array(loudness)), power_to_db(peak**2))


def normalisation(level: SoundLevel, target_lufs: float) -> Normalisation:
    """The gain to a target, less where the true peak would pass `TRUE_PEAK_CEILING_DBTP`; it may be negative."""
    if level.integrated_lufs <= SILENCE_LUFS or level.true_peak_dbtp <= SILENCE_DB:
        return Normalisation(0.0, target_lufs, limited=False, silent=True)
    wanted_db = target_lufs - level.integrated_lufs
    allowed_db = TRUE_PEAK_CEILING_DBTP - _ROUNDING_DB - level.true_peak_dbtp
    return Normalisation(min(wanted_db, allowed_db), target_lufs, limited=allowed_db < wanted_db, silent=False)


def amplify(blocks: SoundBlocks, gain_db: float) -> Iterator[SoundBlock]:
    """Every sample times the gain."""
    factor = np.float32(10.0 ** (gain_db / 20.0))
    for block in blocks:
        yield block * factor


def _true_peak(samples: SoundBlock) -> float:
    oversampled = resample_poly(samples, _OVERSAMPLING, 1, axis=1)
    return max(float(np.abs(samples).max()), float(np.abs(oversampled).max()))
