"""`s2v up` as a user starts and ends it: real processes, real ports, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import psutil
import pytest

from s2v_pipeline.defs.launch import Project
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.up import serve
from s2v_pipeline_tests.conftest import SMALL_PROJECT, copy_sample

MOST_START_S = 90
MOST_RUN_S = 150
MOST_END_S = 20  # what a user waits for after Ctrl-C
ANYONE = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, whatever the environment's proxy
SENSORS = """{sensorsOrError(
  repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "s2v_pipeline"}
) {... on Sensors {results {name sensorState {status}}}}}"""
T = TypeVar("T")


class Up:
    """A running `s2v up`."""

    def __init__(self, project: Project, *, interrupts_ignored: bool = False) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
        self.project = project
        self.log = (project.folder / "up.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from s2v_pipeline.cli import main; main()", "up"],
            cwd=project.folder,
            env=environment,
            stdout=self.log,
            stderr=self.log,
            # As a shell does for a command with & in a script.
            preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if interrupts_ignored else None,
        )

    def family(self) -> list[psutil.Process]:
        """Everything that it has started and that lives."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal; what is left of the family when the most a user should wait is over."""
        family = self.family()
        self.process.send_signal(number)
        try:
            self.process.wait(MOST_END_S)
        except subprocess.TimeoutExpired:
            return family
        return psutil.wait_procs(family, timeout=1)[1]

    def kill(self) -> None:
        """For tests that failed: leave nothing behind."""
        family = self.family() if self.process.poll() is None else []
        for process in family:
            process.kill()
        self.process.kill()
        self.process.wait()
        self.log.close()

    def ask(self, query: str) -> Mapping[str, Any]:
        """Data of a GraphQL query."""
        port = self.project.settings().settings.server.dagster_port
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with ANYONE.open(request, timeout=20) as answer:
            data: Mapping[str, Any] = json.load(answer)["data"]
        return data

    def loaded(self) -> bool:
        """Whether the UI answers and has the code location."""
        assert self.process.poll() is None, (self.project.folder / "up.log").read_text()
        query = "{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{__typename}}}}}"
        try:
            entries = self.ask(query)["workspaceOrError"]["locationEntries"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]

    def runs(self, status: str) -> list[str]:
        """Ids of the runs of a status."""
        answer = self.ask(
            "{runsOrError(filter:{statuses:[STATUS]}){... on Runs{results{runId}}}}".replace("STATUS", status)
        )
        return [run["runId"] for run in answer["runsOrError"]["results"]]

    def clips(self) -> list[Path]:
        """Finished clips of all inputs."""
        return list((self.project.pipeline.store().root / "rendered_clips").glob("*/[0-9]*.mp4"))


@pytest.fixture
def project(project_dir: Path) -> Project:
    """A project with free ports, whose clips take long enough to be interrupted."""
    dagster_port, file_port = free_ports(2)
    settings = SMALL_PROJECT.replace("192", "768").replace("ultrafast", "slow").replace("chunk_s = 2.0", "chunk_s = 1")
    ports = f"[server]\ndagster_port = {dagster_port}\nfile_port = {file_port}\n"
    (project_dir / "s2v.toml").write_text(settings + ports)
    return Project(project_dir)


@pytest.fixture
def start(project: Project) -> Iterator[Callable[..., Up]]:
    started = []

    def start_up(**kind: bool) -> Up:
        started.append(Up(project, **kind))
        wait_for(started[-1].loaded, MOST_START_S)
        return started[-1]

    yield start_up
    for up in started:
        up.kill()


