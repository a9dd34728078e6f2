"""Whose turn it is, when several runs wait for the same workers.

Belongs here: the order, alone. Does not belong here: workers (warm_pool).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

WishT = TypeVar("WishT")


class FairQueue(Generic[WishT]):
    """Wishes of runs, one of each run in turn: a short video waits for one chunk of a long one, not for all of them."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, deque[WishT]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(wishes) for wishes in self._runs.values())

    def __iter__(self) -> Iterator[WishT]:
        """In the order of turns: the first wish of every run, then the second ones."""
        longest = max((len(wishes) for wishes in self._runs.values()), default=0)
        for index in range(longest):
            yield from (wishes[index] for wishes in self._runs.values() if index < len(wishes))

    def add(self, run: str, wish: WishT) -> None:
        """Put a run's wish behind its others; a new run comes last."""
        self._runs.setdefault(run, deque()).append(wish)

    def take(self, can_be: Callable[[WishT], bool]) -> WishT | None:
        """The wish whose turn it is, of those that can be fulfilled now; its run is last from here on."""
        for run, wishes in self._runs.items():
            for wish in wishes:
                if can_be(wish):
                    wishes.remove(wish)
                    self._runs.move_to_end(run)
                    self._forget_empty(run)
                    return wish
        return None

    def remove(self, run: str, wish: WishT) -> None:
        """Forget a wish, if it is there."""
        wishes = self._runs.get(run)
        if wishes is not None and wish in wishes:
            wishes.remove(wish)
            self._forget_empty(run)

    def _forget_empty(self, run: str) -> None:
        # A run that has nothing to wish comes last when it comes again, which is where it would be by its turn, too.
        if not self._runs[run]:
            del self._runs[run]
