"""One local Ray for several runs, each a process of its own: found, kept, left, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from s2v_pipeline.cluster.shared_ray import SharedRay
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RUN = """
import sys
from pathlib import Path
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.cluster.test_executor import SayAndSleep, Square

folder, work = Path(sys.argv[1]), sys.argv[2]
executor = RayExecutor(ClusterSettings(address="shared", num_cpus=2, idle_s=float(sys.argv[3])), shared_folder=folder)
if work == "square":
    assert executor.run([Square(3)], lambda _: None)[0][0] == 9
else:
    executor.run([SayAndSleep(Path(work))], lambda _: None)
print(executor.info().kind, executor.info().address)
executor.stop()
"""


def start(folder: Path, work: str = "square", idle_s: float = 600) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), work, str(idle_s)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pids: set[int], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while left := {pid for pid in pids if is_running(pid)}:
        assert time.monotonic() < deadline, [psutil.Process(pid).cmdline() for pid in left]
        time.sleep(0.1)


def processes_of(shared: SharedRay) -> set[int]:
    record = shared.record()
    assert record is not None
    keeper = psutil.Process(record.keeper.pid)
    return {keeper.pid, *(each.pid for each in record.members), *(each.pid for each in keeper.children(recursive=True))}


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedRay]:
    shared = SharedRay(tmp_path / "ray")
    yield shared
    shared.down()


def test_runs_share_one_that_outlives_them_until_it_is_told_to_end(shared: SharedRay, tmp_path: Path) -> None:
    outputs = [run.communicate(timeout=150)[0] for run in [start(shared.folder) for _ in range(2)]]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("ray (shared) ")
    record = shared.record()
    assert record is not None
    assert outputs[0].split()[-1] == record.address
    assert (shared.folder / "token").stat().st_mode & 0o077 == 0
    assert shared.users() == 0

    # A run that is killed leaves neither its worker nor its entry behind.
    marker = tmp_path / "worker"
    run = start(shared.folder, str(marker))
    while not marker.exists() or not marker.read_text():
        assert run.poll() is None
        time.sleep(0.05)
    assert shared.users() == 1
    run.kill()
    run.communicate()
    wait_until_gone({int(marker.read_text())})
    assert shared.users() == 0

    content = json.loads((shared.folder / "ray.json").read_text())
    changed = {**content, "versions": {**content["versions"], "code": "0" * 64}}
    (shared.folder / "ray.json").write_text(json.dumps(changed))
    with pytest.raises(ClusterError, match=r"same s2v_pipeline's source files .*`s2v cluster down` ends it"):
        shared.join(ClusterSettings(address="shared"))
    assert shared.users() == 0

    pids = processes_of(shared)
    assert len(pids) > 4
    assert shared.down()
    assert not {pid for pid in pids if is_running(pid)}
    assert shared.record() is None
    assert not shared.down()


@pytest.mark.soak  # two more starts of Ray
def test_it_ends_when_its_keeper_is_killed_and_the_next_one_when_nobody_uses_it(shared: SharedRay) -> None:
    settings = ClusterSettings(address="shared", num_cpus=1, idle_s=0)
    first = shared.join(settings)
    pids = processes_of(shared)
    os.kill(first.keeper.pid, signal.SIGKILL)
    wait_until_gone({first.keeper.pid})
    assert shared.record() is None
    shared.leave()

    second = shared.join(settings)
    assert not {pid for pid in pids if is_running(pid)}
    assert second.keeper != first.keeper
    pids = processes_of(shared)
    time.sleep(1.5)  # used, it stays, however short it may be idle
    assert shared.record() == second
    shared.leave()
    wait_until_gone(pids)
    assert shared.record() is None


def test_what_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    shared = SharedRay(tmp_path)
    with pytest.raises(ClusterError, match=r"must start; got its process ended with 1\. Its log is .*keeper\.log"):
        shared.join(ClusterSettings(address="shared", num_cpus=1), local_gpus=-1)
    assert shared.record() is None
