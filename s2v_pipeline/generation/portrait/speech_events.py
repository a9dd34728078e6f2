"""What the speech does, as far as a moving face is concerned: phones, pauses, accents, loudness.

Belongs here: reading a request's two tables into checked values; finding pauses and accented syllables.
Does not belong here: what the face does about them (mouth, eyes, head).

Everything is found from a bounded neighbourhood, so that every chunk whose context holds it finds the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.portrait.timegrid import Track
from s2v_pipeline.generation.portrait.visemes import PHONES, VOWEL_PHONES
from s2v_pipeline.timebase import FrameSpan

SILENCE = "SIL"

SMALLEST_PAUSE_S = 0.02
"""A gap between two phones below this is rounding in the table, not a pause."""

FLOOR_DB = -100.0
"""Digital silence; anything lower or not a number becomes this."""

NUCLEUS_OFFSETS_S = (-0.04, 0.0, 0.04)
"""Where in a vowel its loudness and pitch are read, from its middle."""

ACCENT_SPACING_S = 0.4
"""Of two vowels closer than this only the more prominent one is an accent: stressed syllables of English come two to
three a second (R. M. Dauer, "Stress-timing and syllable-timing reanalyzed", J. Phonetics 11, 1983)."""

LEAST_PROMINENCE = 0.25
"""Below it no syllable is an accent; strength scales what the face does, so weak accents do little."""

# A syllable is heard as prominent by pitch, length and loudness (D. B. Fry, "Experiments in the perception of stress",
# Language and Speech 1, 1958; J. Terken and D. Hermes, "The perception of prosodic prominence", 2000). Scales are ours.
_LOUD_FULL_DB = 8.0  # above the speech's own level
_PITCH_FULL = 0.25  # four semitones above the speaker's median
_LENGTH_USUAL_S, _LENGTH_FULL_S = 0.07, 0.20
_WEIGHT_LOUD, _WEIGHT_PITCH, _WEIGHT_LENGTH, _WEIGHT_ONSET = 0.35, 0.35, 0.35, 0.10


@dataclass(frozen=True)
class SpokenPhone:
    """A phone that is not silence, [start_s, end_s)."""

    name: str
    start_s: float
    end_s: float

    @property
    def middle_s(self) -> float:
        """Half way."""
        return (self.start_s + self.end_s) / 2.0

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Pause:
    """A time without phones; infinite where the request shows no phone before or after.

    Attributes:
        before, after: the phones on its two sides.
    """

    start_s: float
    end_s: float
    before: SpokenPhone | None
    after: SpokenPhone | None


@dataclass(frozen=True)
class Accent:
    """A syllable that stands out.

    Attributes:
        time_s: middle of its vowel.
        strength: 0 to 1.
        pitch_rise: 0 to 1, how high its pitch is for this speaker.
    """

    time_s: float
    strength: float
    pitch_rise: float


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The columns that motion reads, one value a frame from `first_frame` on; (n,) float64 each."""

    first_frame: int
    fps: float
    level_db: NDArray[np.float64]
    f0_hz: NDArray[np.float64]
    onset: NDArray[np.float64]

    def level_at(self, times_s: Track) -> Track:
        """Loudness in dB, linearly between frame middles; past the table's ends its last value."""
        position = times_s * self.fps - 0.5
        below = np.floor(position)
        index = below.astype(np.int64) - self.first_frame
        low = self.level_db[np.clip(index, 0, self.level_db.size - 1)]
        high = self.level_db[np.clip(index + 1, 0, self.level_db.size - 1)]
        return low + (high - low) * (position - below)

    def row_at(self, time_s: float) -> int:
        """Index of the frame on screen at a time, cut to the table."""
        return min(max(math.floor(time_s * self.fps) - self.first_frame, 0), self.level_db.size - 1)


@dataclass(frozen=True, eq=False)
class Speech:
    """A request's speech.

    Attributes:
        phones: without silence, by start.
        pauses: by start; with the phones they cover all time.
        accents: by time.
        features: loudness, pitch, onsets.
        level_db: of the whole speech.
    """

    phones: tuple[SpokenPhone, ...]
    pauses: tuple[Pause, ...]
    accents: tuple[Accent, ...]
    features: FeatureRows
    level_db: float


def read_speech(request: ChunkRequest) -> Speech:
    """The request's tables as checked values.

    Raises:
        GenerationError: a phone that is not ARPABET, times out of order or not finite, features that do not have
            exactly one row a frame or do not cover the chunk.
    """
    phones = _read_phones(request.phonemes)
    features = _read_features(request.features, request.frames, request.fps)
    level_db = float(request.speech_level_db)
    accents = _find_accents(phones, features, level_db, float(request.median_f0_hz))
    return Speech(phones, _find_pauses(phones), accents, features, level_db)


