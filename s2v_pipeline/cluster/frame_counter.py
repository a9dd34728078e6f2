"""How many frames of a clip are done, told by a worker to whoever waits, wherever the worker runs.

Belongs here: a file that grows by one byte a frame.
Does not belong here: who reports progress to people (defs.running), what a frame is.

Executors hand back a result and nothing before it. But clips are files on a disk that driver and workers share: what is
done can be told the same way by all executors, without a process or a port of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FrameCounter:
    """One clip's count. Nothing depends on it: where its folder is gone, as after the driver's end, nobody counts."""

    path: Path

    @contextmanager
    def counting(self) -> Iterator[Callable[[], None]]:
        """Start at 0, also where a worker died before; the block calls what it is given once a frame."""
        if not self.path.parent.is_dir():
            yield lambda: None
            return
        with self.path.open("wb", buffering=0) as file:
            yield lambda: _write_one(file.write)

    def fill(self, n_frames: int) -> None:
        """All frames at once, of a clip that was found."""
        if self.path.parent.is_dir():
            self.path.write_bytes(bytes(n_frames))

    def read(self) -> int:
        """Frames that are done so far; 0 before the worker starts."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def _write_one(write: Callable[[bytes], int]) -> None:
    write(b"\0")
