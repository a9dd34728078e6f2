"""Alignment tables of given words at an even pace, for tests of what is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pandas as pd

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.transcript import spoken_words
from s2v_pipeline.alignment.written_words import WrittenWord, write_words

HOSTILE = (
    "One\r\ntwo --> three <i>gone</i> R&D at&t a<b c>d {\\an8}gone [applause] “quoted” 'single' \"double\" "
    "שלום עולם مرحبا 🎉👩‍👩‍👧 \u202eturned\u2066 nul\x00esc\x1b[31m tab\tline\u2028separated "
    "1\n00:00:01,000 --> 00:00:02,000\nNOTE WEBVTT STYLE four &amp; &lt;five&gt; \\N six."
)
"""What would break a file of captions, a terminal or a formula, if it were copied as it is."""


def is_word(word: str) -> bool:
    """A dictionary that knows contractions and no acronym."""
    return word in {"it's", "don't"}


def table_of(
    words: Sequence[str], *, word_s: float = 0.3, pause_s: float = 0.4, words_a_breath: int = 9
) -> tuple[pd.DataFrame, Fraction]:
    """A table with one phone a word and a pause after every breath; and the audio's length, 1 s of silence included."""
    rows: list[PhoneRow] = []
    time_s = 0.0
    for number, word in enumerate(words):
        rows.append(PhoneRow("AA", time_s, time_s + word_s, word, number, 0.6))
        time_s += word_s
        if number % words_a_breath == words_a_breath - 1 and pause_s:
            rows.append(PhoneRow(SILENCE, time_s, time_s + pause_s))
            time_s += pause_s
    duration_s = Fraction(round((time_s + 1) * 16_000), 16_000)
    return complete_table(rows, duration_s), duration_s


def written(transcript: str) -> tuple[tuple[WrittenWord, ...], Fraction]:
    """The words of a transcript, all of them said."""
    table, duration_s = table_of(spoken_words(transcript, is_word))
    return write_words(table, transcript, is_word).words, duration_s