def _read_phones(table: pd.DataFrame) -> tuple[SpokenPhone, ...]:
    names = [str(name) for name in table["phone"]]
    starts = table["start_s"].to_numpy(dtype=np.float64)
    ends = table["end_s"].to_numpy(dtype=np.float64)
    unknown = sorted(set(names) - PHONES - {SILENCE})
    if unknown:
        raise GenerationError(
            "phones must be ARPABET without stress marks, or SIL",
            got=", ".join(unknown[:5]),
            cure="Materialise phoneme_alignments again.",
        )
    if not (np.isfinite(starts).all() and np.isfinite(ends).all() and (ends >= starts).all()):
        raise GenerationError(
            "a phone must end at or after its finite start",
            got="a row that does not",
            cure="Materialise phoneme_alignments again.",
        )
    if (np.diff(starts) < 0).any():
        raise GenerationError(
            "phones must be sorted by start",
            got="rows out of order",
            cure="Materialise phoneme_alignments again.",
        )
    rows = zip(names, starts.tolist(), ends.tolist(), strict=True)
    return tuple(SpokenPhone(name, start_s, end_s) for name, start_s, end_s in rows if name != SILENCE)


def _read_features(table: pd.DataFrame, frames: FrameSpan, fps: Fraction) -> FeatureRows:
    numbers = table["frame"].to_numpy(dtype=np.int64)
    whole = numbers.size > 0 and bool((np.diff(numbers) == 1).all())
    if not whole or numbers[0] > frames.start_frame or numbers[-1] < frames.stop_frame - 1:
        found = f"{numbers.size} rows" if not numbers.size else f"{numbers.size} rows, {numbers[0]} to {numbers[-1]}"
        raise GenerationError(
            f"features need one row a frame over the chunk [{frames.start_frame}, {frames.stop_frame})",
            got=found,
            cure="Materialise audio_features again.",
        )
    level_db = np.nan_to_num(table["rms_db"].to_numpy(dtype=np.float64), nan=FLOOR_DB, posinf=0.0, neginf=FLOOR_DB)
    return FeatureRows(
        first_frame=int(numbers[0]),
        fps=float(fps),
        level_db=np.clip(level_db, FLOOR_DB, 0.0),
        f0_hz=np.nan_to_num(table["f0_hz"].to_numpy(dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0),
        onset=np.clip(np.nan_to_num(table["onset"].to_numpy(dtype=np.float64)), 0.0, 1.0),
    )


def _find_pauses(phones: tuple[SpokenPhone, ...]) -> tuple[Pause, ...]:
    if not phones:
        return (Pause(-math.inf, math.inf, None, None),)
    pauses = [Pause(-math.inf, phones[0].start_s, None, phones[0])]
    last = phones[0]
    for phone in phones[1:]:
        if phone.start_s - last.end_s >= SMALLEST_PAUSE_S:
            pauses.append(Pause(last.end_s, phone.start_s, last, phone))
        # Tables from joined pieces may overlap: the pause starts after whoever ends last.
        if phone.end_s >= last.end_s:
            last = phone
    pauses.append(Pause(last.end_s, math.inf, last, None))
    return tuple(pauses)


def _find_accents(
    phones: tuple[SpokenPhone, ...], features: FeatureRows, level_db: float, median_f0_hz: float
) -> tuple[Accent, ...]:
    vowels = sorted((phone for phone in phones if phone.name in VOWEL_PHONES), key=lambda vowel: vowel.middle_s)
    seen = [_prominence(vowel, features, level_db, median_f0_hz) for vowel in vowels]
    return tuple(
        accent for index, accent in enumerate(seen) if accent.strength >= LEAST_PROMINENCE and _is_highest(seen, index)
    )


def _is_highest(seen: list[Accent], index: int) -> bool:
    """Whether no neighbour within the spacing is stronger; of equals the earlier one counts."""
    for step in (-1, 1):
        other = index + step
        while 0 <= other < len(seen) and abs(seen[other].time_s - seen[index].time_s) < ACCENT_SPACING_S:
            mine, its = seen[index].strength, seen[other].strength
            if its > mine or (its == mine and step < 0):
                return False
            other += step
    return True


def _prominence(vowel: SpokenPhone, features: FeatureRows, level_db: float, median_f0_hz: float) -> Accent:
    level_sum = 0.0
    pitch_sum = 0.0
    n_voiced = 0
    for offset_s in NUCLEUS_OFFSETS_S:
        row = features.row_at(vowel.middle_s + offset_s)
        level_sum += float(features.level_db[row])
        if features.f0_hz[row] > 0.0:
            pitch_sum += float(features.f0_hz[row])
            n_voiced += 1
    loud = _unit((level_sum / len(NUCLEUS_OFFSETS_S) - level_db) / _LOUD_FULL_DB)
    pitch = 0.0
    if n_voiced and median_f0_hz > 0.0:
        pitch = _unit((pitch_sum / n_voiced / median_f0_hz - 1.0) / _PITCH_FULL)
    length = _unit((vowel.length_s - _LENGTH_USUAL_S) / (_LENGTH_FULL_S - _LENGTH_USUAL_S))
    onset = float(features.onset[features.row_at(vowel.middle_s - vowel.length_s / 2.0)])
    if vowel.length_s > 2.0 * ACCENT_SPACING_S:
        # The start of a vowel held for so long may lie outside the context; its onset is not looked at.
        onset = 0.0
    strength = _WEIGHT_LOUD * loud + _WEIGHT_PITCH * pitch + _WEIGHT_LENGTH * length + _WEIGHT_ONSET * onset
    return Accent(vowel.middle_s, min(1.0, strength), pitch)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
