from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.captions import (
    LEAST_MS,
    LINE_SIGNS,
    MOST_LINES,
    MOST_MS,
    SIGNS_PER_S,
    Caption,
    n_cut_words,
    phrase_captions,
    word_captions,
)
from s2v_pipeline.alignment.transcript import spoken_words
from s2v_pipeline.alignment.written_words import Closes, WrittenWord, write_words
from s2v_pipeline_tests.alignment.spoken_tables import HOSTILE, is_word, table_of, written

STORY = (
    "Dr. Smith paid $5.50 at 3:30 p.m. in 1999. “Well—you know, it's a state-of-the-art idea,” he said; and everybody "
    "who was in the room agreed with him at once, because nobody in that company of some twenty-odd people had ever "
    "heard anything like it before. Yes. No! 1,500 people were there, and all of them left."
)


def _words(spans: Sequence[tuple[str, int, int]], closes: Sequence[Closes] = ()) -> list[WrittenWord]:
    """(text, start_ms, end_ms) as words."""
    ends = list(closes) or [Closes.NOTHING] * len(spans)
    return [
        WrittenWord(text, " ", end, "x", start_ms / 1000, end_ms / 1000, 0.5, "AA")
        for (text, start_ms, end_ms), end in zip(spans, ends, strict=True)
    ]


def _signs(texts: Sequence[str]) -> str:
    return "".join("".join(texts).split())


def _check(captions: Sequence[Caption], duration_s: Fraction) -> None:
    """What holds for every file of captions."""
    for before, after in pairwise(captions):
        assert before.end_ms <= after.start_ms
    for each in captions:
        assert 0 <= each.start_ms < each.end_ms <= duration_s * 1000
        assert len(each.lines) <= MOST_LINES
        assert all(len(line) <= LINE_SIGNS for line in each.lines)


def test_sentences_and_clauses_stand_together() -> None:
    words, duration_s = written(STORY)
    captions = phrase_captions(words, duration_s)
    _check(captions, duration_s)
    assert [" / ".join(each.lines) for each in captions] == [
        "Dr. Smith paid $5.50 at 3:30 p.m. in 1999.",
        "“Well—you know, / it's a state-of-the-art idea,” he said;",
        "and everybody who was in the / room agreed with him at once,",
        "because nobody in that company",
        "of some twenty-odd people had ever / heard anything like it before.",
        "Yes. No! 1,500 people were there, / and all of them left.",  # "Yes. No!" alone would have 0.6 s
    ]


def test_a_caption_stays_long_enough_to_be_read_where_there_is_time() -> None:
    words = _words([("Yes.", 500, 700), ("A" * 40, 6000, 6300), ("B" * 40, 6300, 6400)], [Closes.SENTENCE] * 3)
    captions = phrase_captions(words, Fraction(20))
    assert (captions[0].start_ms, captions[0].end_ms) == (500, 500 + LEAST_MS)
    assert captions[1].end_ms - captions[1].start_ms == 1000 * 80 // SIGNS_PER_S  # said in 0.4 s


def test_the_last_word_before_the_end_comes_earlier_rather_than_too_short() -> None:
    (only,) = phrase_captions(_words([("Bye.", 9700, 10_000)]), Fraction(10))
    assert (only.start_ms, only.end_ms) == (9200, 10_000)


def test_a_word_that_is_held_too_long_does_not_stay_on_screen() -> None:
    (only,) = phrase_captions(_words([("Hello", 0, 30_000)]), Fraction(30))
    assert only.end_ms == MOST_MS


def test_long_pauses_and_line_ends_behind_leaning_words_are_avoided() -> None:
    first, second = phrase_captions(_words([("one", 0, 400), ("two", 4000, 4400)]), Fraction(6))
    assert (first.lines, second.lines) == (("one",), ("two",))
    words, duration_s = written("everybody remembered walking past the enormous red building")
    (both,) = phrase_captions(words, duration_s)
    assert not both.lines[0].endswith(" the")


