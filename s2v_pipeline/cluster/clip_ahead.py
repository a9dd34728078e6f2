"""Clips that are encoded while the next chunk is being generated, from frames that the generator had to decode anyway.

Belongs here: the thread that does it, waiting for it.
Does not belong here: how a clip is rendered and stored (tasks), which generators bring frames (generation).

The step of the clips finds what was encoded ahead, and renders what was not: nothing depends on this but time. What its
own run did ahead it counts as made there. An error
here is in the worker's log, and comes again in that step, where it counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class ClipAhead:
    """One clip at a time, in a thread of its own; encoders leave Python alone for nearly all of it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, label: str, encode: Callable[[], object]) -> None:
        """Begin to encode; waits for the clip before, so that no more than two clips' frames are held."""
        self.wait()

        def work() -> None:
            try:
                encode()
            except Exception:  # noqa: BLE001 (whatever it is, the step of the clips meets it again)
                _log.exception("%s could not be encoded ahead; the step of the clips does it again", label)

        self._thread = threading.Thread(target=work, name="clip-ahead")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being encoded."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


OF_THIS_WORKER = ClipAhead()
"""A worker does one chunk at a time."""
