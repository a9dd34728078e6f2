from __future__ import annotations

import numpy as np

from s2v_pipeline.alignment.cells import Cell
from s2v_pipeline.alignment.matching import Matching
from s2v_pipeline.alignment.passages import Passage, passages, words_of_cell


def _matching(word_cell: list[int], is_said: list[bool], away: list[list[bool]]) -> Matching:
    n_words = len(word_cell)
    return Matching(
        np.array(word_cell),
        np.array(is_said),
        tuple(np.array(cell, np.bool_) for cell in away),
        np.zeros((n_words, 2), np.int64),
        np.ones(n_words),
    )


def _cells(*pieces: int) -> list[Cell]:
    return [Cell(float(number), number + 1.0, piece, True, ()) for number, piece in enumerate(pieces)]


def test_neighbours_of_one_kind_go_together_within_a_piece() -> None:
    heard, lost, breath = [False] * 8, [True] * 8, [False]
    matching = _matching([0, 0, 1, 4, 5], [True] * 5, [heard, heard, lost, lost, heard, heard, breath])
    assert passages(_cells(0, 0, 0, 0, 0, 1, 1), matching) == [
        Passage(0, 2, (0, 1, 2)),
        Passage(2, 4, ()),
        Passage(4, 5, (3,)),
        Passage(5, 7, (4,)),
    ]


def test_a_few_words_in_much_other_speech_are_not_placed() -> None:
    heard, half = [False] * 8, [True] * 4 + [False] * 4
    matching = _matching([0, 1, 2], [True] * 3, [heard, half, heard])
    assert passages(_cells(0, 0, 0), matching) == [Passage(0, 1, (0,)), Passage(1, 2, ()), Passage(2, 3, (2,))]


def test_breath_before_words_goes_with_them() -> None:
    matching = _matching([1], [True], [[True], [False] * 5])
    assert passages(_cells(0, 0), matching) == [Passage(0, 2, (0,))]


def test_words_left_out_are_nobodys() -> None:
    matching = _matching([0, 1, 1, 1], [True, False, True, True], [[False], [False]])
    assert words_of_cell(matching, 0) == (0,)
    assert words_of_cell(matching, 1) == (2, 3)
