"""An interrupt that gets lost on its way is raised again.

Belongs here: noticing SIGINT while a call waits for workers.
Does not belong here: what an interrupt ends (ray_executor), interrupts of a whole run (defs.launch).
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Notices SIGINT inside a `with` block of the main thread.

    Python ignores the exception that a signal's handler raises where it meets a destructor or a library's callback, and
    Ray's calls have both: what remains is that the signal came. Where another thread waits, or SIGINT has no handler
    in Python, nothing is noticed, as nothing would be raised.
    """

    def __init__(self) -> None:
        self._came = False
        self._before = signal.getsignal(signal.SIGINT)
        self._is_noticed = threading.current_thread() is threading.main_thread() and callable(self._before)

    def __enter__(self) -> Self:
        if self._is_noticed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_noticed:
            signal.signal(signal.SIGINT, self._before)

    def sleep(self, seconds_s: float) -> None:
        """Wait.

        Raises:
            KeyboardInterrupt: an interrupt came since the block began, and got lost.
        """
        if self._came:
            raise KeyboardInterrupt
        time.sleep(seconds_s)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        if callable(self._before):
            self._before(number, frame)
