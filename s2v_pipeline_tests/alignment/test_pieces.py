from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.pieces import MARGIN_S, MAX_PIECE_S, MIN_PIECE_S, cut_at_pauses
from s2v_pipeline.media import Waveform


def _waveform(seconds: float) -> Waveform:
    rng = np.random.default_rng(0)
    return Waveform((0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000)


def test_short_speech_is_one_piece_with_margins() -> None:
    pieces = cut_at_pauses(_waveform(10.0), ((0.1, 3.0), (4.0, 9.0)))
    assert pieces == ((0.0, pytest.approx(9.3)),)


def test_long_speech_is_cut_in_its_longest_late_pause() -> None:
    segments = ((0.0, 5.0), (7.0, 12.0), (12.5, 16.0), (16.1, 19.0), (19.2, 30.0))
    pieces = cut_at_pauses(_waveform(31.0), segments)
    assert pieces == ((0.0, pytest.approx(12.25)), (pytest.approx(12.25), pytest.approx(30.3)))


def test_pauseless_speech_is_cut_where_it_is_quiet() -> None:
    samples = _waveform(50.0).samples.copy()
    samples[int(15.0 * 16_000) : int(15.2 * 16_000)] = 0
    pieces = cut_at_pauses(Waveform(samples, 16_000), ((0.0, 50.0),))
    assert 15.0 < pieces[0][1] < 15.2
    assert pieces[0][0] == 0.0
    assert pieces[-1][1] == 50.0
    assert all(end_s - start_s <= MAX_PIECE_S for start_s, end_s in pieces)
    assert [end_s for _, end_s in pieces[:-1]] == [start_s for start_s, _ in pieces[1:]]


_LONG = _waveform(600.0)
_SPEECH_AND_PAUSE_S = st.tuples(st.floats(0.1, 45.0), st.floats(0.04, 8.0))


@settings(max_examples=60, deadline=None)
@given(first_s=st.floats(0.0, 3.0), lengths_s=st.lists(_SPEECH_AND_PAUSE_S, min_size=1, max_size=12))
@example(first_s=0.0, lengths_s=[(0.1, 0.04)] * 12)
@example(first_s=0.0, lengths_s=[(20.0, 0.04), (20.001, 0.04), (45.0, 0.04)])
def test_speech_is_never_cut_unless_it_has_no_pause(first_s: float, lengths_s: list[tuple[float, float]]) -> None:
    segments: list[tuple[float, float]] = []
    start_s = first_s
    for speech_s, pause_s in lengths_s:
        segments.append((start_s, start_s + speech_s))
        start_s += speech_s + pause_s
    waveform = _part(min(start_s, 600.0))
    duration_s = float(waveform.duration_s)
    segments = [(start, min(end, duration_s)) for start, end in segments if start < duration_s]
    pieces = cut_at_pauses(waveform, tuple(segments))
    # In order, inside the sound, without overlap, and short enough for a recogniser.
    assert pieces[0][0] >= 0
    assert pieces[-1][1] <= duration_s + 1e-9
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(pieces))
    assert all(0 < end_s - start_s <= MAX_PIECE_S + 2 * MARGIN_S + 1e-9 for start_s, end_s in pieces)
    for start_s, end_s in segments:
        holding = [piece for piece in pieces if piece[0] < end_s - 1e-9 and piece[1] > start_s + 1e-9]
        # All of it is in pieces, without a hole.
        assert holding[0][0] <= start_s + 1e-9
        assert holding[-1][1] >= end_s - 1e-9
        assert all(before[1] == pytest.approx(after[0]) for before, after in pairwise(holding))
        if end_s - start_s <= MAX_PIECE_S:
            assert len(holding) == 1  # a cut lies in a pause
        else:
            cuts_s = [piece[1] for piece in holding[:-1]]
            assert all(MIN_PIECE_S <= b - a <= MAX_PIECE_S + 1e-9 for a, b in pairwise([start_s, *cuts_s]))


def _part(duration_s: float) -> Waveform:
    return Waveform(_LONG.samples[: max(1, round(duration_s * 16_000))], 16_000)


def test_no_speech_no_pieces() -> None:
    assert cut_at_pauses(_waveform(1.0), ()) == ()
