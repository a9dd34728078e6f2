"""The pool's thread goes on when Ray does not answer it: an autoscaler that fails cannot be had at will."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from s2v_pipeline.cluster import warm_pool, warm_pool_actor
from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.cluster.warm_pool import Wish


def test_an_autoscaler_that_does_not_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ray.exceptions import RayError

    asked: list[Sequence[GroupSize]] = []

    def fail_twice(sizes: Sequence[GroupSize]) -> None:
        asked.append(sizes)
        if len(asked) <= 2:
            raise RayError(["the head is busy\nmore", ""][len(asked) - 1])

    monkeypatch.setattr(warm_pool_actor, "_TICK_S", 86_400.0)  # time passes as the test says
    monkeypatch.setattr(warm_pool, "_GROW_AFTER_S", 0)
    monkeypatch.setattr(warm_pool_actor, "ask_autoscaler", fail_twice)
    monkeypatch.setattr(warm_pool_actor, "count_gpus", lambda node_ids: 0)
    monkeypatch.setattr(warm_pool_actor, "end_all_named", lambda prefix: 0)
    pool = warm_pool_actor.WarmPoolActor("pool")
    pool.ask(Wish("ticket", "run", "model", "generator", GroupSize(2, 1), is_split=True, idle_s=60, grow_to_gpus=2))
    for _ in range(4):
        pool.tick()
    assert asked == [[GroupSize(2, 1)]] * 3, "until it answers, and then no more"
    assert [record.getMessage() for record in caplog.records] == [
        f"Ray did not answer, it is asked again in a second: {reason}" for reason in ("the head is busy", "RayError")
    ]
