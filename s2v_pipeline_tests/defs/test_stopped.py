"""A process that is stopped and goes on (Ctrl-Z and `fg`) was not interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

WAITING = """
import sys, time
from s2v_pipeline.defs.launch import interrupts_for_this_process_alone
from s2v_pipeline.defs.running import INTERRUPT_CAME
with interrupts_for_this_process_alone():
    print("waiting", flush=True)
    sys.stdin.readline()
    time.sleep(1)  # whoever waits for interrupts has time to see one
    print("interrupted" if INTERRUPT_CAME.is_set() else "undisturbed", flush=True)
"""


def test_a_process_that_was_stopped_and_goes_on_is_not_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        for _ in range(3):
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.4)  # longer than a single wait for a signal
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.1)
        said, _ = process.communicate("go on\n", timeout=60)
    assert said == "undisturbed\n"
    assert process.returncode == 0
