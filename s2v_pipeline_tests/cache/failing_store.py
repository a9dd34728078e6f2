"""A store that fsspec opens and that can be made to fail, as one behind a cut network does.

Belongs here: the filesystem and its switch. Does not belong here: tests.
"""

from __future__ import annotations

import time
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

PROTOCOL = "shaky"


class ShakyFileSystem(MemoryFileSystem):
    """Memory, with a number of calls that fail first and a time for which each hangs."""

    protocol = PROTOCOL
    store: dict[str, Any] = {}  # noqa: RUF012 (as the base class has it)
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    n_failures: float = 0
    hangs_s: float = 0
    error: type[Exception] = ConnectionError
    n_calls: int = 0

    def _shake(self) -> None:
        kind = type(self)
        kind.n_calls += 1
        time.sleep(kind.hangs_s)
        if kind.n_failures > 0:
            kind.n_failures -= 1
            raise kind.error("the network is down")

    def cat_file(self, *args: Any, **named: Any) -> Any:
        self._shake()
        return super().cat_file(*args, **named)

    def pipe_file(self, *args: Any, **named: Any) -> Any:
        self._shake()
        return super().pipe_file(*args, **named)

    def put_file(self, *args: Any, **named: Any) -> Any:
        self._shake()
        return super().put_file(*args, **named)


def register() -> None:
    """Let fsspec know it."""
    fsspec.register_implementation(PROTOCOL, ShakyFileSystem, clobber=True)


def set_failures(n_failures: float = 0, *, hangs_s: float = 0, error: type[Exception] = ConnectionError) -> None:
    """How the next calls go."""
    ShakyFileSystem.n_failures, ShakyFileSystem.hangs_s = n_failures, hangs_s
    ShakyFileSystem.error, ShakyFileSystem.n_calls = error, 0
