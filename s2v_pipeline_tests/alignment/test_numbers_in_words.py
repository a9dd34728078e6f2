from __future__ import annotations

import pytest

from s2v_pipeline.alignment.numbers_in_words import LARGEST, cardinal, decade, decimal, ordinal, year


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (19, "nineteen"),
        (40, "forty"),
        (101, "one hundred one"),
        (999, "nine hundred ninety nine"),
        (1000, "one thousand"),
        (1_234_567, "one million two hundred thirty four thousand five hundred sixty seven"),
        (10**12 + 1, "one trillion one"),
        (LARGEST + 1, "one" + " zero" * 15),
    ],
)
def test_cardinal(number: int, words: str) -> None:
    assert cardinal(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "first"), (2, "second"), (12, "twelfth"), (20, "twentieth"), (21, "twenty first"), (100, "one hundredth")],
)
def test_ordinal(number: int, words: str) -> None:
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1984, "nineteen eighty four"),
        (1900, "nineteen hundred"),
        (1905, "nineteen oh five"),
        (2007, "two thousand seven"),
        (2024, "twenty twenty four"),
    ],
)
def test_year(number: int, words: str) -> None:
    assert year(number) == words


def test_decades_and_decimals() -> None:
    assert (decade(1990), decade(90), decade(2000)) == ("nineteen nineties", "nineties", "two thousands")
    assert decimal(3, "05") == "three point zero five"


def test_negative_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        cardinal(-1)
