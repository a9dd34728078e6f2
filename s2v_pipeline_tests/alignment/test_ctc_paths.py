from __future__ import annotations

import itertools

import numpy as np
import pytest

from s2v_pipeline.alignment.ctc_paths import MAX_SHARE_S, LabelSpan, best_symbols, place_labels, times_of


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities).astype(np.float32)


def _best_by_trying_all(values: np.ndarray, labels: list[int]) -> float:
    """The score of the best of all paths that collapse to `labels`; symbol 0 is the blank."""
    best = -np.inf
    for path in itertools.product(range(values.shape[1]), repeat=len(values)):
        collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if collapsed == labels:
            best = max(best, float(sum(values[frame, symbol] for frame, symbol in enumerate(path))))
    return best


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2]])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_of_all(labels: list[int], seed: int) -> None:
    values = _log(np.random.default_rng(seed).dirichlet([0.5] * 3, size=6) + 1e-6)
    blank = np.stack([values[:, 0]] * 2, axis=1)
    spans = place_labels(values, blank, labels, np.zeros(len(labels) + 1, np.bool_))
    assert spans is not None
    said = np.zeros(6, np.int64)
    for span in spans:
        said[span.first : span.stop] = labels[span.label]
    assert [symbol for symbol, _ in itertools.groupby(said) if symbol] == labels
    score = float(values[np.arange(6), said].sum())
    assert score == pytest.approx(_best_by_trying_all(values, labels), abs=1e-4)


def test_too_few_frames() -> None:
    values, gaps = _log(np.full((2, 3), 1 / 3)), np.zeros(3, np.bool_)
    blank = np.stack([values[:, 0]] * 2, axis=1)
    assert place_labels(values, blank, [1, 2], gaps) is not None
    assert place_labels(values, blank, [1, 1], gaps) is None  # a blank must part them
    assert place_labels(values, blank, [], gaps[:1]) is None
    assert place_labels(values[:0], blank[:0], [1], gaps[:2]) is None


def test_a_mark_between_words_may_stand_there_and_nowhere_else() -> None:
    probabilities = np.full((3, 4), 0.01)
    probabilities[[0, 1, 2], [1, 3, 2]] = 0.97  # a, mark, b
    values = _log(probabilities)
    between = np.stack([values[:, 0], np.maximum(values[:, 0], values[:, 3])], axis=1)
    apart = place_labels(values, between, [1, 2], np.array([True, True, True]))
    joined = place_labels(values, between, [1, 2], np.array([True, False, True]))
    assert apart is not None
    assert joined is not None
    assert [(span.first, span.stop) for span in apart] == [(0, 1), (2, 3)]
    assert min(span.score for span in apart) > np.log(0.9)
    assert sum(span.stop - span.first for span in joined) == 3 or values[1, 0] == values[1, 1]


def test_the_best_symbols_without_any_words() -> None:
    values = _log(np.eye(3)[[0, 1, 1, 0, 1, 2, 2, 0]] * 0.9 + 0.03)
    spans = best_symbols(values, blank=0)
    assert [(span.label, span.first, span.stop) for span in spans] == [(1, 1, 3), (1, 4, 5), (2, 5, 7)]
    assert np.exp(spans[0].score) == pytest.approx(0.93, abs=1e-3)
    assert best_symbols(values[:0], blank=0) == []


def test_blanks_are_shared_by_the_neighbours() -> None:
    spans = [LabelSpan(0, 10, 11, 0.0), LabelSpan(1, 15, 16, 0.0), LabelSpan(2, 60, 61, 0.0)]
    times = times_of(spans, frame_s=0.02, start_s=0.0, pauses=((0.0, 0.15), (0.4, 1.0)))
    assert times[0] == pytest.approx((0.15, 0.26))  # from the pause's end to the middle
    assert times[1] == pytest.approx((0.26, 0.4))  # to the pause's start
    assert times[2] == pytest.approx((1.2 - MAX_SHARE_S, 1.22 + MAX_SHARE_S))
