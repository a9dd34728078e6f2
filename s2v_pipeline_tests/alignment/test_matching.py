from __future__ import annotations

import itertools

import numpy as np
import pytest

from s2v_pipeline.alignment import matching
from s2v_pipeline.alignment.likeness import ALIKE, LIKENESS, PHONE_NUMBERS, SAME
from s2v_pipeline.alignment.matching import Matching, match_words

_PHONES = sorted(PHONE_NUMBERS)


def _text(n_words: int, seed: int) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(_PHONES, rng.integers(2, 7)).tolist()) for _ in range(n_words)]


def _heard(words: list[tuple[str, ...]], seed: int = 0) -> list[str]:
    """What a recogniser with a phone error rate of about 25 % makes of words."""
    rng = np.random.default_rng(seed)
    heard = []
    for phone in itertools.chain(*words):
        kind = rng.random()
        if kind > 0.08:
            heard.append(phone if kind > 0.2 else str(rng.choice(_PHONES)))
        if rng.random() < 0.05:
            heard.append(str(rng.choice(_PHONES)))
    return heard


def _joined(sentences: list[list[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    return list(itertools.chain(*sentences))


def _match(words: list[tuple[str, ...]], cells: list[list[str]]) -> Matching:
    return match_words(words, cells, [True] * len(cells))


def test_likeness_is_symmetric_and_highest_for_the_same_phone() -> None:
    assert np.array_equal(LIKENESS, LIKENESS.T)
    assert set(np.diag(LIKENESS)) == {SAME}
    assert LIKENESS[PHONE_NUMBERS["P"], PHONE_NUMBERS["B"]] == ALIKE
    assert LIKENESS[PHONE_NUMBERS["P"], PHONE_NUMBERS["AA"]] < 0


def test_words_are_found_in_their_cells() -> None:
    sentences = [_text(8, seed) for seed in range(6)]
    found = _match(_joined(sentences), [_heard(sentence, seed) for seed, sentence in enumerate(sentences)])
    assert found.word_cell.tolist() == [cell for cell in range(6) for _ in range(8)]
    assert found.is_said.all()
    assert not any(away.any() for away in found.is_away)
    assert found.word_likeness.mean() > 0.6
    firsts = found.word_heard[:, 0][found.word_heard[:, 0] >= 0]
    assert (np.diff(firsts) > 0).all()


def test_a_word_that_is_not_heard_at_all_belongs_after_the_pause() -> None:
    found = _match([("K", "AE", "T"), ("AH",), ("D", "AO", "G")], [["K", "AE", "T"], ["D", "AO", "G"]])
    assert found.word_cell.tolist() == [0, 1, 1]
    assert found.is_said.all()
    assert found.word_heard.tolist() == [[0, 2], [-1, -1], [3, 5]]
    assert found.word_likeness.tolist() == [1.0, 0.0, 1.0]


def test_a_word_reaches_over_a_cut_but_not_over_a_pause() -> None:
    words = [("K", "AE", "T"), ("D", "AO", "G"), ("B", "ER", "D")]
    cells = [["K", "AE", "T", "D"], ["AO", "G", "B", "ER", "D"]]
    assert match_words(words, cells, [True, False]).word_heard[1].tolist() == [3, 5]
    assert match_words(words, cells, [True, True]).word_heard[1].tolist() != [3, 5]


@pytest.mark.parametrize("at", [0, 3, 6])
def test_words_that_nobody_said_are_left_out(at: int) -> None:
    sentences = [_text(8, seed) for seed in range(6)]
    extra = _text(30, 99)
    words = _joined([*sentences[:at], extra, *sentences[at:]])
    found = _match(words, [_heard(sentence) for sentence in sentences])
    left_out = np.flatnonzero(~found.is_said)
    assert set(left_out) <= set(range(8 * at, 8 * at + 30))
    assert left_out.size >= 28
    assert (found.word_cell[left_out] == min(at, 5)).all()
    assert found.word_cell[found.is_said & ~np.isin(np.arange(len(words)), range(8 * at, 8 * at + 30))].tolist() == [
        cell for cell in range(6) for _ in range(8)
    ]


def test_speech_that_the_transcript_lacks_is_away() -> None:
    sentences = [_text(8, seed) for seed in range(6)]
    words = _joined(sentences[:2] + sentences[4:])
    found = _match(words, [_heard(sentence) for sentence in sentences])
    assert [round(float(away.mean())) for away in found.is_away] == [0, 0, 1, 1, 0, 0]
    assert found.word_cell.tolist() == [cell for cell in (0, 1, 4, 5) for _ in range(8)]
    assert found.is_said.all()


def test_another_text_is_left_out() -> None:
    found = _match(_text(50, 1), [_heard(_text(8, seed)) for seed in range(10, 16)])
    assert found.is_said.sum() <= 4


def test_a_long_speech_is_settled_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    settle_old = matching._Search.settle_old

    def watched(search: matching._Search) -> None:
        settle_old(search)
        held.append((len(search.columns), max(column.steps.size for column in search.columns)))

    sentences = [_text(10, seed) for seed in range(120)]
    cells = [_heard(sentence, seed) for seed, sentence in enumerate(sentences)]
    words = _joined([*sentences[:60], _text(20, 999), *sentences[60:]])
    whole = _match(words, cells)
    monkeypatch.setattr(matching, "WINDOW_PHONES", 500)
    monkeypatch.setattr(matching, "HELD_COLUMNS", 200)
    monkeypatch.setattr(matching._Search, "settle_old", watched)
    settled = _match(words, cells)
    assert max(columns for columns, _ in held) <= 200
    assert max(width for _, width in held) == 501
    assert np.array_equal(settled.word_cell, whole.word_cell)
    assert np.array_equal(settled.word_heard, whole.word_heard)
    assert np.array_equal(settled.is_said, whole.is_said)
    assert (settled.word_cell[settled.is_said] == np.repeat(np.arange(120), 10)).mean() > 0.99


def test_no_words_and_no_speech() -> None:
    with pytest.raises(ValueError, match="must be words"):
        _match([], [["AA"]])
    with pytest.raises(ValueError, match="with phones"):
        _match([()], [["AA"]])
    found = _match([("AA",) * 12], [[]])
    assert not found.is_said.any()
