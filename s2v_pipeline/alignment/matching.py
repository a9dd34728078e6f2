"""Which words of a transcript are heard where, before anything is placed exactly.

Belongs here: the search that lays a transcript's phones along recognised ones.
Does not belong here: recognising (recogniser_aligner), which phones sound alike (likeness), exact times.

A Viterbi search over (recognised phone, place in the transcript) with a gap cost for each phone, as S. Needleman and
C. Wunsch, J. Mol. Biol. 48, 1970, and two ways to let a longer passage go at a fixed price: a *jump* over words that
nobody said, and *away*, a state for speech that no word stands for. Memory and time stay bounded: the search looks
`WINDOW_PHONES` ahead in the transcript, and what lies more than `HELD_COLUMNS` phones of speech back is settled.
All scores are whole numbers, so every machine finds the same path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.alignment.likeness import ALIKE, LIKENESS, PHONE_NUMBERS

WINDOW_PHONES = 8192
"""How far ahead in the transcript words are looked for: about 2 000 words, eleven minutes of speech."""

HELD_COLUMNS = 1200
"""Recognised phones whose matching may still change: about 100 s, five pieces. With the window this is 10 MB."""

GAP = 3
"""Price of a phone that only one of the two sides has. Two of them cost more than an unlike pair (likeness.UNLIKE)."""

JUMP = 16
"""Price of leaving words out, as many as may be: a little more than five phones, one or two words."""

AWAY = 12
"""Price of speech without words, as long as may be. With prices of 10 to 24 for JUMP and 6 to 18 for this, 97 % of the
right words find their place in texts with every third sentence wrong, extra or missing; the lowest place fewer right
words in noise, the highest more wrong ones."""

_NEVER = -(1 << 29)
_MATCHED, _LEFT_OUT, _JUMPED, _PEAK, _FROM_AWAY, _AWAY_STARTS = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True, eq=False)
class Matching:
    """Where the words of a transcript are heard.

    Attributes:
        word_cell: (n_words,) int64, the cell in which a word begins; in order.
        is_said: (n_words,) bool, False where the search left the word out; `word_cell` is then where it was due.
        is_away: for each cell (n_phones,) bool, True for recognised phones that no word stands for.
        word_heard: (n_words, 2) int64, first and last recognised phone (counted through all cells) of a word; -1 where
            none of its phones was recognised.
        word_likeness: (n_words,) float64, share of a word's phones that were recognised as the same or one alike.
    """

    word_cell: NDArray[np.int64]
    is_said: NDArray[np.bool_]
    is_away: tuple[NDArray[np.bool_], ...]
    word_heard: NDArray[np.int64]
    word_likeness: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Column:
    """One step of the search: how each place in the window is best reached. `heard` is None at a pause."""

    heard: int | None
    cell: int
    first_place: int
    steps: NDArray[np.uint8]


def match_words(
    words: Sequence[Sequence[str]], cells: Sequence[Sequence[str]], opens_at_pause: Sequence[bool]
) -> Matching:
    """Lays words (ARPABET phones of each) along recognised ARPABET phones, which come in cells of speech.

    No word reaches over the pause with which a cell opens where `opens_at_pause` says so.

    Raises:
        ValueError: no words, or one without phones.
    """
    if not words or any(not word for word in words):
        raise ValueError("there must be words, each with phones")
    search = _Search(words, sum(map(len, cells)))
    heard = 0
    for cell, phones in enumerate(cells):
        if opens_at_pause[cell] or cell == 0:
            search.pause(cell)
        for phone in phones:
            search.hear(heard, cell, PHONE_NUMBERS[phone])
            heard += 1
        search.settle_old()
    search.settle_all(last_cell=len(cells) - 1)
    edges = np.cumsum([0, *map(len, cells)])
    return search.matching([slice(first, stop) for first, stop in pairwise(edges)])


class _Search:
    """Scores of the places in the window: `words[i]` with the transcript read up to place `first_place + i`, `away[i]`
    likewise but outside of it. Place p stands before transcript phone p."""

    def __init__(self, words: Sequence[Sequence[str]], n_heard: int) -> None:
        self.phones = np.array([PHONE_NUMBERS[phone] for word in words for phone in word], np.int64)
        self.word_starts = np.cumsum([0, *map(len, words)])
        self.is_edge = np.zeros(self.phones.size + 1, np.bool_)
        self.is_edge[self.word_starts] = True
        self.first_place, self.settled_place = 0, 0
        width = min(WINDOW_PHONES, self.phones.size) + 1
        self.words, self.away = np.full(width, _NEVER, np.int32), np.full(width, _NEVER, np.int32)
        self.words[0] = 0
        self.gaps = GAP * np.arange(width, dtype=np.int32)
        self.columns: list[_Column] = []
        self.cell_of_phone = np.zeros(self.phones.size, np.int64)
        self.is_phone_said = np.zeros(self.phones.size, np.bool_)
        self.heard_as = np.full(self.phones.size, -1, np.int64)
        self.is_alike = np.zeros(self.phones.size, np.bool_)
        self.heard = np.zeros(n_heard, np.int64)
        self.is_heard_away = np.zeros(n_heard, np.bool_)

    def pause(self, cell: int) -> None:
        """Only whole words lie behind; what is left out from here on is due after the pause."""
        edge = self._edges()
        from_away = edge & (self.away > self.words)
        reached = np.where(edge, np.maximum(self.words, self.away), np.int32(_NEVER))
        steps = np.where(from_away, _FROM_AWAY, 0).astype(np.uint8)
        self.words, steps = self._leave_out(reached, steps, edge, even_if_equal=True)
        self.columns.append(_Column(None, cell, self.first_place, steps))

    def hear(self, heard: int, cell: int, phone: int) -> None:
        """One recognised phone further."""
        self.heard[heard] = phone
        edge = self._edges()
        from_away = edge & (self.away > self.words)
        before = np.where(from_away, self.away, self.words)
        expected = self.phones[self.first_place : self.first_place + self.words.size - 1]
        matched = np.full_like(self.words, _NEVER)
        matched[1:][: expected.size] = before[: expected.size] + LIKENESS[phone][expected]
        unmatched = self.words - np.int32(GAP)
        is_match = matched >= unmatched
        steps = np.where(is_match, _MATCHED, 0).astype(np.uint8)
        steps[1:] |= np.where(is_match[1:] & from_away[:-1], _FROM_AWAY, 0).astype(np.uint8)
        left = np.where(edge, self.words - np.int32(AWAY), np.int32(_NEVER))
        steps |= np.where(left > self.away, _AWAY_STARTS, 0).astype(np.uint8)
        self.away = np.maximum(self.away, left)
        self.words, steps = self._leave_out(np.maximum(matched, unmatched), steps, edge, even_if_equal=False)
        self.columns.append(_Column(heard, cell, self.first_place, steps))

    def settle_old(self) -> None:
        """Settles the older half of the columns once there are more than `HELD_COLUMNS`, and moves the window on."""
        if len(self.columns) <= HELD_COLUMNS:
            return
        place = self._trace(settle=len(self.columns) - HELD_COLUMNS // 2)
        del self.columns[: len(self.columns) - HELD_COLUMNS // 2]
        self.settled_place = max(self.settled_place, place)
        shift = min(self.settled_place, self.phones.size + 1 - self.words.size) - self.first_place
        if shift > 0:
            beyond = np.full(shift, _NEVER, np.int32)
            self.words = np.concatenate([self.words, beyond])[shift:]
            self.away = np.concatenate([self.away, beyond])[shift:]
            self.first_place += shift

    def settle_all(self, last_cell: int) -> None:
        """Settles what is left."""
        place = self._trace(settle=len(self.columns), is_end=True)
        self.cell_of_phone[max(place, self.settled_place) :] = max(0, last_cell)

    def matching(self, cells: Sequence[slice]) -> Matching:
        """The settled result."""
        starts = self.word_starts[:-1]
        said = np.logical_or.reduceat(self.is_phone_said, starts)
        likeness = np.add.reduceat(self.is_alike, starts, dtype=np.float64) / np.diff(self.word_starts)
        spans = np.full((starts.size, 2), -1, np.int64)
        for index, (first, stop) in enumerate(pairwise(self.word_starts)):
            matched = self.heard_as[first:stop][self.heard_as[first:stop] >= 0]
            if matched.size:
                spans[index] = matched[0], matched[-1]
        is_away = tuple(self.is_heard_away[cell] for cell in cells)
        return Matching(self.cell_of_phone[starts], said, is_away, spans, likeness)

    def _edges(self) -> NDArray[np.bool_]:
        return self.is_edge[self.first_place : self.first_place + self.words.size]

    def _leave_out(
        self, reached: NDArray[np.int32], steps: NDArray[np.uint8], edge: NDArray[np.bool_], *, even_if_equal: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Scores after leaving out single phones, then whole passages; and `steps` with how."""
        closed: NDArray[np.int32] = np.maximum.accumulate(reached + self.gaps) - self.gaps
        if even_if_equal:
            steps[1:] |= np.where(closed[:-1] - GAP >= reached[1:], _LEFT_OUT, 0).astype(np.uint8)
        else:
            steps |= np.where(closed > reached, _LEFT_OUT, 0).astype(np.uint8)
        at_edges = np.where(edge, closed, np.int32(_NEVER))
        best = np.maximum.accumulate(at_edges)
        steps[0] |= _PEAK
        steps[1:] |= np.where(best[1:] > best[:-1], _PEAK, 0).astype(np.uint8)
        jumped = np.full_like(closed, _NEVER)
        jumped[1:] = np.where(edge[1:], best[:-1] - np.int32(JUMP), np.int32(_NEVER))
        is_jump = (jumped >= closed) & edge if even_if_equal else jumped > closed
        steps |= np.where(is_jump, _JUMPED, 0).astype(np.uint8)
        return np.maximum(closed, jumped), steps

    def _trace(self, *, settle: int, is_end: bool = False) -> int:
        """Follows the best path back, writes down its `settle` oldest columns; returns the place after them."""
        is_away, place = self._best_end(is_end=is_end)
        after = place
        for index in range(len(self.columns) - 1, -1, -1):
            column = self.columns[index]
            if index == settle - 1:
                after = place
            is_away, place = self._step_back(column, is_away, place, is_settled=index < settle)
        return after

    def _best_end(self, *, is_end: bool) -> tuple[bool, int]:
        # At the end of the speech, words may be left over, at the price of leaving them out.
        left_over = np.full(self.words.size, JUMP if is_end else 0, np.int32)
        if self.first_place + self.words.size == self.phones.size + 1:
            left_over[-1] = 0
        words, away = self.words - left_over, self.away - left_over
        is_away = bool(away.max() > words.max())
        return is_away, self.first_place + int(np.argmax(away if is_away else words))

    def _step_back(self, column: _Column, is_away: bool, place: int, *, is_settled: bool) -> tuple[bool, int]:
        first, steps = column.first_place, column.steps
        if is_away:
            if column.heard is None:
                return True, place
            if is_settled:
                self.is_heard_away[column.heard] = True
            return not steps[place - first] & _AWAY_STARTS, place
        if steps[place - first] & _JUMPED:
            peaks = np.flatnonzero(steps[: place - first] & _PEAK)
            place = self._write(column, first + int(peaks[-1]), place, is_said=False, is_settled=is_settled)
        while steps[place - first] & _LEFT_OUT:
            place = self._write(column, place - 1, place, is_said=True, is_settled=is_settled)
        from_away = bool(steps[place - first] & _FROM_AWAY)
        if steps[place - first] & _MATCHED:
            if is_settled and column.heard is not None and place > self.settled_place:
                self.heard_as[place - 1] = column.heard
                likeness = LIKENESS[self.heard[column.heard], self.phones[place - 1]]
                self.is_alike[place - 1] = likeness >= ALIKE
            place = self._write(column, place - 1, place, is_said=True, is_settled=is_settled)
        return from_away, place

    def _write(self, column: _Column, first: int, stop: int, *, is_said: bool, is_settled: bool) -> int:
        if is_settled:
            fresh = max(first, self.settled_place)
            self.cell_of_phone[fresh:stop] = column.cell
            self.is_phone_said[fresh:stop] = is_said
        return first
