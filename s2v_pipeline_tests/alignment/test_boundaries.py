from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.boundaries import REACH_S, refine_boundaries
from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner
from s2v_pipeline.alignment.scoring import fold_truth, score
from s2v_pipeline.alignment.speech_edges import move_edges
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import NAMES, load

_RATE_HZ = 16_000


def _tones(*parts: tuple[float, float, float]) -> Waveform:
    """Sound of (length_s, frequency_hz, amplitude) parts over quiet noise."""
    tones = [
        amplitude * np.sin(2 * np.pi * hz * np.arange(round(length_s * _RATE_HZ)) / _RATE_HZ)
        for length_s, hz, amplitude in parts
    ]
    sound = np.concatenate(tones)
    return Waveform((sound + 1e-4 * np.random.default_rng(1).standard_normal(sound.size)).astype(np.float32), _RATE_HZ)


def _aligned(waveform: Waveform, *rows: tuple[str, float, float]) -> pd.DataFrame:
    return complete_table([PhoneRow(*row, word="w", word_index=0, confidence=0.5) for row in rows], waveform.duration_s)


def test_a_boundary_moves_to_where_the_sound_changes() -> None:
    sound = _tones((0.3, 400, 0.3), (0.3, 2500, 0.2))
    for guess_s in (0.28, 0.288, 0.312, 0.32):
        refined = refine_boundaries(_aligned(sound, ("AA", 0.0, guess_s), ("IY", guess_s, 0.6)), sound)
        assert refined["start_s"][1] == pytest.approx(0.3, abs=0.008)
        assert refined["end_s"][0] == refined["start_s"][1]


def test_a_boundary_moves_no_further_than_its_reach() -> None:
    sound = _tones((0.3, 400, 0.3), (0.3, 2500, 0.2))
    refined = refine_boundaries(_aligned(sound, ("AA", 0.0, 0.4), ("IY", 0.4, 0.6)), sound)
    assert 0.4 - REACH_S <= refined["start_s"][1] <= 0.4


def test_without_a_change_a_boundary_stays() -> None:
    sound = _tones((0.6, 400, 0.3))
    refined = refine_boundaries(_aligned(sound, ("AA", 0.0, 0.3), ("IY", 0.3, 0.6)), sound)
    assert refined["start_s"][1] == pytest.approx(0.3, abs=0.005)


def test_short_phones_stay_phones() -> None:
    sound = _tones((0.3, 400, 0.3), (0.3, 2500, 0.2))
    table = _aligned(sound, *(("AA", 0.01 * k, 0.01 * k + 0.01) for k in range(60)))
    refined = refine_boundaries(table, sound)
    assert (refined["end_s"] > refined["start_s"]).all()
    assert len(refined) == 60


def test_speech_reaches_as_far_as_its_level() -> None:
    sound = _tones((0.3, 100, 0.0), (0.4, 400, 0.3), (0.3, 100, 0.0))
    moved = move_edges(_aligned(sound, ("AA", 0.22, 0.5), ("IY", 0.5, 0.83)), sound)
    assert list(moved["phone"]) == ["SIL", "AA", "IY", "SIL"]
    assert moved["start_s"][1] == pytest.approx(0.3, abs=0.008)
    assert moved["end_s"][2] == pytest.approx(0.7, abs=0.008)


def test_a_pause_that_the_last_phone_swallowed_is_found() -> None:
    sound = _tones((0.5, 400, 0.3), (0.25, 100, 0.0))
    moved = move_edges(_aligned(sound, ("AA", 0.0, 0.3), ("IY", 0.3, 0.75)), sound)
    assert list(moved["phone"]) == ["AA", "IY", "SIL"]
    assert moved["end_s"][1] == pytest.approx(0.5, abs=0.008)


def test_a_release_after_a_closure_belongs_to_the_stop() -> None:
    sound = _tones((0.3, 400, 0.3), (0.06, 100, 0.0), (0.02, 3000, 0.1), (0.3, 100, 0.0))
    moved = move_edges(_aligned(sound, ("AA", 0.0, 0.3), ("T", 0.3, 0.55)), sound)
    assert moved["end_s"][1] == pytest.approx(0.38, abs=0.01)


def test_in_noise_as_loud_as_the_phone_edges_stay() -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal(_RATE_HZ)
    sound = Waveform(noise.astype(np.float32), _RATE_HZ)
    table = _aligned(sound, ("AA", 0.3, 0.5), ("IY", 0.5, 0.7))
    pd.testing.assert_frame_equal(move_edges(table, sound), table)


def test_digital_silence_and_the_shortest_sound() -> None:
    for n_samples in (1, 40, 8_000):
        sound = Waveform(np.zeros(n_samples, np.float32), _RATE_HZ)
        table = _aligned(sound, ("AA", 0.0, n_samples / _RATE_HZ))
        pd.testing.assert_frame_equal(refine_boundaries(move_edges(table, sound), sound), table)


@pytest.mark.parametrize("name", NAMES)
def test_known_speech_is_placed_more_exactly(name: str) -> None:
    known = load(name)
    truth = fold_truth(known.truth)
    coarse = PocketsphinxAligner().align(known.waveform, known.transcript).phonemes
    fine = refine_boundaries(move_edges(coarse, known.waveform), known.waveform)
    coarse_ms, fine_ms = (1000 * np.abs(score(truth, table).errors_s) for table in (coarse, fine))
    assert np.mean(fine_ms) <= 13.0
    assert np.mean(fine_ms) < np.mean(coarse_ms)
    assert list(fine.loc[fine["phone"] != "SIL", "phone"]) == list(coarse.loc[coarse["phone"] != "SIL", "phone"])
    assert fine["end_s"].iloc[-1] == float(known.waveform.duration_s)


def test_what_is_far_away_does_not_matter() -> None:
    known = load(NAMES[0])
    table = PocketsphinxAligner().align(known.waveform, known.transcript).phonemes
    before = np.zeros(2 * _RATE_HZ, np.float32)
    before[::7] = 0.9  # louder than the speech
    longer = Waveform(np.concatenate([before, known.waveform.samples]), _RATE_HZ)
    rows = [PhoneRow(*row)._replace(start_s=row[1] + 2.0, end_s=row[2] + 2.0) for row in table.itertuples(index=False)]
    shifted = complete_table([row for row in rows if row.phone != "SIL"], Fraction(longer.samples.size, _RATE_HZ))
    spoken = table["phone"] != "SIL"
    alone = refine_boundaries(table, known.waveform)[spoken]
    inside = refine_boundaries(shifted, longer)[shifted["phone"] != "SIL"]
    np.testing.assert_allclose(inside["start_s"].to_numpy() - 2.0, alone["start_s"].to_numpy(), atol=0.0021)
