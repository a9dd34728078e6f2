from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.alignment.traced_text import TracedText


def test_what_a_replacement_stands_for() -> None:
    text = TracedText.of("pay $5 now").substituted(re.compile(r"\$(\d)"), lambda found: f"{found[1]} dollars")
    assert text.text == "pay 5 dollars now"
    assert text.span(4, 5) == text.span(6, 13) == (4, 6)  # "5" and "dollars" are "$5"
    assert text.span(14, 17) == (7, 10)
    again = text.substituted(re.compile("dollars now"), lambda _: "x")
    assert again.span(6, 7) == (4, 10)


def test_single_characters_keep_their_places() -> None:
    text = TracedText.of("aﬁb́c").with_each(re.compile(r"[^a-z]+"), {"ﬁ": "fi", "\u0301": ""}.__getitem__)
    assert text.text == "afibc"
    assert [text.span(at, at + 1) for at in range(5)] == [(0, 1), (1, 2), (1, 2), (2, 3), (4, 5)]


def test_insertion_and_the_ends() -> None:
    text = TracedText.of("1½").substituted(re.compile(r"(?<=1)"), lambda _: " and ")
    assert text.text == "1 and ½"
    assert text.span(2, 5) == (1, 1)
    assert text.span(7, 7) == (2, 2)
    assert TracedText.of("").span(0, 0) == (0, 0)


def test_offsets_must_be_as_many_as_characters() -> None:
    with pytest.raises(ValueError, match="2 characters need"):
        TracedText("ab", np.zeros(1, np.int32), np.zeros(1, np.int32))


@given(st.text("ab1-", max_size=30), st.lists(st.sampled_from(["a", "b+", "1-?", "-(?=a)", "(?<=b)"]), max_size=4))
def test_it_rewrites_as_re_does_and_places_never_go_back(source: str, patterns: list[str]) -> None:
    text, plain = TracedText.of(source), source
    for pattern in patterns:
        text = text.substituted(re.compile(pattern), lambda found: f"b{found[0]}a")
        plain = re.sub(pattern, lambda found: f"b{found[0]}a", plain)
    assert text.text == plain
    assert (np.diff(text.starts) >= 0).all()
    assert (np.diff(text.ends) >= 0).all()
    assert (text.starts <= text.ends).all()
