from __future__ import annotations

from fractions import Fraction

import pytest

from s2v_pipeline.alignment.aligner import ALIGNMENT_COLUMNS, Alignment, PhoneRow, complete_table, mean_fit


def _rows(*rows: tuple[str, float, float]) -> list[tuple[str, float, float]]:
    table = complete_table(
        [PhoneRow(p, a, b, "" if p == "SIL" else "w", -1 if p == "SIL" else 0, 0.5) for p, a, b in rows], Fraction(1)
    )
    Alignment(table, "test")
    return list(table[["phone", "start_s", "end_s"]].itertuples(index=False, name=None))


def test_gaps_become_silence_up_to_the_exact_end() -> None:
    assert _rows(("AA", 0.2, 0.4), ("B", 0.6, 0.7)) == [
        ("SIL", 0.0, 0.2),
        ("AA", 0.2, 0.4),
        ("SIL", 0.4, 0.6),
        ("B", 0.6, 0.7),
        ("SIL", 0.7, 1.0),
    ]


def test_overlap_order_and_what_lies_outside() -> None:
    assert _rows(("B", 0.3, 1.2), ("AA", -0.1, 0.4), ("D", 0.35, 0.39), ("K", 1.1, 1.2)) == [
        ("AA", 0.0, 0.4),
        ("B", 0.4, 1.0),
    ]


def test_frame_grid_rests_go_to_their_neighbour_and_silences_join() -> None:
    assert _rows(("SIL", 0.1, 0.2), ("AA", 0.2, 0.5), ("B", 0.51, 0.995)) == [
        ("SIL", 0.0, 0.2),
        ("AA", 0.2, 0.51),
        ("B", 0.51, 1.0),
    ]


def test_nothing_is_silence() -> None:
    table = complete_table([], Fraction(1, 3))
    assert table.to_dict("records") == [
        dict(zip(ALIGNMENT_COLUMNS, ("SIL", 0.0, float(Fraction(1, 3)), "", -1, 0.0), strict=True))
    ]
    assert str(table["word_index"].dtype) == "int64"
    assert mean_fit(table) == 0.0


def test_fit_weighs_by_length() -> None:
    rows = [PhoneRow("AA", 0.0, 0.75, "w", 0, 0.8), PhoneRow("B", 0.75, 1.0, "w", 0, 0.2)]
    assert mean_fit(complete_table(rows, Fraction(1))) == pytest.approx(0.8**0.75 * 0.2**0.25)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("phone", "XX", "ARPABET"),
        ("end_s", 0.9, "gap"),
        ("word_index", -1, "word_index"),
        ("confidence", 1.5, "confidence"),
    ],
)
def test_tables_that_break_a_rule(column: str, value: object, message: str) -> None:
    rows = [PhoneRow("AA", 0.0, 0.5, "w", 0, 0.8), PhoneRow("B", 0.5, 1.0, "w", 0, 0.2)]
    table = complete_table(rows, Fraction(1))
    table[column] = [value, table[column].iloc[1]]
    with pytest.raises(ValueError, match=message):
        Alignment(table, "test")
