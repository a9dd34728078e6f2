"""Alignment of long speech with a transcript, in memory that does not grow with its length.

Belongs here: giving each piece of speech its words, placing them there, and what stands in where they do not fit.
Does not belong here: finding the words (matching), hearing phones and placing words (passage_search, ctc_search).

The speech is cut at pauses and its phones are recognised; the transcript's phones are laid along those; each piece
then has its words, which are placed in it. A passage whose words do not fit falls back alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.aligner import Alignment, PhoneRow, append_rows, complete_table, mean_fit
from s2v_pipeline.alignment.cells import Cell, cells_of_piece
from s2v_pipeline.alignment.judging import listed, misfit
from s2v_pipeline.alignment.matching import Matching, match_words
from s2v_pipeline.alignment.passage_search import PassageSearch, PocketsphinxSearch, Word
from s2v_pipeline.alignment.passages import Passage, passages, words_of_cell
from s2v_pipeline.alignment.pieces import cut_at_pauses
from s2v_pipeline.alignment.pocketsphinx_aligner import Phones
from s2v_pipeline.alignment.recogniser_aligner import HeardWord
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

METHOD = PocketsphinxSearch.method

OVERLAP_S = 2.0
"""Speech after a cut within speech that is placed along with the piece before, so that the word at the cut is whole and
ends where its neighbour starts; the next piece then starts there."""

_WHOLE_WORD_S = 0.3  # a word that is heard to end this much before the overlap does is whole in it
# Mean share of a word's phones that are recognised: on 45 sentences right words have 0.72 to 1, wrong ones up to 0.61.
_HEARD_LIKENESS = 0.6
_HEARD_WORDS = 4  # fewer words are recognised by chance
# Under pink noise at 0 dB, cleaned, 48 of 50 right sentences have this, and wrong ones 31 of 97; see `_min_fit`.
_HALF_HEARD_LIKENESS = 0.35
_LEAST_PART_OF_HEARD_FIT = 0.6
_LEAST_S = 0.1  # nothing is placed in less
_SAME_PLACE_S = 1.0  # places nearer than this are named as one
_MOST_NOTED = 8  # left-out passages of the transcript named in one note
_MOST_WORDS = 12  # words of such a passage that are named

_NOT_HEARD = "the transcript was not used: no words of it, or too few, are heard there"
_NO_SPEECH = "no speech was found in the audio"
_NOT_FITTING = "the transcript was not used: its words do not fit the sound there"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PiecewiseAligner:
    """Places a transcript's words in the `segments` of long speech, and recognised phones where it has none.

    Every call takes a search of its own.
    """

    segments: Segments
    new_search: Callable[[], PassageSearch] = PocketsphinxSearch

    def align(self, waveform: Waveform, transcript: str | None) -> Alignment:
        """Phones of a 16 kHz waveform whose words are, mostly, `transcript`.

        `fallbacks` names the passages, with their times, in which the transcript was not used; `notes` the words that
        are heard nowhere, and where they were due.

        Raises:
            AlignmentError: none of the transcript can be said, or none of it is.
            ValueError: not 16 kHz.
        """
        if waveform.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"alignment needs {SPEECH_RATE_HZ} Hz; got {waveform.rate_hz}")
        search = self.new_search()
        words, notes = search.words(transcript or "")
        cells, deaf = _hear(search, waveform, self.segments)
        if not cells:
            return Alignment(complete_table([], waveform.duration_s), search.method, notes=(*notes, _NO_SPEECH))
        said_as = [search.phones(word) for word in words]
        matching = match_words(said_as, [cell.phones for cell in cells], [cell.opens_at_pause for cell in cells])
        heard_ends_s = _heard_ends_s(cells, search.late_s)
        placing = _Placing(search, waveform, self.segments, cells, deaf, words, said_as, matching, heard_ends_s)
        for passage in passages(cells, matching):
            placing.place(passage)
        table = complete_table(placing.rows, waveform.duration_s)
        if not placing.n_worded:
            raise AlignmentError(
                "the words must be heard in the speech",
                got="none of them",
                cure="Check that the transcript belongs to the speech; or remove it to have the phonemes recognised.",
            )
        left_out = _left_out_note([word for word, _ in words], matching, cells)
        return Alignment(table, search.method, _lines(placing.given_up), notes + left_out)


def _hear(search: PassageSearch, waveform: Waveform, segments: Segments) -> tuple[list[Cell], dict[int, str]]:
    """Cells in order, and by number of the piece why nothing is heard in it."""
    cells: list[Cell] = []
    deaf: dict[int, str] = {}
    for piece, (start_s, end_s) in enumerate(cut_at_pauses(waveform, segments)):
        heard, why_none = search.hear(waveform, start_s, end_s)
        if why_none:
            deaf[piece] = why_none
        cells.extend(cells_of_piece(piece, (start_s, end_s), heard, segments, late_s=search.late_s))
    return cells, deaf


def _heard_ends_s(cells: Sequence[Cell], late_s: float) -> NDArray[np.float64]:
    return np.array(
        [end_s - late_s for cell in cells for word in cell.heard for _, _, end_s in word.phones], np.float64
    )


@dataclass
class _Placing:
    """The rows of all passages so far, which end at `until_s`, and what was given up for them."""

    search: PassageSearch
    waveform: Waveform
    segments: Segments
    cells: Sequence[Cell]
    deaf: dict[int, str]
    words: Sequence[Word]
    said_as: Sequence[Phones]
    matching: Matching
    heard_ends_s: NDArray[np.float64]
    until_s: float = 0.0
    n_worded: int = 0
    rows: list[PhoneRow] = field(default_factory=list)
    given_up: list[tuple[str, float, float]] = field(default_factory=list)  # what and why, start_s, end_s

    def place(self, passage: Passage) -> None:
        """Adds the rows of the next passage: by its words, else cell by cell, else as it is heard."""
        start_s = max(self.until_s, self.cells[passage.first].start_s)
        end_s = self.cells[passage.stop - 1].end_s
        if end_s - start_s < _LEAST_S:
            return
        if not passage.words:
            self._place_heard(passage, start_s, end_s, _NOT_HEARD)
            return
        reason = self._place_words(passage, start_s, end_s)
        if reason is None:
            self.n_worded += 1
        elif passage.stop - passage.first > 1:
            for number in range(passage.first, passage.stop):
                self.place(Passage(number, number + 1, words_of_cell(self.matching, number)))
        else:
            _logger.warning("alignment with transcript, %.2f-%.2f s: %s", start_s, end_s, reason)
            self._place_heard(passage, start_s, end_s, _NOT_FITTING)

    def _place_words(self, passage: Passage, start_s: float, cut_s: float) -> str | None:
        """Adds rows and returns None, or returns why the words are not believed."""
        is_cut = passage.stop < len(self.cells) and not self.cells[passage.stop].opens_at_pause
        guests, end_s = self._overlap(passage, cut_s) if is_cut else ((), cut_s)
        try:
            spoken = [self.words[index] for index in passage.words + guests]
            rows = self.search.place(self.waveform, start_s, end_s, spoken)
        except AlignmentError as error:
            return f"{error.rule} ({error.got})"
        if is_cut:
            rows = rows[: 1 + max(at for at, row in enumerate(rows) if 0 <= row.word_index < len(passage.words))]
            end_s = start_s + rows[-1].end_s
        placed: list[PhoneRow] = []
        append_rows(placed, rows, offset_s=round(start_s * self.waveform.rate_hz) / self.waveform.rate_hz)
        reason = self._misfit(passage, placed, start_s, end_s)
        if reason is None:
            append_rows(self.rows, placed, offset_s=0.0)
            self.until_s = end_s
        return reason

    def _overlap(self, passage: Passage, cut_s: float) -> tuple[tuple[int, ...], float]:
        """Words of the cells after a cut that are whole within the overlap, and where the overlap ends."""
        end_s = min(cut_s + OVERLAP_S, float(self.waveform.duration_s))
        guests: list[int] = []
        number = passage.stop
        while number < len(self.cells) and not self.cells[number].opens_at_pause and self.cells[number].start_s < end_s:
            guests.extend(words_of_cell(self.matching, number))
            number += 1
        end_s = min(end_s, self.cells[number - 1].end_s)
        whole = [index for index in guests if self._heard_end_s(index, end_s) <= end_s - _WHOLE_WORD_S]
        if whole:
            return tuple(range(guests[0], whole[-1] + 1)), end_s
        return (), min(end_s, max(cut_s, self._heard_end_s(passage.words[-1], cut_s) + _LEAST_S))

    def _heard_end_s(self, word: int, otherwise_s: float) -> float:
        last_phone = int(self.matching.word_heard[word, 1])
        return float(self.heard_ends_s[last_phone]) if last_phone >= 0 else otherwise_s

    def _misfit(self, passage: Passage, rows: Sequence[PhoneRow], start_s: float, end_s: float) -> str | None:
        """Why the rows are not believed, judged cell by cell: the good ones do not excuse a bad one."""
        table = pd.DataFrame(rows)
        middles_s = (table["start_s"] + table["end_s"]) / 2
        for number in range(passage.first, passage.stop):
            words = words_of_cell(self.matching, number)
            if not words:
                continue
            from_s = max(start_s, self.cells[number].start_s)
            until_s = end_s if number + 1 == passage.stop else self.cells[number].end_s
            spans = tuple(
                (max(from_s, span[0]), min(until_s, span[1]))
                for span in self.segments
                if span[1] > from_s and span[0] < until_s
            )
            reason = misfit(
                table[(middles_s >= from_s) & (middles_s < until_s)],
                spans,
                min_fit=self._min_fit(words, passage, start_s, end_s),
            )
            if reason:
                return reason
        return None

    def _min_fit(self, words: Sequence[int], passage: Passage, start_s: float, end_s: float) -> float:
        """The least fit that is believed of a passage's words, by how well the recogniser hears them.

        In noise even right words fit badly, and are half heard. What tells them from wrong ones is how they fit beside
        the phones that the recogniser hears itself: on sentences cleaned of pink noise at 0 dB, this rule and the fixed
        least fit believe 48 of 50 right ones and 4 of 97 wrong ones.
        """
        likeness = self.matching.word_likeness[list(words)]
        if len(words) < _HEARD_WORDS:
            return self.search.min_fit
        if float(likeness.mean()) >= _HEARD_LIKENESS:
            return self.search.min_fit_of_heard
        n_phones = [len(self.said_as[index]) for index in words]
        least = self.search.min_fit_of_half_heard
        if least is None or float(np.average(likeness, weights=n_phones)) < _HALF_HEARD_LIKENESS:
            return self.search.min_fit
        rows, _ = self._heard_rows(passage, start_s, end_s)
        heard_fit = mean_fit(pd.DataFrame(rows)) if rows else 1.0
        return min(self.search.min_fit, max(least, _LEAST_PART_OF_HEARD_FIT * heard_fit))

    def _heard_rows(self, passage: Passage, start_s: float, end_s: float) -> tuple[list[PhoneRow], str | None]:
        """Rows of what the recogniser heard in a passage, times from `start_s`, and what was given up for them."""
        heard = []
        for word in (word for cell in self.cells[passage.first : passage.stop] for word in cell.heard):
            phones = tuple(
                (phone, from_s - start_s, until_s - start_s)
                for phone, from_s, until_s in word.phones
                if until_s - self.search.late_s > start_s
            )
            if phones:
                heard.append(HeardWord(word.ipa, phones))
        why_none = self.deaf.get(self.cells[passage.first].piece, "the recogniser heard no phones")
        return self.search.place_heard(self.waveform, start_s, end_s, heard, why_none)

    def _place_heard(self, passage: Passage, start_s: float, end_s: float, reason: str) -> None:
        """Adds rows of what the recogniser heard."""
        rows, lesser = self._heard_rows(passage, start_s, end_s)
        if lesser:
            self.given_up.append((lesser, start_s, end_s))
        append_rows(self.rows, rows, offset_s=round(start_s * self.waveform.rate_hz) / self.waveform.rate_hz)
        self.given_up.append((reason, start_s, end_s))
        self.until_s = end_s


def _lines(given_up: Sequence[tuple[str, float, float]]) -> tuple[str, ...]:
    """One line for each thing given up, with all its places; each is logged."""
    places: dict[str, list[tuple[float, float]]] = {}
    for what, start_s, end_s in given_up:
        spans = places.setdefault(what, [])
        if spans and start_s - spans[-1][1] < _SAME_PLACE_S:
            spans[-1] = (spans[-1][0], end_s)
        else:
            spans.append((start_s, end_s))
    lines = tuple(f"{listed(spans)}: {what}" for what, spans in places.items())
    for line in lines:
        _logger.warning("%s", line)
    return lines


def _left_out_note(words: Sequence[str], matching: Matching, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Names the passages of the transcript that are heard nowhere, each with the time at which it was due."""
    left_out = np.flatnonzero(~matching.is_said)
    if not left_out.size:
        return ()
    texts = []
    for run in np.split(left_out, np.flatnonzero(np.diff(left_out) > 1) + 1):
        text = " ".join(words[index] for index in run[:_MOST_WORDS]) + (" ..." if run.size > _MOST_WORDS else "")
        texts.append(f'"{text}" ({run.size} words, due at {cells[matching.word_cell[run[0]]].start_s:.1f} s)')
    more = f" and {len(texts) - _MOST_NOTED} more" if len(texts) > _MOST_NOTED else ""
    note = f"words of the transcript that are not heard: {', '.join(texts[:_MOST_NOTED])}{more}"
    _logger.warning("%s", note)
    return (note,)
