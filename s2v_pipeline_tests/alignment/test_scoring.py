from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.phonemes import ARPABET, SILENCE
from s2v_pipeline.alignment.scoring import VISEMES, fold_phone, fold_truth, pooled, score


def _table(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["phone", "start_s", "end_s"])


_TRUTH = _table(("SIL", 0.0, 0.2), ("K", 0.2, 0.3), ("AE", 0.3, 0.5), ("T", 0.5, 0.6), ("SIL", 0.6, 1.0))


def test_the_truth_itself_is_perfect() -> None:
    result = score(_TRUTH, _TRUTH)
    assert np.array_equal(result.errors_s, np.zeros(4))
    assert (result.n_true, result.n_edits, result.viseme_accuracy, result.all_viseme_accuracy) == (3, 0, 1.0, 1.0)
    assert (result.frames, result.all_frames) == (10, 25)


def test_starts_and_the_last_end_are_boundaries_and_silence_is_none() -> None:
    found = _table(("K", 0.21, 0.28), ("AE", 0.28, 0.5), ("SIL", 0.5, 0.53), ("T", 0.53, 0.64), ("SIL", 0.64, 1.0))
    result = score(_TRUTH, found)
    assert result.errors_s == pytest.approx([0.01, -0.02, 0.03, 0.04])
    assert result.n_edits == 0


def test_wrong_phones_are_edits_and_have_no_boundary() -> None:
    found = _table(("G", 0.2, 0.3), ("AE", 0.31, 0.5), ("S", 0.5, 0.55), ("T", 0.55, 0.6))
    result = score(_TRUTH, found)
    assert result.errors_s == pytest.approx([0.01, 0.05, 0.0])
    assert result.n_edits == 2
    assert result.phone_error_rate == pytest.approx(2 / 3)


def test_times_decide_between_equal_ways() -> None:
    truth = _table(("N", 0.0, 0.1), ("N", 0.4, 0.5))
    assert score(truth, _table(("N", 0.41, 0.5))).errors_s == pytest.approx([0.01, 0.0])
    assert score(truth, _table(("N", 0.01, 0.1))).errors_s == pytest.approx([0.01, -0.4])


def test_nothing_found() -> None:
    result = score(_TRUTH, _table(("SIL", 0.0, 1.0)))
    assert result.errors_s.size == 0
    assert (result.n_edits, result.viseme_accuracy) == (3, 0.0)
    assert result.all_viseme_accuracy == pytest.approx(15 / 25)


def test_visemes_are_read_in_the_middle_of_frames() -> None:
    # Frames 5 to 14 are speech; the middle of frame 7 is 0.30 s, where AE begins.
    found = _table(("SIL", 0.0, 0.2), ("K", 0.2, 0.31), ("AE", 0.31, 0.5), ("T", 0.5, 0.6), ("SIL", 0.6, 1.0))
    assert score(_TRUTH, found).frames_right == 9
    alike = found.assign(phone=["SIL", "G", "EH", "D", "SIL"], start_s=_TRUTH["start_s"], end_s=_TRUTH["end_s"])
    assert score(_TRUTH, alike).viseme_accuracy == 1.0
    assert score(_TRUTH, alike).n_edits == 3


def test_pooled_boundaries_count_alike() -> None:
    one = score(_TRUTH, _TRUTH)
    other = score(_TRUTH, _table(("SIL", 0.0, 1.0)))
    both = pooled([one, other])
    assert both is not None
    assert (both.errors_s.size, both.phone_error_rate, both.viseme_accuracy) == (4, 0.5, 0.5)
    assert pooled([]) is None


def test_every_phone_has_a_viseme() -> None:
    assert set(VISEMES) == ARPABET | {SILENCE}
    assert len(set(VISEMES.values())) == 15


@pytest.mark.parametrize(
    ("label", "phone"),
    [
        ("AH0", "AH"),
        ("ih1", "IH"),
        (" Sil ", "SIL"),
        ("", "SIL"),
        ("sp", "SIL"),
        ("pau", "SIL"),
        ("h#", "SIL"),
        ("spn", "SIL"),
        ("ax", "AH"),
        ("axr", "ER"),
        ("dx", "D"),
        ("tcl", "T"),
        ("AY1_B", "AY"),
        ("XX", None),
        ("ə", None),
    ],
)
def test_labels_are_folded(label: str, phone: str | None) -> None:
    assert fold_phone(label) == phone


def test_a_closure_is_one_phone_with_its_release() -> None:
    timit = _table(
        *(("h#", 0.0, 0.1), ("bcl", 0.1, 0.15), ("b", 0.15, 0.17), ("ix", 0.17, 0.2), ("tcl", 0.2, 0.24)),
        *(("ch", 0.24, 0.3), ("kcl", 0.3, 0.35), ("tcl", 0.35, 0.4), ("t", 0.4, 0.42)),
    )
    folded = fold_truth(timit)
    assert list(folded["phone"]) == ["SIL", "B", "IH", "CH", "K", "T"]
    assert list(folded["start_s"]) == [0.0, 0.1, 0.17, 0.2, 0.3, 0.35]
    assert list(folded["end_s"]) == [0.1, 0.17, 0.2, 0.3, 0.35, 0.42]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (_table(("K", 0.0, 0.1)).drop(columns="end_s"), "missing: end_s"),
        (_table(("K", 0.0, 0.1), ("ʃ", 0.1, 0.2)), "ʃ"),
        (_table(("K", 0.2, 0.1)), "before it starts"),
        (_table(("K", float("nan"), 0.1)), "finite"),
        (_table(("sp", 0.0, 0.1)), "other than silence"),
        (pd.DataFrame({"phone": ["K"], "start_s": ["zero"], "end_s": ["1"]}), "zero"),
    ],
)
def test_a_truth_that_cannot_be_used(table: pd.DataFrame, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fold_truth(table)
