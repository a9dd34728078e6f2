"""Finding a process and its session again."""

from __future__ import annotations

import os
import subprocess

import psutil

from s2v_pipeline.process_marks import ProcessMark

WAIT_S = 20


def test_another_process_with_the_same_number_is_told_apart() -> None:
    own = ProcessMark.of(os.getpid())
    assert own.process() is not None
    earlier = ProcessMark(own.pid, own.started_at_s - 100)
    assert earlier.process() is None
    assert earlier.session() == []


def test_a_session_is_found_when_its_leader_is_gone() -> None:
    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    mark = ProcessMark.of(leader.pid)
    assert {process.pid for process in mark.session()} == {leader.pid, child}
    leader.kill()
    leader.wait(WAIT_S)
    leader.stdout.close()
    (left,) = mark.session()
    assert left.pid == child
    left.kill()
    psutil.wait_procs([left], timeout=WAIT_S)
    assert mark.session() == []
