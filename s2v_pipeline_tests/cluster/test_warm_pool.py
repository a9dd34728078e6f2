"""Who gets which worker, by the pool's own code with a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.cluster.warm_pool import Grant, WarmPool, Wish


class NoAnswerError(Exception):
    pass


@dataclass
class World:
    """A cluster of some GPUs, in which time passes as the test says."""

    n_gpus: int = 1
    by_node: dict[str, int] = field(default_factory=dict)
    now: float = 0.0
    ended: list[str] = field(default_factory=list)
    n_asked: int = 0
    is_deaf: bool = False

    def end(self, name: str, n_ranks: int) -> None:
        if self.is_deaf:
            raise NoAnswerError("no answer")
        self.ended.append(f"{name}/{n_ranks}")

    def pool(self) -> WarmPool:
        return WarmPool(
            "pool",
            count_gpus=lambda node_ids: sum(self.by_node[each] for each in node_ids) if node_ids else self.n_gpus,
            end_group=self.end,
            clock=lambda: self.now,
        )

    def ask(
        self,
        pool: WarmPool,
        run: str,
        key: str = "model",
        *,
        n: int = 1,
        is_split: bool = True,
        idle_s: float = 600,
        on: tuple[str, ...] = (),
        grow_to: int = 0,
    ) -> str:
        self.n_asked += 1
        ticket = f"{run} {self.n_asked}"
        pool.ask(
            Wish(ticket, run, key, "generator", GroupSize(n, 1), is_split, idle_s, node_ids=on, grow_to_gpus=grow_to)
        )
        return ticket


def granted(pool: WarmPool, ticket: str) -> Grant:
    grant = pool.beat(ticket)
    assert grant is not None
    return grant


def test_one_group_serves_runs_in_turn() -> None:
    world = World()
    pool = world.pool()
    tickets = {run: world.ask(pool, run) for run in ("long", "draft", "other")}
    first = granted(pool, tickets["long"])
    assert first.is_new
    assert pool.beat(tickets["draft"]) is None
    pool.give_back(tickets["long"], is_usable=True)
    again = world.ask(pool, "long")
    assert granted(pool, tickets["draft"]) == Grant(first.name, first.size, is_new=False)
    pool.give_back(tickets["draft"], is_usable=True)
    assert pool.beat(again) is None
    assert granted(pool, tickets["other"]).name == first.name
    pool.give_back(tickets["other"], is_usable=True)
    assert granted(pool, again).name == first.name
    assert world.ended == []


def test_a_chain_stays_with_its_group_where_several_are_idle() -> None:
    world = World(n_gpus=2)
    pool = world.pool()
    tickets = [world.ask(pool, "a"), world.ask(pool, "a")]
    names = [granted(pool, ticket).name for ticket in tickets]
    for ticket in tickets:
        pool.give_back(ticket, is_usable=True)
    for number, last in enumerate(reversed(names)):
        ticket = f"again {number}"
        pool.ask(Wish(ticket, "a", "model", "generator", GroupSize(1, 1), True, 600, last))
        assert granted(pool, ticket).name == last


def test_free_gpus_are_used_before_anyone_waits() -> None:
    world = World(n_gpus=2)
    pool = world.pool()
    names = {granted(pool, world.ask(pool, run)).name for run in ("a", "b")}
    assert len(names) == 2
    assert pool.beat(world.ask(pool, "c")) is None


def test_another_model_ends_the_one_that_is_idle_longest_but_not_between_two_chunks() -> None:
    world = World(n_gpus=2)
    pool = world.pool()
    old, new = world.ask(pool, "a", "old"), world.ask(pool, "b", "new")
    old_name, new_name = granted(pool, old).name, granted(pool, new).name
    pool.give_back(old, is_usable=True)
    world.now = 1.0
    pool.give_back(new, is_usable=True)
    third = world.ask(pool, "c", "third")
    assert pool.beat(third) is None, "the others may come for their next chunk"
    world.now = 2.5
    assert granted(pool, third).is_new
    assert world.ended == [f"{old_name}/1"]
    # The one that is left is not touched, and found by its key alone.
    assert granted(pool, world.ask(pool, "b", "new")).name == new_name


def test_a_run_with_another_model_does_not_wait_for_ever() -> None:
    world = World()
    pool = world.pool()
    other = ""
    for chunk in range(10):
        ticket = world.ask(pool, "long", "a")
        if chunk == 0:
            other = world.ask(pool, "other", "b")
        if (grant := pool.beat(other)) is not None:
            assert grant.is_new
            assert chunk == 6, "after a minute, by whose end the long one has made six"
            return
        granted(pool, ticket)
        world.now += 10
        pool.beat(other)
        pool.give_back(ticket, is_usable=True)
    raise AssertionError("never granted")


def test_what_is_not_split_goes_to_a_larger_group_of_its_model() -> None:
    world = World(n_gpus=4)
    pool = world.pool()
    ticket = world.ask(pool, "a", n=4)
    gang = granted(pool, ticket)
    pool.give_back(ticket, is_usable=True)
    clip = world.ask(pool, "a", n=1, is_split=False)
    assert granted(pool, clip) == Grant(gang.name, gang.size, is_new=False)
    pool.give_back(clip, is_usable=True)
    world.now = 5
    alone = granted(pool, world.ask(pool, "a", n=1))
    assert (alone.is_new, alone.size.n_ranks) == (True, 1)
    assert world.ended == [f"{gang.name}/4"]


def test_a_dead_run_loses_what_it_held_and_its_place() -> None:
    world = World()
    pool = world.pool()
    held = granted(pool, world.ask(pool, "dead"))
    world.ask(pool, "dead too")
    alive = world.ask(pool, "alive")
    world.now = 14
    assert pool.beat(alive) is None
    world.now = 16
    pool.tick()
    assert world.ended == [f"{held.name}/1"]
    assert granted(pool, alive).is_new
    assert [state.n_waiting for state in pool.status()] == [0]


def test_a_broken_group_is_ended_and_the_next_one_is_new() -> None:
    world = World()
    pool = world.pool()
    ticket = world.ask(pool, "a")
    name = granted(pool, ticket).name
    waiting = world.ask(pool, "b")
    pool.give_back(ticket, is_usable=False)
    assert world.ended == [f"{name}/1"]
    assert granted(pool, waiting).is_new
    # Given up before it was granted, and before the grant was heard of.
    for run in ("c", "d"):
        pool.give_back(world.ask(pool, run), is_usable=False)
    assert pool.status()[0].n_waiting == 0


def test_idle_groups_end_after_their_time() -> None:
    world = World()
    pool = world.pool()
    ticket = world.ask(pool, "a", idle_s=100)
    pool.give_back(ticket, is_usable=True)
    world.now = 99
    pool.tick()
    assert [(state.is_busy, state.seconds_s) for state in pool.status()] == [(False, 99)]
    pool.leave()
    world.now = 101
    pool.tick()
    assert pool.status() == []
    assert len(world.ended) == 1


def test_of_no_time_they_end_with_their_run() -> None:
    world = World()
    pool = world.pool()
    ticket = world.ask(pool, "a", idle_s=0)
    pool.give_back(ticket, is_usable=True)
    pool.tick()
    assert len(pool.status()) == 1, "the run's next step may want it"
    pool.leave()
    assert pool.status() == []


def test_gpus_of_hosts_that_are_too_small_are_no_room() -> None:
    world = World(n_gpus=3, by_node={"large": 1, "small": 2})
    pool = world.pool()
    first = granted(pool, world.ask(pool, "a", on=("large",)))
    assert first.is_new
    second = world.ask(pool, "b", "other", on=("large",))
    assert pool.beat(second) is None, "two GPUs are free, but where it does not fit"
    assert granted(pool, world.ask(pool, "c", "small model")).is_new


def test_a_group_counts_where_it_is_and_until_that_is_known_where_it_may_be() -> None:
    world = World(n_gpus=2, by_node={"large": 1, "small": 1})
    pool = world.pool()
    anywhere = world.ask(pool, "a", "small model")
    granted(pool, anywhere)
    wanting = world.ask(pool, "b", on=("large",))
    assert pool.beat(wanting) is None, "it may be there"
    pool.placed(anywhere, "small")
    assert granted(pool, wanting).is_new


def test_only_what_is_in_the_way_is_ended_and_the_fastest_idle_one_is_used() -> None:
    world = World(n_gpus=2, by_node={"fast": 1, "slow": 1})
    pool = world.pool()
    tickets = {node: world.ask(pool, node, on=(node,)) for node in ("slow", "fast")}
    names = {node: granted(pool, ticket).name for node, ticket in tickets.items()}
    for node, ticket in tickets.items():
        pool.placed(ticket, node)
        pool.give_back(ticket, is_usable=True)
    assert granted(pool, world.ask(pool, "next", on=("fast", "slow"))).name == names["fast"]
    world.now = 100.0
    assert granted(pool, world.ask(pool, "other", "other", on=("slow",))).is_new
    assert world.ended == [f"{names['slow']}/1"]


def test_a_wish_that_has_waited_lets_the_cluster_grow_as_far_as_it_may() -> None:
    world = World(n_gpus=1)
    pool = world.pool()
    first = world.ask(pool, "first", grow_to=2)
    granted(pool, first)
    world.ask(pool, "second", grow_to=2)
    world.ask(pool, "third", grow_to=2)
    assert pool.wanted() == [GroupSize(1, 1)]  # what is there
    world.now = 11.0
    assert pool.wanted() == [GroupSize(1, 1)] * 2  # not three: two GPUs are allowed


def test_a_cluster_without_a_gpu_grows_by_what_is_wished() -> None:
    world = World(n_gpus=0)
    pool = world.pool()
    ticket = world.ask(pool, "first", n=2, grow_to=4)
    world.now = 11.0
    assert pool.wanted() == [GroupSize(2, 1)]
    world.n_gpus = 2
    assert granted(pool, ticket).is_new
    assert pool.wanted() == [GroupSize(2, 1)]


def test_nothing_is_wanted_of_a_cluster_that_is_to_stay_as_it_is() -> None:
    world = World(n_gpus=0)
    pool = world.pool()
    world.ask(pool, "first")
    world.now = 11.0
    assert pool.wanted() == []


def test_when_nobody_works_or_waits_the_cluster_may_shrink() -> None:
    world = World(n_gpus=1)
    pool = world.pool()
    ticket = world.ask(pool, "first", grow_to=2)
    granted(pool, ticket)
    pool.give_back(ticket, is_usable=True)
    assert pool.wanted() == []


def test_a_group_that_cannot_be_ended_is_ended_later_and_no_wish_is_lost() -> None:
    world = World(n_gpus=1)
    pool = world.pool()
    first = world.ask(pool, "first")
    name = granted(pool, first).name
    pool.give_back(first, is_usable=True)
    world.now = 100.0
    world.is_deaf = True
    with pytest.raises(NoAnswerError):
        world.ask(pool, "second", "other")
    second = f"second {world.n_asked}"
    with pytest.raises(NoAnswerError):
        pool.beat(second)
    assert [state.is_busy for state in pool.status()] == [False]
    world.is_deaf = False
    assert granted(pool, second).is_new
    assert world.ended == [f"{name}/1"]


def test_what_a_dead_run_held_is_free_although_ray_does_not_answer() -> None:
    world = World(n_gpus=1)
    pool = world.pool()
    name = granted(pool, world.ask(pool, "dead", idle_s=0)).name
    world.now, world.is_deaf = 1000.0, True
    with pytest.raises(NoAnswerError):
        pool.tick()
    assert [state.is_busy for state in pool.status()] == [False]
    world.is_deaf = False
    pool.tick()
    assert world.ended == [f"{name}/1"]
    assert pool.status() == []
