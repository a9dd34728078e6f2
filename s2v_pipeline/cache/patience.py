"""How long a store that does not answer is asked again, and when it is left alone.

Belongs here: time limits, retries with growing pauses, the rest after a failure.
Does not belong here: what is asked (objects), what the caller does without an answer.

A store may fail at once (no route), or not answer at all (a cut network): each call runs in a thread of its own, so
that the limit holds in both cases. Who has waited in vain leaves the store alone for ten times as long, in this
process: a store that stays away costs at most about a tenth of the time, however many chunks there are.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from s2v_pipeline.errors import CacheError

ResultT = TypeVar("ResultT")

REST_FACTOR = 10.0
_FIRST_PAUSE_S = 0.5  # a store that drops one request is mostly back by then
_LONGEST_PAUSE_S = 8.0
_SLOWEST_BYTES_PER_S = 1 << 20  # below 1 MB/s most chunks are made again sooner than they are fetched
_FINAL = (PermissionError, ImportError, IsADirectoryError, NotADirectoryError)  # asking again gives the same answer
_CURE = "Check cache.url, the network and the credentials of the store; without cache.url none is used."

_log = logging.getLogger(__name__)
_rest_until: dict[str, float] = {}  # place -> monotonic time; of this process


@dataclass(frozen=True)
class Patience:
    """Asks one place; `place` names it in messages, `patience_s` is how long all tries of one call may take."""

    place: str
    patience_s: float

    def ask(self, what: str, operation: Callable[[], ResultT], *, n_bytes: int = 0) -> ResultT:
        """What an operation returns; `n_bytes` that it moves give it more time.

        Raises:
            FileNotFoundError: the store answered that there is no such object.
            CacheError: the store gave no answer in time, refused, or is being left alone after it gave none.
        """
        limit_s = self.patience_s + n_bytes / _SLOWEST_BYTES_PER_S
        started_at, pause_s = time.monotonic(), _FIRST_PAUSE_S
        if started_at < _rest_until.get(self.place, 0.0):
            raise self._error("it did not answer a moment ago, and is left alone for a while")
        while True:
            left_s = limit_s - (time.monotonic() - started_at)
            try:
                return _within(operation, left_s)
            except FileNotFoundError:
                raise
            # Stores of all kinds stand behind one interface, each with exceptions of its own.
            except Exception as error:
                took_s = time.monotonic() - started_at
                if isinstance(error, _FINAL) or took_s + pause_s >= limit_s:
                    if not isinstance(error, _FINAL):
                        _rest_until[self.place] = time.monotonic() + REST_FACTOR * max(took_s, pause_s)
                    raise self._error(f"{type(error).__name__}: {error}") from error
                _log.info("chunk cache: %s failed (%s); once more in %.1f s", what, error, pause_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _error(self, got: str) -> CacheError:
        return CacheError(f"the chunk cache at {self.place} must answer", got=f"{got:.300}", cure=_CURE)


def forget_rests() -> None:
    """Ask every place again, whatever happened before."""
    _rest_until.clear()


def _within(operation: Callable[[], ResultT], limit_s: float) -> ResultT:
    """What the operation returns or raises.

    Raises:
        TimeoutError: it did neither in time; its thread, which nobody can end, goes on without anybody who listens.
    """
    outcome: queue.SimpleQueue[tuple[ResultT | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((operation(), None))
        except BaseException as error:  # noqa: BLE001 (raised again by who waits)
            outcome.put((None, error))

    threading.Thread(target=work, name="chunk-cache", daemon=True).start()
    try:
        value, error = outcome.get(timeout=max(0.0, limit_s))
    except queue.Empty:
        raise TimeoutError(f"no answer within {limit_s:.1f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
