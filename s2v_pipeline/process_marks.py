"""A process that can be told apart from a later one with the same number, and what is left of its session.

Belongs here: finding processes again. Does not belong here: starting them, deciding when they end.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil

_SAME_START_S = 1.5  # start times of one process, read twice, differ by rounding and by clocks that are set


@dataclass(frozen=True)
class ProcessMark:
    """A process, told apart from a later one with the same number."""

    pid: int
    started_at_s: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """Of a living process."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it lives."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at_s) > _SAME_START_S:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None

    def session(self) -> list[psutil.Process]:
        """Living processes of the session that the process leads or led; it may be gone itself.

        By session rather than by parents: a process whose parent is gone belongs to nobody, but stays in its session.
        """
        if psutil.pid_exists(self.pid) and self._number_is_anothers():
            return []
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                is_member = os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE
                if is_member and process.create_time() >= self.started_at_s - _SAME_START_S:
                    members.append(process)
        return members

    def _number_is_anothers(self) -> bool:
        """The kernel gives a session's number to nobody while one of its members lives."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_at_s) > _SAME_START_S
        except psutil.NoSuchProcess:
            return False
