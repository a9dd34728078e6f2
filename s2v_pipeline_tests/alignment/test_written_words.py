# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.transcript import spoken_words
from s2v_pipeline.alignment.written_words import Closes, WrittenWord, placed_words, write_words
from s2v_pipeline_tests.alignment.spoken_tables import HOSTILE, is_word, table_of, written


def _said_for(transcript: str) -> list[tuple[str, str]]:
    return [(word.text, word.spoken) for word in written(transcript)[0]]


def test_numbers_money_times_and_abbreviations_are_shown_as_written() -> None:
    words, _ = written("Dr. Smith paid $5.50 at 3:30 p.m. in 1999.")
    assert [(word.text, word.spoken) for word in words] == [
        ("Dr.", "doctor"),
        ("Smith", "smith"),
        ("paid", "paid"),
        ("$5.50", "five dollars fifty cents"),
        ("at", "at"),
        ("3:30 p.m.", "three thirty p m"),
        ("in", "in"),
        ("1999.", "nineteen ninety nine"),
    ]
    assert words[3].start_s == pytest.approx(0.9)
    assert words[3].end_s == pytest.approx(2.1)  # from "five" to "cents"
    assert words[3].phones == "AA AA AA AA"


@pytest.mark.parametrize(
    ("transcript", "said_for"),
    [
        ("$1.5 million today", [("$1.5 million", "one point five million dollars"), ("today", "today")]),
        ("twenty-first, 21st", [("twenty-first,", "twenty first"), ("21st", "twenty first")]),
        ("well—you know...so", [("well—", "well"), ("you", "you"), ("know...", "know"), ("so", "so")]),
        ("5–7 people — all", [("5–7", "five to seven"), ("people —", "people"), ("all", "all")]),
        ("( Hello ) 🎉 world", [("( Hello ) 🎉", "hello"), ("world", "world")]),
        ("— Hello “ world”", [("— Hello", "hello"), ("“ world”", "world")]),
        ("Hello שלום עולם world", [("Hello שלום עולם", "hello"), ("world", "world")]),
        ("[laughs] Hello[cough]there <i>you</i> *nods*", [("Hello", "hello"), ("there", "there"), ("you", "you")]),
        ("1½ cups, the BBC", [("1½", "one and one half"), ("cups,", "cups"), ("the", "the"), ("BBC", "b b c")]),
        ("ﬁne caﬀé Ｘ", [("ﬁne", "fine"), ("caﬀé", "caffe"), ("Ｘ", "x")]),
        ("\ufeffIt’s\x00 \x1b[0m ok", [("It’s", "it's"), ("[0m", "zero m"), ("ok", "ok")]),
        ("שלום", []),
        ("...", []),
    ],
)  # fmt: skip
def test_which_words_are_said_for_which_writing(transcript: str, said_for: list[tuple[str, str]]) -> None:
    assert _said_for(transcript) == said_for


@pytest.mark.parametrize(
    ("transcript", "closes"),
    [
        ("Dr. Smith left. He, too", "NOTHING NOTHING SENTENCE CLAUSE SENTENCE"),
        ("J. Austen wrote etc. and more!", "NOTHING NOTHING NOTHING NOTHING NOTHING SENTENCE"),
        ("at 5 p.m. The end", "NOTHING NOTHING SENTENCE NOTHING SENTENCE"),
        ("at 5 p.m. the end", "NOTHING NOTHING NOTHING NOTHING SENTENCE"),
        ("“Well,” he said; “go!” 🎉 Then", "CLAUSE NOTHING CLAUSE SENTENCE SENTENCE"),
        ("a title\n\nthe text\nruns on", "NOTHING SENTENCE NOTHING NOTHING NOTHING SENTENCE"),
        ("so did I. we", "NOTHING NOTHING NOTHING SENTENCE"),
    ],
)
def test_what_closes_behind_a_word(transcript: str, closes: str) -> None:
    assert " ".join(word.closes.name for word in written(transcript)[0]) == closes


