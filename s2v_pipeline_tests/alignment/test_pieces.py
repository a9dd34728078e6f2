from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.alignment.pieces import MAX_PIECE_S, cut_at_pauses
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


def test_no_speech_no_pieces() -> None:
    assert cut_at_pauses(_waveform(1.0), ()) == ()
