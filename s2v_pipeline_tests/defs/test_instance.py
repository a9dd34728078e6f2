"""The instance's configuration, and order after a crash."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
import psutil
import pytest

from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.instance import HOST_TAG, PROCESS_TAG, close_dead_runs, open_instance, process_tags
from s2v_pipeline.defs.launch import Project


def test_a_new_home_gets_the_shipped_configuration(project_dir: Path) -> None:
    with open_instance(project_dir / "home") as instance:
        assert os.environ["DAGSTER_HOME"] == str((project_dir / "home").resolve())
        assert instance.run_monitoring_enabled
        assert instance.telemetry_enabled is False
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1


def test_the_user_s_own_home_and_its_configuration_are_kept(project_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = project_dir / "own"
    own.mkdir()
    (own / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    with open_instance(project_dir / "home") as instance:
        assert not instance.run_monitoring_enabled
    assert (own / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"
    assert not (project_dir / "home").exists()


def test_runs_of_dead_processes_are_closed_and_others_left(project_dir: Path) -> None:
    dead = {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{_unused_pid()}:1.00"}
    elsewhere = {HOST_TAG: "another-host", PROCESS_TAG: "1:1.00"}
    with open_instance(project_dir / "home") as instance:
        job = build_definitions(pipeline=Project(project_dir).pipeline).resolve_job_def("make_video")
        runs = [
            instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED).run_id
            for tags in (dead, elsewhere, process_tags())
        ]
        assert close_dead_runs(instance) == runs[:1]
        statuses = [instance.get_run_by_id(run_id).status for run_id in runs]
        assert statuses == [
            dg.DagsterRunStatus.FAILURE,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.STARTED,
        ]
        assert close_dead_runs(instance) == []


def test_a_reused_process_number_is_not_mistaken_for_the_run(project_dir: Path) -> None:
    mine = psutil.Process()
    other_start = f"{mine.pid}:{mine.create_time() - 1000:.2f}"
    with open_instance(project_dir / "home") as instance:
        job = build_definitions(pipeline=Project(project_dir).pipeline).resolve_job_def("make_video")
        tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: other_start}
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert close_dead_runs(instance) == [run.run_id]


def _unused_pid() -> int:
    used = set(psutil.pids())
    return next(pid for pid in range(400_000, 4_000_000) if pid not in used)