def test_words_that_are_not_said_have_no_time_and_recognised_ones_no_writing() -> None:
    transcript = "First we paid $20. Nobody says this part. Then we left."
    said = ["first", "we", "paid", "twenty", "dollars", "ðɪs", "wʌz", "then", "we", "left"]
    table, _ = table_of(said)
    speech = write_words(table, transcript, is_word)
    assert [word.text for word in speech.words] == ["First", "we", "paid", "$20.", "Then", "we", "left."]
    assert " ".join(speech.not_said) == "Nobody says this part."
    assert speech.word_of_placed == (0, 1, 2, 3, 3, -1, -1, 4, 5, 6)


def test_writing_of_which_only_a_part_is_placed_is_shown_whole() -> None:
    table, _ = table_of(["paid", "five", "dollars"])
    (_, money) = write_words(table, "paid $5.50", is_word).words
    assert (money.text, money.spoken) == ("$5.50", "five dollars")


def test_words_of_another_language_that_an_aligner_takes_as_they_are_spelled() -> None:
    table, _ = table_of(["schöne", "grüße", "für", "alle"])
    speech = write_words(table, "Schöne Grüße (für alle)!", is_word)
    assert [word.text for word in speech.words] == ["Schöne", "Grüße", "(für", "alle)!"]


def test_without_a_transcript_nothing_is_written() -> None:
    table, _ = table_of(["ðɪs", "ɪz"])
    for transcript in (None, "", "  \n"):
        speech = write_words(table, transcript, is_word)
        assert speech.words == ()
        assert [word.spoken for word in speech.placed] == ["ðɪs", "ɪz"]
    silent = complete_table([], Fraction(1))
    assert write_words(silent, "Hello.", is_word).placed == ()


def test_silence_inside_a_word_belongs_to_it() -> None:
    rows = [
        PhoneRow("P", 0.0, 0.1, "pa", 0, 0.9),
        PhoneRow("SIL", 0.1, 0.3),
        PhoneRow("AA", 0.3, 0.6, "pa", 0, 0.3),
        PhoneRow("P", 0.6, 0.7, "pa", 1, 0.5),
    ]
    first, second = placed_words(complete_table(rows, Fraction(1)))
    assert (first.start_s, first.end_s, first.phones) == (0.0, 0.6, "P AA")
    assert first.confidence == pytest.approx((0.9 * 0.1 + 0.3 * 0.3) / 0.4)
    assert (second.start_s, second.phones) == (0.6, "P")


def test_a_written_word_needs_text_and_a_span() -> None:
    with pytest.raises(ValueError, match="needs text and a span"):
        WrittenWord(" ", " ", Closes.NOTHING, "a", 0.0, 1.0, 0.5, "AA")
    with pytest.raises(ValueError, match="needs text and a span"):
        WrittenWord("a", " ", Closes.NOTHING, "a", 1.0, 1.0, 0.5, "AA")


def test_hostile_text_is_shown_without_what_cannot_be() -> None:
    words, _ = written(HOSTILE)
    shown = " ".join(word.text for word in words)
    assert not any(ord(sign) < 32 or sign in "\u2028\u202e\u2066" for sign in shown)
    for gone in ("<i>", "{", "applause"):
        assert gone not in shown
    for kept in ("שלום עולם مرحبا 🎉👩‍👩‍👧", "R&D", "“quoted”", '"double"', "&amp;", "six."):
        assert kept in shown


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        st.sampled_from("aSt.Mr'’ 0123456789,:;/-–—%$£°½²[]<>*&@#(\n kmNoé🎉ש\u2026"),
        max_size=60,
    ),
    st.data(),
)
def test_all_writing_is_there_once_and_in_order(transcript: str, data: st.DataObject) -> None:
    said = spoken_words(transcript, is_word)
    kept = [word for word in said if data.draw(st.integers(0, 3))]
    if not kept:
        return
    table, _ = table_of(kept)
    speech = write_words(table, transcript, is_word)
    letters = iter(transcript)
    for word in speech.words:  # a subsequence of the transcript
        assert all(sign in letters for sign in word.text if not sign.isspace())
    starts_s = [word.start_s for word in speech.words]
    assert starts_s == sorted(starts_s)
    assert " ".join(word.spoken for word in speech.words) == " ".join(kept)
