"""Mains hum: steady lines at 50 or 60 Hz and their multiples.

Belongs here: finding lines by measurement and taking them out. Does not belong here: rumble, noise, deciding for a
recording (clean).

A voice's partials move, hum does not: a line counts where it stands out in most windows of 4 s, also in the quiet ones.
It is taken out by subtracting the sine that fits the sound around each moment, which keeps samples where they are and
leaves no ringing at the recording's ends, as a recursive notch does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.loudness import power_to_db
from s2v_pipeline.audio.low_spectrum import TOP_HZ, LowSpectrum
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks, apply_in_windows

MAINS_HZ = (50.0, 60.0)

MIN_DURATION_S = 2.0
"""Below it a line cannot be told from a partial of a voice that holds its pitch."""

STANDS_OUT_DB = 12.0
"""Above the median of its surroundings. Of 0.25 Hz bins of noise, the quartile over windows strays by 3 dB or so."""

COMPANION_DB = 10.0
"""The same for its other multiples once a line is known: where they must lie is then known to a bin. Lower still,
partials of a voice are taken for lines."""

_QUIET_PERCENTILE = 25  # over windows: a line that is there all the time is there in the quiet ones, too
_MAINS_TOLERANCE_HZ = 0.5  # grids keep within 0.2 Hz; cheap recorders' clocks add a few 0.01 Hz
_SURROUNDINGS_HZ = (2.0, 8.0)  # beyond the window's main lobe of 1 Hz, well before the next line
_FIRST_MULTIPLES = 4  # hum without any of these is not known; transformers hum at twice the mains frequency
_BIN_TOLERANCE_HZ = 0.26  # one bin: the mains frequency is known to a fraction of it
_LEAST_LINE_DB = -90.0  # a line below it is under 16-bit sound's rounding noise
_FIT_S = 2.0  # length of sound that a sine is fitted to: +-0.5 Hz, narrower than any partial of a voice
_HOP_S = 0.25
_WINDOW_S = 10


@dataclass(frozen=True)
class HumLine:
    """One steady line: its frequency in Hz and its level in dBFS."""

    frequency_hz: float
    level_db: float


def find_hum(spectrum: LowSpectrum, *, duration_s: float) -> tuple[HumLine, ...]:
    """The lines of mains hum, lowest first; empty where there is none, or less than `MIN_DURATION_S` of sound.

    The mains frequency is the one whose line stands out most, among its first four multiples.
    """
    if duration_s < MIN_DURATION_S:
        return ()
    quiet = np.percentile(spectrum.powers, _QUIET_PERCENTILE, axis=0)
    known = [(multiple * mains_hz, multiple) for mains_hz in MAINS_HZ for multiple in range(1, _FIRST_MULTIPLES + 1)]
    first = [(_line(spectrum, quiet, hz, _MAINS_TOLERANCE_HZ * multiple), multiple) for hz, multiple in known]
    (strongest, above_db), multiple = max(first, key=lambda found: found[0][1])
    if above_db < STANDS_OUT_DB:
        return ()
    mains_hz = strongest.frequency_hz / multiple
    lines = [
        _line(spectrum, quiet, number * mains_hz, _BIN_TOLERANCE_HZ)
        for number in range(1, int((TOP_HZ - _SURROUNDINGS_HZ[1]) / mains_hz))
    ]
    return tuple(line for line, above_db in lines if above_db >= COMPANION_DB)


def _line(
    spectrum: LowSpectrum, quiet: NDArray[np.float64], centre_hz: float, reach_hz: float
) -> tuple[HumLine, float]:
    """The strongest bin near a frequency, and by how many dB it stands out (0 where it is too weak to matter)."""
    near = np.flatnonzero(np.abs(spectrum.frequencies_hz - centre_hz) <= reach_hz)
    line = int(near[np.argmax(quiet[near])])
    distance_hz = np.abs(spectrum.frequencies_hz - spectrum.frequencies_hz[line])
    around = quiet[(distance_hz >= _SURROUNDINGS_HZ[0]) & (distance_hz < _SURROUNDINGS_HZ[1])]
    level_db = power_to_db(float(quiet[line]))
    above_db = level_db - power_to_db(float(np.median(around))) if level_db >= _LEAST_LINE_DB else 0.0
    return HumLine(_vertex_hz(spectrum, quiet, line), level_db), above_db


def _vertex_hz(spectrum: LowSpectrum, powers: NDArray[np.float64], line: int) -> float:
    """The frequency between bins: the vertex of the parabola through a peak's logarithm and its neighbours'."""
    before, here, after = np.log(np.maximum(powers[line - 1 : line + 2], np.finfo(np.float64).tiny))
    curvature = before - 2 * here + after
    shift = 0.0 if curvature >= 0 else float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
    return float(spectrum.frequencies_hz[line] + shift * spectrum.frequencies_hz[1])


def remove_hum(blocks: SoundBlocks, rate_hz: int, lines: tuple[HumLine, ...]) -> Iterator[SoundBlock]:
    """The sound less its lines: no delay, as many samples.

    Every 0.25 s the sine that fits the 2 s around is found for each line (a Hann-weighted mean of the sound turned back
    to 0 Hz); between them amplitude and phase move evenly.
    """
    hop = round(_HOP_S * rate_hz)
    margin = round(_FIT_S / _HOP_S) * hop
    length = round(_WINDOW_S / _HOP_S) * hop
    reach = round(_FIT_S * rate_hz / 2)

    def without_lines(samples: SoundBlock) -> SoundBlock:
        time_s = np.arange(samples.shape[1]) / rate_hz
        left = samples.astype(np.float64)
        for line in lines:
            turning = np.exp(-2j * np.pi * line.frequency_hz * time_s)
            for channel in left:
                fitted = _slow_part(channel * turning, hop, reach)
                channel -= 2.0 * np.real(fitted * np.conj(turning))
        return left.astype(np.float32)

    yield from apply_in_windows(blocks, without_lines, length=length, margin=margin)


def _slow_part(turned: NDArray[np.complex128], hop: int, reach: int) -> NDArray[np.complex128]:
    """Hann-weighted mean around every `hop`-th sample, over as much as there is, and straight lines between."""
    hann = np.hanning(2 * reach + 1)
    centres = np.arange(0, turned.size + hop, hop)
    means = np.empty(centres.size, np.complex128)
    for index, centre in enumerate(centres.tolist()):
        start, stop = max(0, centre - reach), min(turned.size, centre + reach + 1)
        weights = hann[start - centre + reach : stop - centre + reach]
        means[index] = turned[start:stop] @ weights / weights.sum()
    at = np.arange(turned.size)
    slow: NDArray[np.complex128] = np.interp(at, centres, means.real) + 1j * np.interp(at, centres, means.imag)
    return slow
