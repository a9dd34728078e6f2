"""Words that begin after a pause do not begin in it.

Belongs here: moving the start of a phone out of a pause that voice activity heard.
Does not belong here: finding speech (audio.voice_activity), placing phones.
"""

from __future__ import annotations

from bisect import bisect_right

import pandas as pd

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.media import Waveform

MAX_LEAD_S = 0.1
"""A phone that begins earlier than this before speech does has swallowed a pause. PocketSphinx gives up to 0.33 s of
silence to a weak first phone, most of all to DH; on 48 sentences of known times, voice activity found the start of
speech within 35 ms but for one."""

CLOSURE_S = 0.1
"""A stop begins with its silent closure, which lasts up to about this long."""

_STOPS = frozenset({"P", "B", "T", "D", "K", "G", "CH", "JH"})


def start_after_pauses(phonemes: pd.DataFrame, waveform: Waveform, segments: Segments) -> pd.DataFrame:
    """The table of an `Alignment`, where the first phone of a word begins in speech, or a closure before it.

    A phone that ends before speech does begin keeps its place, as does all that no pause is in.
    """
    rows = [PhoneRow(*row) for row in phonemes.itertuples(index=False)]
    starts_s = [start_s for start_s, _ in segments]
    moved = [
        row._replace(start_s=_start_s(row, starts_s))
        if row.phone != SILENCE and (index == 0 or rows[index - 1].word_index != row.word_index)
        else row
        for index, row in enumerate(rows)
    ]
    return phonemes if moved == rows else complete_table(moved, waveform.duration_s)


def _start_s(row: PhoneRow, speech_starts_s: list[float]) -> float:
    """Where a word's first phone begins, from the last start of speech that lies in it."""
    last = bisect_right(speech_starts_s, row.end_s) - 1
    if last < 0 or speech_starts_s[last] - row.start_s <= MAX_LEAD_S or speech_starts_s[last] >= row.end_s:
        return row.start_s
    return speech_starts_s[last] - (CLOSURE_S if row.phone in _STOPS else 0.0)
