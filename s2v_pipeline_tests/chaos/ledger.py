"""Which chunk files were finished when, which of them were damaged on purpose, and which were made twice all the same.

Belongs here: watching the files. Does not belong here: damaging them (faults).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s2v_pipeline.artifacts import PROVENANCE_SUFFIX
from s2v_pipeline_tests.chaos.journal import Journal

CHUNK_ASSETS = ("chunk_latents", "rendered_clips")
WATCH_S = 0.05


class Ledger(threading.Thread):
    """Looks at every chunk's record many times a second; a record that changes means that its chunk was made again."""

    def __init__(self, root: Path, journal: Journal) -> None:
        super().__init__(name="ledger", daemon=True)
        self._root = root
        self._journal = journal
        self._written: dict[Path, int] = {}
        self._harmed: set[Path] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.n_made = 0

    def run(self) -> None:
        while not self._ended.wait(WATCH_S):
            self.look()

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.look()

    def look(self) -> None:
        with self._lock:
            for asset in CHUNK_ASSETS:
                for record in self._root.glob(f"{asset}/*/[0-9]*{PROVENANCE_SUFFIX}"):
                    try:
                        written = record.stat().st_mtime_ns
                    except OSError:  # the store is away just now
                        continue
                    part = record.with_name(record.name.removesuffix(PROVENANCE_SUFFIX))
                    before = self._written.get(part)
                    if before == written:
                        continue
                    self._written[part] = written
                    self.n_made += 1
                    needed = before is None or part in self._harmed
                    self._harmed.discard(part)
                    name = f"{asset}/{part.parent.name}/{part.name}"
                    self._journal.say("made" if needed else "made_twice", part=name)

    @contextmanager
    def harm(self, path: Path) -> Iterator[None]:
        """The block damages a file of a part, so that making the part again is needed.

        What it changes keeps its time of change: a disk that loses bytes does not change it, either, and here that
        time tells a record that was written anew.
        """
        self.look()
        with self._lock:
            before = path.stat()
            yield
            with suppress(FileNotFoundError):
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            self._harmed.add(path.with_name(path.name.removesuffix(PROVENANCE_SUFFIX)))

    def harmed(self) -> set[Path]:
        """Damaged parts that nobody had to make again yet."""
        with self._lock:
            return set(self._harmed)
