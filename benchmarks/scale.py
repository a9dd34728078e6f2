"""Scale by simulation: the real queue of the warm workers, fake work, a virtual clock; and what one real run stores.

    python -m benchmarks.scale [--inputs 1000] [--chunks 20] [--workers 64] [--real]

The simulation takes turns by `cluster.fair_queue.FairQueue` itself. Simulated are the workers, the seconds of a chunk
(mean 60, standard deviation a fifth of it), and Dagster's run queue: at most so many runs at once, each 10 s before its
first chunk (analysis) and 5 s after its last (the video). `--real` makes one video of so many chunks on a real instance
and multiplies its event rows, its database bytes and its chunks' bytes by the inputs; nothing else is extrapolated.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

import dagster as dg

from benchmarks import overhead
from s2v_pipeline.cluster.fair_queue import FairQueue
from s2v_pipeline.defs.launch import Project

CHUNK_S = 60.0
SPREAD = 0.2
BEFORE_S = 10.0
AFTER_S = 5.0
SUBMIT_S = 0.17  # that Dagster takes to submit one run, measured


@dataclass(frozen=True)
class Wish:
    """One chunk that a run wants made."""

    run: str
    index: int
    seconds_s: float


class Queue(Protocol):
    """What the simulation asks of a queue; `FairQueue` has it."""

    def add(self, run: str, wish: Wish) -> None: ...

    def take(self, can_be: Callable[[Wish], bool]) -> Wish | None: ...


class FirstCome:
    """The order of arrival, for comparison."""

    def __init__(self) -> None:
        self._wishes: deque[Wish] = deque()

    def add(self, run: str, wish: Wish) -> None:
        del run
        self._wishes.append(wish)

    def take(self, can_be: Callable[[Wish], bool]) -> Wish | None:
        del can_be
        return self._wishes.popleft() if self._wishes else None


@dataclass(frozen=True)
class Video:
    """A run that will come."""

    name: str
    arrives_s: float
    chunks_s: tuple[float, ...]
    chained: bool = False


@dataclass
class Outcome:
    """When each run's first chunk began and its last ended, from its arrival; what the workers did."""

    first_s: dict[str, float] = field(default_factory=dict)
    done_s: dict[str, float] = field(default_factory=dict)
    busy_s: float = 0.0
    makespan_s: float = 0.0
    n_turns: int = 0
    turns_wall_s: float = 0.0


def simulate(videos: list[Video], queue: Queue, n_workers: int, most_runs: int, before_s: float) -> Outcome:
    """Discrete events in order of their time; equal times in order of their making."""
    outcome, ticket = Outcome(), itertools.count()
    events: list[tuple[float, int, str, Video, int]] = []
    waiting: deque[Video] = deque()
    left = {video.name: len(video.chunks_s) for video in videos}
    by_name = {video.name: video for video in videos}
    n_running, n_free = 0, n_workers

    def later(at_s: float, what: str, video: Video, index: int = 0) -> None:
        heapq.heappush(events, (at_s, next(ticket), what, video, index))

    def wish(video: Video, index: int) -> None:
        queue.add(video.name, Wish(video.name, index, video.chunks_s[index]))

    for video in videos:
        later(video.arrives_s, "arrives", video)
    while events:
        now_s, _, what, video, index = heapq.heappop(events)
        if what == "arrives":
            waiting.append(video)
        elif what == "ready":
            for each in range(1 if video.chained else len(video.chunks_s)):
                wish(video, each)
        elif what == "made":
            n_free += 1
            left[video.name] -= 1
            if video.chained and index + 1 < len(video.chunks_s):
                wish(video, index + 1)
            if not left[video.name]:
                outcome.done_s[video.name] = now_s - video.arrives_s
                later(now_s + AFTER_S, "ends", video)
        else:
            n_running -= 1
            outcome.makespan_s = max(outcome.makespan_s, now_s)
        while waiting and n_running < most_runs:
            n_running += 1
            later(now_s + before_s, "ready", waiting.popleft())
        while n_free:
            began_at = time.perf_counter()
            turn = queue.take(lambda _: True)
            outcome.turns_wall_s += time.perf_counter() - began_at
            if turn is None:
                break
            n_free -= 1
            outcome.n_turns += 1
            outcome.busy_s += turn.seconds_s
            outcome.first_s.setdefault(turn.run, now_s - by_name[turn.run].arrives_s)
            later(now_s + turn.seconds_s, "made", by_name[turn.run], turn.index)
    assert len(outcome.done_s) == len(videos)
    return outcome


