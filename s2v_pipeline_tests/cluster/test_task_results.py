"""How often a worker is asked whether it is done, and what is said of its errors."""

from __future__ import annotations

import pytest

from s2v_pipeline.cluster.task_results import POLL_S, first_words, pause_s


def test_an_answer_of_milliseconds_is_seen_within_milliseconds() -> None:
    assert pause_s(0.0) <= 0.001
    assert pause_s(0.05) <= 0.001


@pytest.mark.parametrize("waited_s", [0.5, 3.0, 8.0])
def test_a_look_comes_at_most_a_hundredth_of_the_wait_too_late(waited_s: float) -> None:
    assert pause_s(waited_s) == pytest.approx(waited_s / 100)


def test_a_long_wait_is_looked_after_ten_times_a_second() -> None:
    assert pause_s(3600.0) == POLL_S


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n The peer is gone.\nmore", "The peer is gone."),
        ("", "no words"),
        (
            "NCCL error in: C.cpp:93, invalid usage\nncclInvalidUsage: invalid usage.\nLast error:\nDuplicate GPU\n",
            "NCCL error in: C.cpp:93, invalid usage (Duplicate GPU)",
        ),
        ("NCCL error in: C.cpp:93\nLast error:\n", "NCCL error in: C.cpp:93"),
    ],
)
def test_an_error_is_said_in_one_line_with_its_reason(text: str, words: str) -> None:
    assert first_words(RuntimeError(text)) == f"RuntimeError: {words}"
