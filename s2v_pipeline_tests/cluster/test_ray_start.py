"""A Ray that is not up in time is started once more, and what the first try left is gone; a run needs a node here."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from s2v_pipeline.cluster import ray_connection
from s2v_pipeline.cluster.ray_environment import set_environment
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.conftest import REPOSITORY

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup"
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
OPTIONS: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "dashboard": False, "object_store_mb": 80}


@pytest.fixture(autouse=True)
def environment() -> None:
    """Ray reads it once, when it is imported, and later tests of this process start a real one."""
    set_environment(local=True)


class Starts:
    """Stands where `ray.init` is: a machine that is too slow cannot be had at will."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.n_calls = 0
        self.left: list[subprocess.Popen[bytes]] = []

    def __call__(self, **options: object) -> SimpleNamespace:
        assert options["object_store_memory"] == 80 << 20
        self.n_calls += 1
        if not self.errors:
            return SimpleNamespace(dashboard_url="127.0.0.1:8265")
        import ray

        # Ray's processes have a path of Ray's own in their command.
        self.left.append(subprocess.Popen([*SLEEP, str(Path(ray.__file__).parent / "raylet")]))
        raise self.errors.pop(0)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process that is none of Ray's."""
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def start(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> tuple[Starts, str]:
    import ray

    starts = Starts(*errors)
    monkeypatch.setattr(ray, "init", starts)
    try:
        return starts, ray_connection.start_ray(**OPTIONS)
    finally:
        for process in starts.left:
            assert not psutil.pid_exists(process.pid)
            process.poll()


def test_a_late_start_is_tried_once_more_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, other: subprocess.Popen[bytes]
) -> None:
    with caplog.at_level(logging.WARNING):
        starts, dashboard = start(monkeypatch, Exception(LATE))
    assert (starts.n_calls, dashboard) == (2, "127.0.0.1:8265")
    assert [record.message for record in caplog.records] == [
        f"Ray did not start in time, and is started once more: {LATE}"
    ]
    assert other.poll() is None


def test_it_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="timed out during startup"):
        start(monkeypatch, Exception(LATE), Exception(LATE), Exception(LATE))


def test_another_error_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="no such option"):
        start(monkeypatch, ValueError("no such option"))
    assert caplog.records == []


def test_a_machine_without_a_node_of_the_cluster_is_told_how_to_join_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**options: object) -> None:
        raise RuntimeError("No node info found matching attributes: '' when trying to resolve node to connect to.")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"ray start --address={address} --num-cpus=0"):
            ray_connection.join(address, ClusterSettings(address=address))


@pytest.mark.soak  # Ray itself waits for half a minute
def test_a_real_ray_whose_first_process_stands_still_is_started_again() -> None:
    code = f"""
import logging
logging.basicConfig(level=logging.WARNING)
from s2v_pipeline.cluster.ray_connection import start_ray
start_ray(**{OPTIONS!r})
import ray
assert ray.get(ray.remote(num_cpus=1)(lambda: 6 * 7).remote()) == 42
import psutil
raylets = [child for child in psutil.Process().children() if child.name() == "raylet"]
print("raylets", len(raylets), all(child.status() != psutil.STATUS_STOPPED for child in raylets))
ray.shutdown()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    threading.Thread(target=stop_first_raylet, args=(run.pid,), daemon=True).start()
    said, warned = run.communicate(timeout=240)
    assert run.returncode == 0, warned
    assert said.splitlines() == ["raylets 1 True"]
    assert "is started once more" in warned


def stop_first_raylet(pid: int) -> None:
    process = psutil.Process(pid)
    while process.is_running():
        for child in process.children():
            if child.name() == "raylet":
                child.suspend()
                return
        time.sleep(0.005)
