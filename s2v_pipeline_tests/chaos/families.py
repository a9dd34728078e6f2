"""Processes of a run: who belongs to it, who does what, who is left when it has ended.

Belongs here: telling them apart. Does not belong here: what is done to them (faults).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil

WATCH_S = 0.2
AGENTS = ("DashboardAgent", "RuntimeEnvAgent")
"""Ray's two idle agents; they try for a minute to report to a control store that is gone."""
RESTING = ("ray::IDLE", "ray::SPILL", "ray::RESTORE")


def title(process: psutil.Process) -> str:
    """Command line or name; "" of a process that is gone."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return " ".join(process.cmdline()) or process.name()
    except psutil.NoSuchProcess:
        return ""


def is_working(process: psutil.Process) -> bool:
    """Whether it is a Ray worker with work."""
    text = title(process)
    return text.startswith("ray::") and not text.startswith(RESTING) and not any(agent in text for agent in AGENTS)


class Family(threading.Thread):
    """All processes that ever descended from the leaders; those whose parent died are remembered, too."""

    def __init__(self) -> None:
        super().__init__(name="family", daemon=True)
        self._leaders: list[psutil.Process] = []
        self._members: dict[tuple[int, float], tuple[psutil.Process, int]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def follow(self, pid: int) -> None:
        with self._lock:
            self._leaders.append(psutil.Process(pid))

    def run(self) -> None:
        while not self._ended.wait(WATCH_S):
            self._look()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        with self._lock:
            leaders = list(self._leaders)
        for leader in leaders:
            try:
                found = [leader, *leader.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            with self._lock:
                for process in found:
                    try:
                        key = (process.pid, process.create_time())
                    except psutil.NoSuchProcess:
                        continue
                    self._members.setdefault(key, (process, leader.pid))

    def members(self, leader_pid: int | None = None) -> list[psutil.Process]:
        """Those that live now."""
        with self._lock:
            members = list(self._members.values())
        return [
            process
            for process, leader in members
            if leader_pid in (None, leader) and process.is_running() and title(process)
        ]

    def find(self, leader_pid: int, wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
        return [process for process in self.members(leader_pid) if wanted(process)]

    def left_after(self, timeout_s: float) -> list[str]:
        """Titles of those that outlive the timeout."""
        deadline = time.monotonic() + timeout_s
        while (left := self.members()) and time.monotonic() < deadline:
            time.sleep(WATCH_S)
        return [f"{process.pid} {title(process)[:100]}" for process in left]
