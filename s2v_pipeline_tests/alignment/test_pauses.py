from __future__ import annotations

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.pauses import CLOSURE_S, start_after_pauses
from s2v_pipeline.media import Waveform

_SOUND = Waveform(np.zeros(48_000, np.float32), 16_000)
_SEGMENTS = ((0.2, 1.0), (1.5, 2.8))


def _table(phone: str, *, word_index: int = 1) -> pd.DataFrame:
    rows = [
        PhoneRow("AA", 0.2, 0.9, "a", 0, 0.5),
        PhoneRow(phone, 1.1, 1.6, "b", word_index, 0.5),
        PhoneRow("IY", 1.6, 2.8, "b", word_index, 0.5),
    ]
    return complete_table(rows, _SOUND.duration_s)


def test_a_first_phone_that_swallowed_a_pause_starts_with_the_speech() -> None:
    moved = start_after_pauses(_table("DH"), _SOUND, _SEGMENTS)
    assert moved.loc[moved["phone"] == "DH", "start_s"].item() == 1.5
    assert list(moved["phone"]) == ["SIL", "AA", "SIL", "DH", "IY", "SIL"]


def test_a_stop_keeps_its_closure() -> None:
    moved = start_after_pauses(_table("B"), _SOUND, _SEGMENTS)
    assert moved.loc[moved["phone"] == "B", "start_s"].item() == 1.5 - CLOSURE_S


def test_what_has_no_pause_in_it_stays() -> None:
    for segments in (((0.2, 2.8),), ((0.2, 1.0), (1.19, 2.8)), ((0.2, 1.0), (1.6, 2.8))):
        table = _table("DH")
        assert start_after_pauses(table, _SOUND, segments) is table


def test_a_phone_inside_a_word_stays() -> None:
    rows = [PhoneRow("AA", 0.2, 1.1, "at", 0, 0.5), PhoneRow("T", 1.1, 1.6, "at", 0, 0.5)]
    table = complete_table(rows, _SOUND.duration_s)
    assert start_after_pauses(table, _SOUND, _SEGMENTS) is table
