# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.transcript import spoken_words

DICTIONARY = {"bbc", "'tis", "nasa", "dogs'"}


def _said(text: str) -> str:
    return " ".join(spoken_words(text, DICTIONARY.__contains__))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, world!", "hello world"),
        ("It’s a well-known “state-of-the-art” idea—really…", "it's a well known state of the art idea really"),
        ("'Tis the dogs' 'quoted' word", "'tis the dogs' quoted word"),
        ("Mr. and Mrs Smith, Dr. Jones", "mister and missus smith doctor jones"),
        ("21 Main St. near St. Paul's", "twenty one main street near saint paul's"),
        ("The Gov. said gov is a word", "the governor said gov is a word"),
        ("I am here, 5am to 3:30 p.m., 9:05, 9:00", "i am here five a m to three thirty p m nine oh five nine o'clock"),
        ("In 1984, 1,500 people", "in nineteen eighty four one thousand five hundred people"),
        ("In the 1990s or '90s", "in the nineteen nineties or nineties"),
        ("the 21st, 3.14 and 50%", "the twenty first three point one four and fifty percent"),
        ("$5.50, $1, $0.99, £20", "five dollars fifty cents one dollar ninety nine cents twenty pounds"),
        ("$1.5 million or $3k", "one point five million dollars or three thousand dollars"),
        ("1½ cups, 1/2, 3/4", "one and one half cups one half three quarters"),
        ("-5°C, 10 km, 1 km, 6 ft.", "minus five degrees celsius ten kilometers one kilometer six feet"),
        ("agent 007, 555-1234, 10–12", "agent zero zero seven five five five one two three four ten to twelve"),
        ("the BBC, NASA, ABC's, MPs, U.S. and MP3", "the bbc nasa a b c's m p's u s and m p three"),
        ("[applause] Thank <unk> you *laughs* & all", "thank you and all"),
        ("HELLO MR. SMITH", "hello mister smith"),
        ("café naïve", "cafe naive"),
        ("see example.com, #5", "see example dot com number five"),
        ("안녕하세요 !!! …", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_reading(text: str, said: str) -> None:
    assert _said(text) == said


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("aSt.Mr'’ 0123456789,:;/-–%$£°½²[]<>*&@#\n kmNo")))
def test_any_text_gives_plain_words(text: str) -> None:
    for word in spoken_words(text, DICTIONARY.__contains__):
        assert word.strip("'")
        assert set(word) <= set("abcdefghijklmnopqrstuvwxyz'")
