"""What every aligner gives: phones with times.

Belongs here: the alignment value, the table's rules, the protocol.
Does not belong here: any aligner, choosing one (choose).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.phonemes import ARPABET, SILENCE
from s2v_pipeline.media import Waveform

ALIGNMENT_COLUMNS = ("phone", "start_s", "end_s", "word", "word_index", "confidence")
"""Columns of `Alignment.phonemes`, in order."""

NO_WORD_INDEX = -1
"""`word_index` of silence."""

_TINY_GAP_S = 0.0101
"""A gap of one analysis frame (10 ms) at most belongs to the row before it: it is a rounding of the frame grid."""


class PhoneRow(NamedTuple):
    """One row of the table. See `Alignment`."""

    phone: str
    start_s: float
    end_s: float
    word: str = ""
    word_index: int = NO_WORD_INDEX
    confidence: float = 0.0


@dataclass(frozen=True, eq=False)
class Alignment:
    """Phones in time order, without gap, from 0 to the audio's end.

    Attributes:
        phonemes: columns `ALIGNMENT_COLUMNS`: `phone` (ARPABET without stress, or SIL), `start_s`, `end_s` float64,
            `word` (lower case; what the recogniser heard where no transcript was used; '' for SIL), `word_index` int64
            (-1 for SIL), `confidence` float64. PocketSphinx gives exp(s / 40), where s is the acoustic model's mean
            score per 10 ms frame of the row, which is 0 where the phone fits best of all phones in every frame and
            falls from there. Clean speech rightly aligned has about 0.7, wrong words about 0.2. It is a fit, not a
            probability; 0 where nothing scored the row. A ctc checkpoint gives the (geometric) mean probability of
            what is said.
        method: what placed the phones, e.g. "pocketsphinx with transcript".
        fallbacks: what was tried and given up on the way, each with its reason; empty when all went as asked.
        notes: what a reader should know about the result.

    Raises:
        ValueError: the table breaks a rule above.
    """

    phonemes: pd.DataFrame
    method: str
    fallbacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        table = self.phonemes
        if tuple(table.columns) != ALIGNMENT_COLUMNS or table.empty:
            raise ValueError(f"an alignment needs rows with the columns {ALIGNMENT_COLUMNS}; got {list(table.columns)}")
        starts_s, ends_s = table["start_s"].to_numpy(), table["end_s"].to_numpy()
        if starts_s[0] != 0 or not np.array_equal(starts_s[1:], ends_s[:-1]) or not np.all(ends_s > starts_s):
            raise ValueError("phones must start at 0, follow each other without gap or overlap, and last some time")
        unknown = set(table["phone"]) - ARPABET - {SILENCE}
        if unknown:
            raise ValueError(f"phones must be ARPABET or {SILENCE}; got {sorted(unknown)}")
        silent = (table["phone"] == SILENCE).to_numpy()
        if not np.array_equal(silent, (table["word_index"] == NO_WORD_INDEX).to_numpy()):
            raise ValueError(f"word_index must be {NO_WORD_INDEX} for {SILENCE} and for nothing else")
        if not table["confidence"].between(0.0, 1.0).all():
            raise ValueError("confidence must lie between 0 and 1")

    @property
    def fit(self) -> float:
        """Geometric mean of the speech rows' confidence, weighted by length, 0..1; 0 without speech."""
        return mean_fit(self.phonemes)


class Aligner(Protocol):
    """Places phones in speech.

    An implementation is deterministic: the same samples and words give the same table in any process.
    """

    def align(self, waveform: Waveform, transcript: str | None) -> Alignment:
        """Phones of a 16 kHz waveform.

        Raises:
            AlignmentError: they cannot be placed, or the aligner needs a transcript and there is none.
        """
        ...


def mean_fit(phonemes: pd.DataFrame) -> float:
    """Geometric mean of the confidence of the speech rows, weighted by length; 0 without any."""
    spoken = phonemes[phonemes["phone"] != SILENCE]
    if spoken.empty or not (spoken["confidence"] > 0).all():
        return 0.0
    lengths_s = (spoken["end_s"] - spoken["start_s"]).to_numpy()
    return math.exp(float(np.average(np.log(spoken["confidence"].to_numpy()), weights=lengths_s)))


def append_rows(rows: list[PhoneRow], piece_rows: Sequence[PhoneRow], *, offset_s: float) -> None:
    """Appends the rows of a piece that starts at `offset_s`; its words are numbered on."""
    words_before = 1 + next((row.word_index for row in reversed(rows) if row.word), NO_WORD_INDEX)
    rows.extend(
        row._replace(
            start_s=row.start_s + offset_s,
            end_s=row.end_s + offset_s,
            word_index=row.word_index + words_before if row.word else row.word_index,
        )
        for row in piece_rows
    )


def complete_table(rows: Iterable[PhoneRow], duration_s: Fraction) -> pd.DataFrame:
    """The table of an `Alignment` from rows with gaps: cut to the audio, filled with SIL, neighbouring SIL joined.

    An overlap goes to the earlier row. Rows need not be sorted.
    """
    end_of_audio_s = float(duration_s)
    complete: list[PhoneRow] = []
    time_s = 0.0
    for row in sorted(rows, key=lambda row: (row.start_s, row.end_s)):
        start_s, end_s = max(row.start_s, time_s), min(row.end_s, end_of_audio_s)
        if end_s <= start_s:
            continue
        if start_s - time_s <= _TINY_GAP_S and complete:
            complete[-1] = complete[-1]._replace(end_s=start_s)
        elif start_s > time_s:
            _append(complete, PhoneRow(SILENCE, time_s, start_s))
        _append(complete, row._replace(start_s=start_s, end_s=end_s))
        time_s = end_s
    if complete and end_of_audio_s - time_s <= _TINY_GAP_S:
        complete[-1] = complete[-1]._replace(end_s=end_of_audio_s)
    elif time_s < end_of_audio_s:
        _append(complete, PhoneRow(SILENCE, time_s, end_of_audio_s))
    table = pd.DataFrame(complete, columns=list(ALIGNMENT_COLUMNS))
    return table.astype({"start_s": "float64", "end_s": "float64", "word_index": "int64", "confidence": "float64"})


def _append(rows: list[PhoneRow], row: PhoneRow) -> None:
    if rows and row.phone == SILENCE and rows[-1].phone == SILENCE:
        confidence = max(rows[-1].confidence, row.confidence)
        rows[-1] = rows[-1]._replace(end_s=row.end_s, confidence=confidence)
    else:
        rows.append(row)
