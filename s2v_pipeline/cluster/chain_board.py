"""Which of several workers does which task of which chain next, by how fast each one has been.

Belongs here: the order, and when a chain changes its worker. Does not belong here: running anything (chains).

No chain is given to a worker beforehand: whoever is free takes one, the longest first. The task after another of its
chain needs that one's files and not its process, so that a chain can go on elsewhere; results are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MUCH_FASTER = 1.5
"""Times as fast as the worker that has a chain must one be that takes it over. The rates of equal workers, of one task
each, differ by a third (stragglers.MOST_TIMES), and a change costs what both keep of a video."""


@dataclass
class _Chain:
    """Positions that are left, in order; `worker` does the first of them, or waits to be told so."""

    left: range
    worker: int | None = None


class ChainBoard:
    """What is left to do, and by whom; for threads.

    Args:
        chains: positions of each chain's tasks.
        amounts: of work, of every task, in any unit.
    """

    def __init__(self, chains: Sequence[range], amounts: Sequence[float]) -> None:
        self._amounts = amounts
        self._chains = [_Chain(chain) for chain in chains]
        self._rates: dict[int, float] = {}  # worker -> seconds for an amount of 1, of its latest task
        self._idle: set[int] = set()
        self._lock = threading.Lock()

    def next_for(self, worker: int) -> int | None:
        """The position that a worker does now: of its chain, or of the longest that nobody has; None where there is
        none for the moment."""
        with self._lock:
            self._idle.discard(worker)
            chain = next((chain for chain in self._chains if chain.worker == worker and chain.left), None)
            if chain is None:
                free = [chain for chain in self._chains if chain.worker is None and chain.left]
                if not free:
                    self._idle.add(worker)
                    return None
                # The longest first: what is left for the end is short, and all workers end at about the same time.
                chain = max(free, key=self._amount_left)
                chain.worker = worker
            return chain.left[0]

    def has_done(self, worker: int, position: int, seconds_s: float | None) -> bool:
        """A worker has done a task; whether another one goes on with its chain.

        Args:
            worker: that did it.
            position: of the task.
            seconds_s: that it took; None where it was found.
        """
        with self._lock:
            if seconds_s is not None:
                self._rates[worker] = seconds_s / self._amounts[position]
            chain = next(chain for chain in self._chains if chain.left and chain.left[0] == position)
            chain.left = chain.left[1:]
            known = [(rate, other) for other, rate in self._rates.items() if other in self._idle]
            if not chain.left or not known or worker not in self._rates:
                return False
            rate, fastest = min(known)
            if rate * _MUCH_FASTER > self._rates[worker]:
                return False
            chain.worker = fastest
            self._idle.discard(fastest)
            return True

    def _amount_left(self, chain: _Chain) -> float:
        return sum(self._amounts[position] for position in chain.left)


def amount_of(task: Any) -> float:
    """Of work: a task's frames, where it has any."""
    return float(getattr(task, "n_frames", 1))


def is_made(result: Any) -> bool:
    """Whether a result was made now; finding one says nothing about how fast a worker is."""
    return bool(getattr(result, "made", True))
