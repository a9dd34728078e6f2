"""What the piecewise aligner asks of a way to hear and to place: the protocol, and PocketSphinx behind it.

Belongs here: the protocol, hama's ear with PocketSphinx's search as one implementation.
Does not belong here: which words belong where (matching, piecewise_aligner), the CTC network's search (ctc_search).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from hama import ASRModel

from s2v_pipeline.alignment.aligner import PhoneRow
from s2v_pipeline.alignment.judging import MIN_FIT, MIN_FIT_OF_HEARD
from s2v_pipeline.alignment.pieces import part_of
from s2v_pipeline.alignment.pocketsphinx_aligner import (
    Phones,
    align_words,
    dictionary_phones,
    new_decoder,
    sayable_words,
)
from s2v_pipeline.alignment.recogniser_aligner import RECOGNISER_LATE_S, HeardWord, place_heard, recognise
from s2v_pipeline.media import Waveform

Word = tuple[str, Phones | None]
"""A word and its phones; None where the search knows several ways to say it."""


class PassageSearch(Protocol):
    """Hears phones in a part of a speech, and places words in it. It serves one speech.

    Times are seconds from the part's start, which lies on the nearest sample.

    Attributes:
        method: `Alignment.method` of what is placed with a transcript.
        late_s: how much the times of heard phones come after the sound.
        min_fit: least `Alignment.fit` of placed words that is believed.
        min_fit_of_heard: the same of words that are heard where they are placed.
        min_fit_of_half_heard: the same of words that are half heard and fit nearly as well as what is heard there; None
            where that says nothing.
    """

    method: str
    late_s: float
    min_fit: float
    min_fit_of_heard: float
    min_fit_of_half_heard: float | None

    def words(self, transcript: str) -> tuple[list[Word], tuple[str, ...]]:
        """The words that a reader says, and notes on them.

        Raises:
            AlignmentError: none of the transcript can be said.
        """
        ...

    def phones(self, word: Word) -> Phones:
        """One way to say a word."""
        ...

    def hear(self, waveform: Waveform, start_s: float, end_s: float) -> tuple[list[HeardWord], str | None]:
        """Words heard in a part of about 20 s at most; and why there are none."""
        ...

    def place(self, waveform: Waveform, start_s: float, end_s: float, words: Sequence[Word]) -> list[PhoneRow]:
        """Rows of the words, numbered from 0.

        Raises:
            AlignmentError: no path through the words fits.
        """
        ...

    def place_heard(
        self, waveform: Waveform, start_s: float, end_s: float, heard: Sequence[HeardWord], why_none: str | None
    ) -> tuple[list[PhoneRow], str | None]:
        """Rows of what `hear` heard in (a part of) the part, and what was given up for them."""
        ...


class PocketsphinxSearch:
    """hama hears, PocketSphinx places; English."""

    method = "pocketsphinx with transcript, piece by piece"
    late_s = RECOGNISER_LATE_S
    min_fit = MIN_FIT
    min_fit_of_heard = MIN_FIT_OF_HEARD
    min_fit_of_half_heard: float | None = 0.3  # measured with the limits in piecewise_aligner

    def words(self, transcript: str) -> tuple[list[Word], tuple[str, ...]]:
        """See `PassageSearch`."""
        found, notes = sayable_words(self._dictionary, transcript)
        return list(found), notes

    def phones(self, word: Word) -> Phones:
        """See `PassageSearch`."""
        return word[1] or dictionary_phones(self._dictionary, word[0]) or ()

    def hear(self, waveform: Waveform, start_s: float, end_s: float) -> tuple[list[HeardWord], str | None]:
        """See `PassageSearch`."""
        return recognise(self._ear, part_of(waveform, start_s, end_s))

    def place(self, waveform: Waveform, start_s: float, end_s: float, words: Sequence[Word]) -> list[PhoneRow]:
        """See `PassageSearch`."""
        return align_words(new_decoder(), part_of(waveform, start_s, end_s), words)

    def place_heard(
        self, waveform: Waveform, start_s: float, end_s: float, heard: Sequence[HeardWord], why_none: str | None
    ) -> tuple[list[PhoneRow], str | None]:
        """See `PassageSearch`."""
        return place_heard(part_of(waveform, start_s, end_s), heard, why_none)

    @cached_property
    def _dictionary(self) -> Any:
        return new_decoder()

    @cached_property
    def _ear(self) -> ASRModel:
        return ASRModel()
