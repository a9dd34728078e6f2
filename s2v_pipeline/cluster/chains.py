"""Chains of tasks on several workers at the same time: in order within a chain, in any order between them.

Belongs here: what happens to the others when one fails.
Does not belong here: which worker does which chain (chain_board), workers (gang, warm_worker), how many there may be
(ray_executor).

A worker waits for its tasks in a thread of its own; the thread that called does all else, so that interrupts and
`on_done` stay there.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from s2v_pipeline.cluster.chain_board import ChainBoard, amount_of, is_made
from s2v_pipeline.cluster.executor import ResultT, Task
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.task_results import POLL_S

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """What does one task after another."""

    def stand_by(self) -> None:
        """Be there, as far as that needs no task.

        Raises:
            ClusterError: it cannot be had.
        """
        ...

    def run(self, task: Task[ResultT]) -> ResultT:
        """The result of a task."""
        ...


MakeWorker = Callable[[Interrupts], AbstractContextManager[Worker]]


def run_chains(
    tasks: Sequence[Task[ResultT]],
    chain_starts: Sequence[int],
    make_worker: MakeWorker,
    n_workers: int,
    on_done: Callable[[ResultT], None],
    interrupts: Interrupts,
) -> list[ResultT]:
    """Results in the order of tasks.

    Args:
        tasks: what to do.
        chain_starts: positions at which a chain begins, the first one 0.
        make_worker: a worker that ends its waiting as the given interrupts say.
        n_workers: how many there are to be; where some cannot be had, the others do their work.
        on_done: takes each result, in the calling thread.
        interrupts: of that thread.

    Raises:
        Exception: what the first task that failed raised; no worker is left then.
    """
    if n_workers > 1:
        return _side_by_side(tasks, chain_starts, make_worker, n_workers, on_done, interrupts)
    results = []
    with make_worker(interrupts) as worker:
        for task in tasks:
            result = worker.run(task)
            on_done(result)
            results.append(result)
    return results


class _EndedError(BaseException):
    """Nobody wants what a worker's thread waits for."""


class _UntilEnded(Interrupts):
    def __init__(self, ended: threading.Event) -> None:
        super().__init__()
        self._ended = ended

    def sleep(self, seconds_s: float) -> None:
        if self._ended.wait(seconds_s):
            raise _EndedError


@dataclass(frozen=True)
class _Failed:
    error: BaseException
    had_begun: bool


def _side_by_side(
    tasks: Sequence[Task[ResultT]],
    chain_starts: Sequence[int],
    make_worker: MakeWorker,
    n_workers: int,
    on_done: Callable[[ResultT], None],
    interrupts: Interrupts,
) -> list[ResultT]:
    stops = [*chain_starts[1:], len(tasks)]
    chains = [range(start, stop) for start, stop in zip(chain_starts, stops, strict=True)]
    board = ChainBoard(chains, [amount_of(task) for task in tasks])
    ended = threading.Event()
    news: queue.SimpleQueue[tuple[int, ResultT] | _Failed] = queue.SimpleQueue()

    def work(number: int) -> None:
        had_begun, until_ended = False, _UntilEnded(ended)
        try:
            with make_worker(until_ended) as worker:
                worker.stand_by()
                had_begun = True
                # Until all is done: another one's chain may go on here, and what this one does beside may not be over.
                while True:
                    position = board.next_for(number)
                    if position is None:
                        until_ended.sleep(POLL_S)
                        continue
                    began_at = time.monotonic()
                    result = worker.run(tasks[position])
                    seconds_s = time.monotonic() - began_at
                    if board.has_done(number, position, seconds_s if is_made(result) else None):
                        _log.info("what follows %s is done by a faster worker", tasks[position].label)
                    news.put((position, result))
        except _EndedError:
            pass
        except BaseException as error:  # noqa: BLE001 (raised again where the caller waits)
            news.put(_Failed(error, had_begun))

    threads = [
        threading.Thread(target=work, args=(number,), name=f"chain-worker-{number}", daemon=True)
        for number in range(min(n_workers, len(chains)))
    ]
    for thread in threads:
        thread.start()
    results: dict[int, ResultT] = {}
    n_missing = 0
    try:
        while len(results) < len(tasks):
            try:
                message = news.get_nowait()
            except queue.Empty:
                interrupts.sleep(POLL_S)
                continue
            if isinstance(message, _Failed):
                n_missing += 1
                if message.had_begun or n_missing == len(threads):
                    raise message.error
                _log.warning("one worker less than there could be: %s", message.error)
            else:
                position, result = message
                results[position] = result
                on_done(result)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return [results[position] for position in range(len(tasks))]
