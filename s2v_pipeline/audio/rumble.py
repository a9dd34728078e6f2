"""Rumble: what lies below the lowest voice. Traffic, air conditioning, steps, a constant offset.

Belongs here: measuring it and taking it out. Does not belong here: hum (hum), noise within speech (denoise).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.signal import butter, sosfiltfilt

from s2v_pipeline.audio.loudness import power_to_db
from s2v_pipeline.audio.low_spectrum import LowSpectrum
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks, apply_in_windows

_ORDER = 4  # run forwards and backwards: 48 dB an octave, 0.8 dB lost at 80 Hz of a cut at 60 Hz
_WINDOW_S = 10
_MARGIN_S = 1  # the filter rings for 1 / cut seconds; after 20 times that nothing is left at any cut of 20 Hz or more
_LEAST_CUT_HZ = 20.0


def rumble_level_db(spectrum: LowSpectrum, *, cut_hz: float) -> float:
    """Level of everything below `cut_hz`, dBFS, over the whole recording."""
    bins = spectrum.between(0.0, cut_hz)
    power = float(spectrum.powers[:, bins].sum(axis=1).mean()) * spectrum.bin_power
    return power_to_db(power)


def high_pass(blocks: SoundBlocks, rate_hz: int, *, cut_hz: float) -> Iterator[SoundBlock]:
    """The sound without what lies below `cut_hz` (-6 dB there): no delay, no phase shift, as many samples.

    A Butterworth filter run forwards and backwards (scipy.signal.sosfiltfilt), in windows.

    Raises:
        ValueError: a cut below 20 Hz or above a quarter of the rate.
    """
    if not _LEAST_CUT_HZ <= cut_hz <= rate_hz / 4:
        raise ValueError(f"a high-pass must lie between {_LEAST_CUT_HZ} Hz and a quarter of the rate; got {cut_hz}")
    sections = butter(_ORDER, cut_hz, "highpass", fs=rate_hz, output="sos")
    longest_pad = _MARGIN_S * rate_hz

    def filtered(samples: SoundBlock) -> SoundBlock:
        # The pad carries the sound on beyond its ends, so that it does not start with a step.
        pad = min(longest_pad, samples.shape[1] - 1)
        return np.asarray(sosfiltfilt(sections, samples, axis=1, padlen=pad), dtype=np.float32)

    yield from apply_in_windows(blocks, filtered, length=_WINDOW_S * rate_hz, margin=_MARGIN_S * rate_hz)
