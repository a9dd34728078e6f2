from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.shared_words import shared_words

WORDS = st.lists(st.sampled_from("abcd"), max_size=16)


def _longest(first: list[str], second: list[str]) -> int:
    """Length of a longest common subsequence, by the textbook's table."""
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])
    return lengths[-1][-1]


@settings(max_examples=400, deadline=None)
@given(WORDS, WORDS)
def test_as_many_as_there_can_be_in_order(first: list[str], second: list[str]) -> None:
    pairs = shared_words(first, second)
    assert len(pairs) == _longest(first, second)
    assert all(first[a] == second[b] for a, b in pairs)
    assert all(before[0] < after[0] and before[1] < after[1] for before, after in pairwise(pairs))


def test_hours_of_words_with_a_passage_left_out() -> None:
    transcript = [f"w{number * number % 997}" for number in range(30_000)]
    said = [*transcript[100:14_000], *["ipa"] * 40, *transcript[14_500:29_900]]
    started_s = time.process_time()
    pairs = shared_words(said, transcript)
    assert len(pairs) == len(said) - 40
    assert time.process_time() - started_s < 20  # 1 s here; a table of all pairs would take minutes
