"""Where a task's time goes: seconds by part.

Belongs here: adding up wall time under names. Does not belong here: what the parts are (tasks), adding up over chunks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")


class Timings:
    """Seconds by part, of one task."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()
        self._parts_s: dict[str, float] = {}
        self._within_s: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time that the block takes, less what other parts within it took."""
        started_at, others_s = time.perf_counter(), sum(self._parts_s.values())
        try:
            yield
        finally:
            within_s = sum(self._parts_s.values()) - others_s
            self.add(name, time.perf_counter() - started_at - within_s)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a part."""
        self._parts_s[name] = self._parts_s.get(name, 0.0) + seconds

    def add_within(self, part: str, name: str, seconds: float) -> None:
        """Add seconds that are counted in a part already, as what the part was made of."""
        whole = f"{part}.{name}"
        self._within_s[whole] = self._within_s.get(whole, 0.0) + seconds

    def each(self, name: str, items: Iterator[ItemT]) -> Iterator[ItemT]:
        """The same items; the time that each takes to come is added."""
        while True:
            started_at = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                self.add(name, time.perf_counter() - started_at)
                return
            self.add(name, time.perf_counter() - started_at)
            yield item

    @property
    def total_s(self) -> float:
        """Since this object was made."""
        return time.perf_counter() - self._started_at

    def values(self) -> tuple[tuple[str, float], ...]:
        """(part, seconds), in the order in which they began to end."""
        return tuple((name, round(seconds, 4)) for name, seconds in (self._parts_s | self._within_s).items())
