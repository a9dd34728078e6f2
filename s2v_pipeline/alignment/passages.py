"""Long speech in passages: what is placed in one search, with words or without.

Belongs here: which cells go together, which words are theirs.
Does not belong here: finding the words (matching), placing them (piecewise_aligner).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from s2v_pipeline.alignment.cells import Cell
from s2v_pipeline.alignment.matching import Matching

FEW_PHONES = 3
"""So many recognised phones without a word are breath or noise, not speech that the transcript lacks."""

MOSTLY_AWAY = 0.4
"""Share of a cell's recognised phones without a word, from which on its few words are not placed: some phones of wrong
words are always heard somewhere, and right ones would be stretched over the speech that has none."""


@dataclass(frozen=True)
class Passage:
    """Neighbouring cells `cells[first:stop]` of one piece, and the transcript's words to place in them, in order."""

    first: int
    stop: int
    words: tuple[int, ...]


def passages(cells: Sequence[Cell], matching: Matching) -> list[Passage]:
    """All cells in passages: those with words together, and those without."""
    found: list[Passage] = []
    kinds: list[str] = []
    for number, cell in enumerate(cells):
        words = words_of_cell(matching, number)
        kind = _kind(len(words), matching.is_away[number].size)
        is_same_piece = bool(found) and cells[found[-1].first].piece == cell.piece
        if is_same_piece and (kind in {kinds[-1], "quiet"} or kinds[-1] == "quiet"):
            found[-1] = Passage(found[-1].first, number + 1, found[-1].words + words)
            kinds[-1] = kind if kinds[-1] == "quiet" else kinds[-1]
        else:
            found.append(Passage(number, number + 1, words))
            kinds.append(kind)
    return found


def words_of_cell(matching: Matching, number: int) -> tuple[int, ...]:
    """Indices of the words that begin in a cell, are said, and stand for most of what is heard there."""
    is_away = matching.is_away[number]
    if is_away.size and float(is_away.mean()) >= MOSTLY_AWAY:
        return ()
    first, stop = np.searchsorted(matching.word_cell, [number, number + 1])
    return tuple(index for index in range(int(first), int(stop)) if matching.is_said[index])


def _kind(n_words: int, n_heard: int) -> str:
    if n_words:
        return "worded"
    return "quiet" if n_heard <= FEW_PHONES else "wordless"
