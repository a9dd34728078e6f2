"""Interrupts that get lost are raised again; handlers that were there are called and come back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from s2v_pipeline.cluster.interrupts import Interrupts


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Signals that a handler was called for, which raises nothing: as if its exception had been ignored."""
    numbers: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = signal.signal(signal.SIGINT, handle)
    yield numbers
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_got_lost_is_raised_at_the_next_wait(handled: list[int]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.sleep(0)
        signal.raise_signal(signal.SIGINT)
        assert handled == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            interrupts.sleep(0)
    assert signal.getsignal(signal.SIGINT) is handler


def test_one_that_is_raised_passes() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_has_none(handled: list[int]) -> None:
    handler, found = signal.getsignal(signal.SIGINT), []

    def wait() -> None:
        with Interrupts() as interrupts:
            interrupts.sleep(0)
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert found == [handler]
    assert handled == []
