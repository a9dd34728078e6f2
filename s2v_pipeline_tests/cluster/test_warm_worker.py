"""A worker that serves several runs, in a Ray that outlives them; each run is an executor of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from s2v_pipeline.cluster.shared_ray import SharedRay
from s2v_pipeline_tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUN = """
import os, signal, sys, threading, time
from pathlib import Path
import psutil
from s2v_pipeline.cluster.executor import WarmKey
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.cluster.split_tasks import Together
from s2v_pipeline_tests.cluster.test_executor import DieOnce, Refuse, SayAndSleep, SayGpus, Square
from s2v_pipeline.errors import ImageError

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
settings = ClusterSettings(address="shared", num_cpus=2, task_retries=1, rank_timeout_s=10)
executor = RayExecutor(settings, shared_folder=folder, local_gpus=2)
def run(tasks, key="model", n_gpus=1):
    return executor.run(tasks, lambda _: None, in_order=True, n_gpus=n_gpus, warm=WarmKey(key, "square"))
"""
FIRST = """
(_, pid), = run([Square(2)])
assert run([SayGpus(), Square(3)])[1] == (9, pid)
try:
    run([Refuse()])
except ImageError:
    pass
else:
    raise AssertionError("refused")
assert run([Square(4)]) == [(16, pid)], "a task's own error costs no worker"
(_, new), = run([DieOnce(out / "died")])
assert new != pid
os.kill(new, 9)
time.sleep(1)
(_, pid), = run([Square(5)])
assert pid not in (new,), "one that died while it was idle is replaced"
print("worker", pid)
"""
SECOND = """
(_, pid), = run([Square(2)])
print("worker", pid)
"""
INTERRUPTED = """
def interrupt():
    while not (out / "pid").exists() or not (out / "pid").read_text():
        time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
started_at = time.monotonic()
try:
    run([SayAndSleep(out / "pid")])
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not interrupted")
pid = int((out / "pid").read_text())
assert time.monotonic() - started_at < 30
deadline = time.monotonic() + 5
while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
    assert time.monotonic() < deadline, "its worker lives"
    time.sleep(0.1)
# Both GPUs can be had: the worker of one is idle, and ends for the gang of two.
time.sleep(2)
chunks = run([Together(out, 0), Together(out, 1)], n_gpus=2)
assert [made for _, made, _ in chunks] == [True, True]
assert run([Square(6)], n_gpus=2)[0][1] == chunks[0][2], "the gang's first does what is not split"
print("worker", chunks[0][2])
"""
TAIL = """
executor.stop()
"""


def run(shared: SharedRay, out: Path, body: str) -> int:
    code = RUN + body + TAIL
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared.folder), str(out)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Ray has words of its own to say as it ends.
    return int(next(line for line in done.stdout.splitlines() if line.startswith("worker ")).split()[1])


def cluster(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from s2v_pipeline.cli import main; main()", "cluster", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.soak  # most of a minute, for six processes one after another
def test_a_worker_outlives_its_runs_until_it_is_ended(project_dir: Path) -> None:
    (project_dir / "s2v.toml").write_text('[cluster]\naddress = "shared"\n')
    shared = SharedRay(project_dir / "data" / "dagster" / "ray")
    try:
        assert "not up" in cluster(project_dir, "status")
        pid = run(shared, project_dir, FIRST)
        assert psutil.pid_exists(pid)
        assert run(shared, project_dir, SECOND) == pid, "the next run finds it warm"

        gang = run(shared, project_dir, INTERRUPTED)
        status = cluster(project_dir, "status")
        assert "GPUs       2, 0 free" in status
        assert "runs       0" in status
        assert "worker     square model on 2 GPUs, idle for" in status
        assert "ended 2 processes of warm workers" in cluster(project_dir, "down", "--workers")
        deadline = time.monotonic() + 10
        while psutil.pid_exists(gang):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "none is warm" in cluster(project_dir, "status")
    finally:
        said = cluster(project_dir, "down")
    assert "ended the shared Ray" in said
    assert shared.record() is None