@pytest.mark.parametrize(
    ("word", "lines"),
    [
        ("x" * 42, ("x" * 42,)),
        ("x" * 50, ("x" * 42, "x" * 8)),
        ("x" * 84, ("x" * 42, "x" * 42)),
        ("x" * 10_000, ("x" * 42, "x" * 41 + "…")),
    ],
)
def test_a_word_longer_than_a_line_stands_alone(word: str, lines: tuple[str, ...]) -> None:
    words = _words([("so", 0, 300), (word, 300, 900), ("it", 900, 1200)])
    captions = phrase_captions(words, Fraction(3))
    _check(captions, Fraction(3))
    assert lines in [each.lines for each in captions] or lines == ("x" * 42,)
    assert n_cut_words(words) == (len(word) > 84)
    assert word_captions(words, Fraction(3))[1].lines == lines


def test_words_one_by_one_last_as_long_as_they_are_said() -> None:
    words, duration_s = written("He paid $5.50, then left.")
    captions = word_captions(words, duration_s)
    _check(captions, duration_s)
    assert [each.lines for each in captions] == [("He",), ("paid",), ("$5.50,",), ("then",), ("left.",)]
    assert [(each.start_ms, each.end_ms) for each in captions][:3] == [(0, 300), (300, 600), (600, 1800)]


def test_nothing_said_nothing_shown() -> None:
    assert phrase_captions((), Fraction(3)) == word_captions((), Fraction(3)) == ()


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "lines"), [(5, 5, ("a",)), (0, 5, ()), (0, 5, ("a\nb",)), (0, 5, (" ",))]
)
def test_what_is_no_caption(start_ms: int, end_ms: int, lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="needs time and whole lines"):
        Caption(start_ms, end_ms, lines)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "the", "Mr.", "word,", "longer-word", "end.", "3:30 p.m.", "שלום", "🎉", "x" * 30]),
            st.integers(10, 1500),  # length, ms
            st.sampled_from([0, 0, 0, 50, 400, 2500]),  # pause before it, ms
            st.sampled_from(list(Closes)),
        ),
        max_size=40,
    ),
    st.integers(0, 3000),
)
def test_any_words_give_captions_within_the_limits(parts: list[tuple[str, int, int, Closes]], behind_ms: int) -> None:
    spans: list[tuple[str, int, int]] = []
    time_ms = 0
    for text, length_ms, pause_ms, _ in parts:
        spans.append((text, time_ms + pause_ms, time_ms + pause_ms + length_ms))
        time_ms += pause_ms + length_ms
    words = _words(spans, [closes for *_, closes in parts])
    duration_s = Fraction(time_ms + behind_ms, 1000)
    for captions in (phrase_captions(words, duration_s), word_captions(words, duration_s)):
        _check(captions, duration_s)
        assert _signs([line for each in captions for line in each.lines]) == _signs([text for text, *_ in spans])
    phrases = phrase_captions(words, duration_s)
    wholes = {part for text, *_ in spans for part in text.split()}
    assert all(set(line.split()) <= wholes for each in phrases for line in each.lines)
    for before, each, after in zip([None, *phrases], phrases, [*phrases[1:], None], strict=False):
        shown_ms = each.end_ms - each.start_ms
        assert shown_ms <= MOST_MS
        if shown_ms < LEAST_MS:  # there is no room: behind it, nor before it within half a second
            next_ms = after.start_ms if after else duration_s * 1000
            assert next_ms - each.end_ms <= 40
            spoken_ms = next(start for _, start, _ in spans if start >= each.start_ms)
            assert spoken_ms - each.start_ms == 500 or each.start_ms - (before.end_ms if before else -40) <= 40


def test_hostile_text_keeps_the_limits() -> None:
    words, duration_s = written(HOSTILE)
    for captions in (phrase_captions(words, duration_s), word_captions(words, duration_s)):
        _check(captions, duration_s)
        assert _signs([line for each in captions for line in each.lines]) == _signs([word.text for word in words])


def test_hours_of_speech_take_seconds() -> None:
    transcript = f"{STORY} " * 400
    spoken = spoken_words(transcript, is_word)
    table, duration_s = table_of(spoken)
    started_s = time.process_time()
    words = write_words(table, transcript, is_word).words
    captions = phrase_captions(words, duration_s)
    took_s = time.process_time() - started_s
    assert duration_s > 2 * 3600
    assert len(captions) > 2000
    assert took_s < 30  # 4 s here; growth with the square of the length would take an hour
