"""Who does what next, by the board's own code; workers are numbers with a speed, and time is counted."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from s2v_pipeline.cluster.chain_board import ChainBoard, amount_of, is_made


@dataclass(frozen=True)
class Played:
    """When all was done, and (worker, position) in the order in which tasks ended."""

    total_s: float
    done: tuple[tuple[int, int], ...]

    def by(self, worker: int) -> list[int]:
        return [position for each, position in self.done if each == worker]


def play(lengths: Sequence[int], seconds_each: Sequence[float], *, found: Sequence[int] = ()) -> Played:
    """Chains of tasks of equal amounts, done by workers that take so many seconds for one."""
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    chains = [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    board = ChainBoard(chains, [1.0] * sum(lengths))
    events: list[tuple[float, int, int]] = []
    done, now = list[tuple[int, int]](), 0.0
    free = set(range(len(seconds_each)))
    while len(done) < sum(lengths):
        for worker in sorted(free):
            position = board.next_for(worker)
            if position is not None:
                free.discard(worker)
                heapq.heappush(events, (now + (0.01 if position in found else seconds_each[worker]), worker, position))
        now, worker, position = heapq.heappop(events)
        done.append((worker, position))
        board.has_done(worker, position, None if position in found else seconds_each[worker])
        free.add(worker)
    for chain in chains:
        assert [position for _, position in done if position in chain] == list(chain), "in order within a chain"
    assert len({position for _, position in done}) == len(done), "nothing is done twice"
    return Played(now, tuple(done))


@pytest.mark.parametrize("slow_s", [2.0, 3.0, 5.0, 10.0])
@pytest.mark.parametrize("lengths", [(8, 8), (12, 4), (3, 3, 3, 3, 3, 3), (5, 4, 3, 2, 1)])
def test_unlike_workers_end_about_when_their_speeds_allow(lengths: tuple[int, ...], slow_s: float) -> None:
    played = play(lengths, [1.0, slow_s])
    n_tasks = sum(lengths)
    ideal_s = n_tasks / (1 + 1 / slow_s)
    halves_s = n_tasks / 2 * slow_s
    # Nobody can take a task away in its middle: one of the slow worker's at most is waited for.
    assert ideal_s - 1e-9 <= played.total_s <= ideal_s + slow_s + 1
    assert played.total_s < halves_s or halves_s <= ideal_s + slow_s + 1


def test_like_workers_keep_their_chains_whole() -> None:
    played = play((6, 3, 2, 2), [1.0, 1.2])
    for chain in (range(6), range(6, 9), range(9, 11), range(11, 13)):
        assert len({worker for worker, position in played.done if position in chain}) == 1


def test_who_is_free_takes_the_longest_that_nobody_has() -> None:
    played = play((2, 5, 4, 3), [1.0, 1.0])
    assert [played.by(0)[0], played.by(1)[0]] == [2, 7]
    assert [played.by(0)[-1], played.by(1)[-1]] == [1, 13]


def test_what_was_found_says_nothing_about_speed() -> None:
    # The slow worker finds its first chain; it must not pass for the fast one then.
    played = play((3, 4, 4), [10.0, 1.0], found=(3, 4, 5, 6))
    assert 3 in played.by(0)
    taken_over = [position for position in played.by(0) if position in range(7, 11)]
    assert len(taken_over) <= 1


def test_amounts_are_frames_where_a_task_has_any() -> None:
    @dataclass(frozen=True)
    class Task:
        n_frames: int

    @dataclass(frozen=True)
    class Result:
        made: bool

    board = ChainBoard([range(2), range(2, 3)], [amount_of(Task(3)), amount_of(Task(3)), amount_of(Task(80))])
    assert board.next_for(0) == 2
    assert board.next_for(1) == 0
    assert amount_of(object()) == 1
    assert [is_made(Result(True)), is_made(Result(False)), is_made(9)] == [True, False, True]