@pytest.mark.slow
def test_ctrl_c_ends_everything_and_the_next_start_goes_on(project: Project, start: Callable[..., Up]) -> None:
    up = start()
    assert up.ask(SENSORS)["sensorsOrError"]["results"] == [
        {"name": name, "sensorState": {"status": "RUNNING"}} for name in ("recover_runs", "watch_inputs")
    ]
    server = project.settings().settings.server
    for port in (server.dagster_port, server.file_port):
        assert listening_addresses(port) == {"127.0.0.1"}

    with ANYONE.open(f"http://127.0.0.1:{server.file_port}/metrics", timeout=20) as answer:
        assert 's2v_runs{status="queued"} 0.0' in answer.read().decode()

    # Ctrl-C in the middle of rendering
    copy_sample(project.pipeline.inputs_folder() / "lesson")
    wait_for(lambda: len(up.clips()) >= 1, MOST_RUN_S)
    (run_id,) = up.runs("STARTED")
    assert any(process.name() == "raylet" for process in up.family())
    assert up.end(signal.SIGINT) == []
    assert up.process.returncode == 0
    done = {path: path.stat().st_mtime_ns for path in up.clips()}
    assert [listening_addresses(port) for port in (server.dagster_port, server.file_port)] == [set(), set()]
    with project.instance() as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "1 runs were interrupted" in (project.folder / "up.log").read_text()

    # The next one goes on by itself; started with & in a script, it ends all the same.
    up = start(interrupts_ignored=True)
    wait_for(lambda: up.runs("SUCCESS"), MOST_RUN_S)
    assert up.runs("STARTED") == []
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert up.end(signal.SIGINT) == []


@pytest.mark.slow
def test_terminate_frees_the_workers_at_once(project: Project, start: Callable[..., Up]) -> None:
    up = start()
    copy_sample(project.pipeline.inputs_folder() / "lesson")
    wait_for(lambda: len(up.clips()) >= 1, MOST_RUN_S)
    (run_id,) = up.runs("STARTED")
    (raylet,) = (process for process in up.family() if process.name() == "raylet")
    run = psutil.Process(raylet.ppid())
    working = [run, *run.children(recursive=True)]
    assert up.ask(f'mutation{{terminateRun(runId:"{run_id}"){{__typename}}}}') == {
        "terminateRun": {"__typename": "TerminateRunSuccess"}
    }
    wait_for(lambda: up.runs("CANCELED"), 15)
    assert psutil.wait_procs(working, timeout=15)[1] == []
    with project.instance() as instance:
        pool = instance.event_log_storage.get_concurrency_info("generator")
    assert pool.active_slot_count == 0
    assert up.end(signal.SIGTERM) == []
    assert up.process.returncode == 0


@pytest.mark.soak
def test_dagster_is_started_again_and_a_killed_up_leaves_nothing(project: Project, start: Callable[..., Up]) -> None:
    up = start()
    with pytest.raises(SettingsError, match=f"got process {up.process.pid} serves"):
        serve(project, say=lambda _: None)

    # The daemon is killed: Dagster ends by itself, and comes again with all its processes.
    before = up.family()
    (daemon,) = (each for each in before if "dagster._daemon" in each.cmdline())
    daemon.kill()
    assert psutil.wait_procs(before, timeout=MOST_END_S)[1] == []
    wait_for(up.loaded, MOST_START_S)

    # `s2v up` itself is killed: the next one ends what was left.
    left = up.family()
    up.process.kill()
    up.process.wait()
    assert [each for each in left if "dagster_webserver" in each.cmdline() and each.is_running()]
    up = start()
    log = project.folder / "up.log"
    # What was left answered until now.
    wait_for(lambda: "that was killed had left running" in log.read_text(), MOST_START_S)
    wait_for(up.loaded, MOST_START_S)
    assert psutil.wait_procs(left, timeout=0)[1] == []
    assert up.end(signal.SIGINT) == []
    assert up.process.returncode == 0


def test_a_port_that_is_taken_is_said_before_anything_starts(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", project.settings().settings.server.dagster_port))
        other.listen()
        with pytest.raises(SettingsError, match=r"server\.dagster_port"):
            serve(project, say=lambda _: None)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listening_addresses(port: int) -> set[str]:
    return {
        each.laddr.ip
        for each in psutil.net_connections("inet")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }


def wait_for(condition: Callable[[], T], most_s: float) -> T:
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"it did not come about within {most_s} s")