def chunk_times(random: Random, n_chunks: int) -> tuple[float, ...]:
    return tuple(max(1.0, random.gauss(CHUNK_S, CHUNK_S * SPREAD)) for _ in range(n_chunks))


def many_inputs(n_inputs: int, n_chunks: int, n_workers: int) -> Iterator[str]:
    """Utilisation of the workers, by chain and by how many runs Dagster lets in at once."""
    yield "| chunks of a video | runs at once | utilisation | hours | seconds of the queue a turn |"
    yield "|---|---|---|---|---|"
    for chained in (False, True):
        for most_runs in (2, n_workers // 2, n_workers, n_workers * 5 // 4, n_workers * 2):
            random = Random(1)  # noqa: S311 (not for secrets)
            videos = [
                Video(f"{each}", each * SUBMIT_S, chunk_times(random, n_chunks), chained) for each in range(n_inputs)
            ]
            found = simulate(videos, FairQueue(), n_workers, most_runs, BEFORE_S)
            yield (
                f"| {'one after another' if chained else 'independent'} | {most_runs} "
                f"| {found.busy_s / (n_workers * found.makespan_s):.1%} | {found.makespan_s / 3600:.2f} "
                f"| {found.turns_wall_s / found.n_turns:.6f} |"
            )


def drafts_behind_a_long_one() -> Iterator[str]:
    """Ten drafts of two chunks of 5 s, half a minute after a video of 200 chunks of a minute; 4 workers."""
    yield "| order | draft waits for its first chunk, median / worst s | draft is done, median / worst s | long one h |"
    yield "|---|---|---|---|"
    for name, queue in (("fair", FairQueue[Wish]()), ("first come", FirstCome())):
        long_one = Video("long", 0.0, (CHUNK_S,) * 200)
        drafts = [Video(f"draft {each}", 30.0, (5.0, 5.0)) for each in range(10)]
        found = simulate([long_one, *drafts], queue, 4, 11, 0.0)
        first = sorted(found.first_s[draft.name] for draft in drafts)
        done = sorted(found.done_s[draft.name] for draft in drafts)
        yield (
            f"| {name} | {first[5]:.0f} / {first[-1]:.0f} | {done[5]:.0f} / {done[-1]:.0f} "
            f"| {found.done_s['long'] / 3600:.2f} |"
        )


def _bytes_of(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def one_real_run(n_chunks: int, n_inputs: int) -> Iterator[str]:
    """Event rows, database and chunk bytes of one run, and the same times the inputs."""
    with overhead.project("in_process") as project:
        home = project.folder / project.settings().settings.paths.dagster_home
        overhead.measure(project, 1)
        before = _bytes_of(home, "*")
        overhead.measure(project, n_chunks)
        bytes_per_run = _bytes_of(home, "*") - before
        n_rows = _event_rows(project)
        root = project.pipeline.store().root
        chunk_bytes = sum(_bytes_of(root / asset / f"chunks-{n_chunks}", "[0-9]*") for asset in overhead.CACHED)
    yield f"| of one run of {n_chunks} chunks (measured) | times {n_inputs} (multiplied) |"
    yield "|---|---|"
    yield f"| {n_rows} event rows | {n_rows * n_inputs / 1e6:.2f} million |"
    for n_bytes, what in (
        (bytes_per_run, "of Dagster's folder (SQLite, its logs)"),
        (chunk_bytes, "of chunks with records, 192x192, 0.48 s each"),
    ):
        yield f"| {n_bytes / 1e6:.2f} MB {what} | {n_bytes * n_inputs / 1e9:.1f} GB |"


def _event_rows(project: Project) -> int:
    with project.instance() as instance:
        (latest, *_) = instance.get_runs(dg.RunsFilter(), limit=1)
        return len(instance.all_logs(latest.run_id))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--real", action="store_true")
    flags = parser.parse_args()
    for line in (*many_inputs(flags.inputs, flags.chunks, flags.workers), "", *drafts_behind_a_long_one()):
        print(line, flush=True)
    if flags.real:
        print()
        for line in one_real_run(flags.chunks, flags.inputs):
            print(line, flush=True)


if __name__ == "__main__":
    main()
