from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.weak_starts import LEAST_S, lengthen_weak_starts
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import NAMES, load

_SOUND = Waveform(np.zeros(16_000, np.float32), 16_000)


def _aligned(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return complete_table([PhoneRow(*row, word="w", word_index=0) for row in rows], _SOUND.duration_s)


def _starts_s(table: pd.DataFrame) -> list[float]:
    return [pytest.approx(start_s) for start_s in lengthen_weak_starts(table, _SOUND)["start_s"]]


def test_a_voiceless_consonant_after_a_pause_has_its_least_length() -> None:
    assert _starts_s(_aligned(("F", 0.4, 0.44), ("AA", 0.44, 1.0))) == [0.0, 0.44 - LEAST_S, 0.44]


def test_a_pause_between_words_keeps_half_of_itself() -> None:
    table = _aligned(("AA", 0.0, 0.3), ("K", 0.4, 0.43), ("AA", 0.43, 1.0))
    assert _starts_s(table) == [0.0, 0.3, 0.35, 0.43]


def test_a_short_first_pause_may_vanish() -> None:
    longer = lengthen_weak_starts(_aligned(("S", 0.03, 0.06), ("AA", 0.06, 1.0)), _SOUND)
    assert (list(longer["phone"]), list(longer["start_s"])) == (["S", "AA"], [0.0, 0.06])


@pytest.mark.parametrize(
    "rows",
    [
        (("V", 0.4, 0.44), ("AA", 0.44, 1.0)),  # has a voice
        (("AA", 0.2, 0.4), ("F", 0.4, 0.44), ("AA", 0.44, 1.0)),  # no pause before it
        (("SH", 0.3, 0.44), ("AA", 0.44, 1.0)),  # long enough
    ],
)
def test_all_else_stays(rows: tuple[tuple[str, float, float], ...]) -> None:
    table = _aligned(*rows)
    pd.testing.assert_frame_equal(lengthen_weak_starts(table, _SOUND), table)


def test_the_first_half_of_a_hiss_that_went_with_the_noise_is_given_back_in_denoised_sound_alone() -> None:
    known = load(NAMES[1])
    phones = list(known.truth["phone"])
    first = phones.index("F")
    assert phones[first : first + 3] == ["F", "AY", "N"]
    hiss, _, last = known.truth[first : first + 3].itertuples()
    fine = known.waveform.samples[round(hiss.start_s * 16_000) : round(last.end_s * 16_000)]
    n_lead, n_lost = 4_800, round((hiss.end_s - hiss.start_s) / 2 * 16_000)
    waveform = Waveform(np.concatenate([np.zeros(n_lead + n_lost, np.float32), fine[n_lost:]]), 16_000)
    segments = (((n_lead + n_lost) / 16_000, float(waveform.duration_s)),)
    plain, denoised = (
        align_speech(waveform, "Fine.", segments, is_denoised=is_denoised).phonemes for is_denoised in (False, True)
    )
    assert list(plain["phone"]) == list(denoised["phone"]) == ["SIL", "F", "AY", "N"]
    true_s = n_lead / 16_000
    assert plain["start_s"][1] - true_s > 0.03
    assert denoised["start_s"][1] == pytest.approx(true_s, abs=0.02)
