"""How often a worker is asked whether it is done."""

from __future__ import annotations

import pytest

from s2v_pipeline.cluster.task_results import POLL_S, pause_s


def test_an_answer_of_milliseconds_is_seen_within_milliseconds() -> None:
    assert pause_s(0.0) <= 0.001
    assert pause_s(0.05) <= 0.001


@pytest.mark.parametrize("waited_s", [0.5, 3.0, 8.0])
def test_a_look_comes_at_most_a_hundredth_of_the_wait_too_late(waited_s: float) -> None:
    assert pause_s(waited_s) == pytest.approx(waited_s / 100)


def test_a_long_wait_is_looked_after_ten_times_a_second() -> None:
    assert pause_s(3600.0) == POLL_S
