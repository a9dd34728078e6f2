"""What happened in a chaos test, one JSON object a line, so that it can be counted afterwards.

Belongs here: writing it, counting it. Does not belong here: faults, runs.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Journal:
    """Appends events to a file; threads may share it."""

    path: Path
    events: list[Mapping[str, object]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began_at: float = field(default_factory=time.monotonic)

    def say(self, event: str, **facts: object) -> None:
        line = {"t_s": round(time.monotonic() - self._began_at, 2), "event": event, **facts}
        with self._lock:
            self.events.append(line)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def of(self, event: str) -> list[Mapping[str, object]]:
        with self._lock:
            return [line for line in self.events if line["event"] == event]

    def faults_by_kind(self) -> Counter[str]:
        """Faults that hit something."""
        return Counter(str(line["kind"]) for line in self.of("fault"))
