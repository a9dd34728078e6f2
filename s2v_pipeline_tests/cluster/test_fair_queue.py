"""Runs take turns."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.cluster.fair_queue import FairQueue


def test_runs_take_turns_however_much_one_wishes() -> None:
    queue: FairQueue[str] = FairQueue()
    for index in range(3):
        queue.add("long", f"long {index}")
    for run in ("a", "b"):
        queue.add(run, run)
    assert list(queue) == ["long 0", "a", "b", "long 1", "long 2"]
    assert [queue.take(lambda _: True) for _ in range(6)] == ["long 0", "a", "b", "long 1", "long 2", None]


def test_what_cannot_be_now_keeps_its_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for run in ("a", "b", "c"):
        queue.add(run, run)
    assert queue.take(lambda wish: wish != "a") == "b"
    queue.add("b", "b again")
    assert [queue.take(lambda _: True) for _ in range(3)] == ["a", "c", "b again"]


def test_a_wish_is_forgotten() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("a", "1")
    queue.add("a", "2")
    queue.remove("a", "1")
    queue.remove("a", "never there")
    queue.remove("nobody", "2")
    assert (len(queue), list(queue)) == (1, ["2"])


@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_no_run_waits_for_more_than_one_task_of_each_other(n_tasks: list[int], chance: random.Random) -> None:
    # As runs do: each asks for its next task when the one before is done.
    queue: FairQueue[int] = FairQueue()
    left = dict(enumerate(n_tasks))
    waited = dict.fromkeys(left, 0)
    for run in chance.sample(list(left), len(left)):
        queue.add(str(run), run)
    while (run := queue.take(lambda _: True)) is not None:
        assert waited[run] < len(n_tasks)
        waited = {other: 0 if other == run else waited[other] + 1 for other in waited}
        left[run] -= 1
        if left[run]:
            queue.add(str(run), run)
    assert set(left.values()) == {0}
