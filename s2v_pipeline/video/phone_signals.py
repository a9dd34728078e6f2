"""A phoneme table as signals and spans that a measurement can lay beside the picture.

Belongs here: checks of the table, openness and loudness over time, pauses, frames that a phone may be seen in.
Does not belong here: the face (face_track), comparisons (lip_sync, sound_lag), how tables are made (alignment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import BILABIALS, PHONE_OPENNESS, SILENCE, VOWELS
from s2v_pipeline.video.lag import GRID_HZ, MARGIN_SAMPLES

SETTLING_S = 0.4  # lips come to rest after speech, and prepare before it
NEAR_SPEECH_S = 0.3  # its first opening and last closing; more of a pause says only that people close their mouths
ARTICULATION_S = 0.06  # standard deviation: jaws and lips pass from phone to phone in 100 to 200 ms, in no step

_SONORANTS = frozenset({"M", "N", "NG", "L", "R", "W", "Y"})
_STRIDENTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
# Level over the room's, vowels 1. Ours; the order of levels is P. Ladefoged and K. Johnson's sonority scale.
_LOUDNESS: Mapping[str, float] = {
    phone: 1.0 if phone in VOWELS else 0.75 if phone in _SONORANTS else 0.55 if phone in _STRIDENTS else 0.35
    for phone in PHONE_OPENNESS
} | {SILENCE: 0.0}


@dataclass(frozen=True)
class Phone:
    """One row of the table: `name` in ARPABET or SIL, and its span."""

    name: str
    start_s: float
    end_s: float


def read_phones(table: pd.DataFrame) -> tuple[Phone, ...]:
    """Rows of a table with the columns phone, start_s, end_s, sorted by start.

    Raises:
        ValueError: a missing column, an unknown phone, or a span that is not one.
    """
    missing = {"phone", "start_s", "end_s"} - set(table.columns)
    if missing:
        raise ValueError(f"a phoneme table needs the columns phone, start_s, end_s; missing {sorted(missing)}")
    unknown = set(table["phone"]) - set(PHONE_OPENNESS)
    if unknown:
        raise ValueError(f"phones must be ARPABET without stress, or SIL; got {sorted(unknown)}")
    rows = zip(table["phone"], table["start_s"].astype(float), table["end_s"].astype(float), strict=True)
    phones = tuple(sorted((Phone(*row) for row in rows), key=lambda phone: phone.start_s))
    if any(not 0 <= phone.start_s < phone.end_s for phone in phones):
        raise ValueError("every phone must start at 0 or later and end after its start")
    return phones


def spoken(phones: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """The phones without the silences."""
    return tuple(phone for phone in phones if phone.name != SILENCE)


def grid_times_s(duration_s: float) -> NDArray[np.float64]:
    """Middles of the grid's samples from 0 to the duration."""
    return (np.arange(int(duration_s * GRID_HZ)) + 0.5) / GRID_HZ


def near_speech(phones: tuple[Phone, ...], times_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which times lie in speech or within NEAR_SPEECH_S of it."""
    near = np.zeros(len(times_s), bool)
    for phone in spoken(phones):
        near |= (times_s >= phone.start_s - NEAR_SPEECH_S) & (times_s < phone.end_s + NEAR_SPEECH_S)
    return near


def expected_opening(phones: tuple[Phone, ...], duration_s: float) -> NDArray[np.float64]:
    """Openness of the phones on the grid with its margins, smoothed as lips are."""
    return _smooth(_steps(phones, duration_s, PHONE_OPENNESS), ARTICULATION_S)


def expected_loudness(phones: tuple[Phone, ...], duration_s: float) -> NDArray[np.float64]:
    """Loudness of the phones on the grid with its margins, 0 (silence) to 1 (vowels)."""
    return _smooth(_steps(phones, duration_s, _LOUDNESS), 0.02)


def bilabials(phones: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """P, B and M; two in a row that touch are one closure, as in "stop moving"."""
    joined: list[Phone] = []
    for phone in phones:
        if phone.name in BILABIALS and joined and joined[-1].name in BILABIALS and joined[-1].end_s == phone.start_s:
            joined[-1] = Phone(phone.name, joined[-1].start_s, phone.end_s)
        else:
            joined.append(phone)
    return tuple(phone for phone in joined if phone.name in BILABIALS)


def pauses(phones: tuple[Phone, ...], middles_s: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Indices of the frames that lie well inside each silence, at the ends of the video without settling there.

    Two silences that touch are one.
    """
    is_still = np.ones(len(middles_s), bool)
    for phone in spoken(phones):
        is_still &= (middles_s <= phone.start_s - SETTLING_S) | (middles_s >= phone.end_s + SETTLING_S)
    still = np.flatnonzero(is_still)
    return [part for part in np.split(still, np.flatnonzero(np.diff(still) > 1) + 1) if part.size]


def _steps(phones: tuple[Phone, ...], duration_s: float, levels: Mapping[str, float]) -> NDArray[np.float64]:
    n = int(duration_s * GRID_HZ) + 2 * MARGIN_SAMPLES
    values = np.zeros(n)
    for phone in phones:
        first, last = (round(time_s * GRID_HZ) + MARGIN_SAMPLES for time_s in (phone.start_s, phone.end_s))
        values[max(0, first) : max(0, last)] = levels[phone.name]
    return values


def _smooth(values: NDArray[np.float64], deviation_s: float) -> NDArray[np.float64]:
    reach = round(3 * deviation_s * GRID_HZ)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / (deviation_s * GRID_HZ)))
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
