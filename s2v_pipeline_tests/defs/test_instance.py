"""The instance's configuration, and order after a crash."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.instance import (
    GENERATOR_POOL,
    HOST_TAG,
    PROCESS_TAG,
    WAY_IN_TAG,
    close_dead_runs,
    mark_process,
    open_instance,
    process_tags,
)
from s2v_pipeline.defs.launch import Project


def test_a_new_home_gets_the_shipped_configuration(project_dir: Path) -> None:
    with open_instance(project_dir / "home") as instance:
        assert os.environ["DAGSTER_HOME"] == str((project_dir / "home").resolve())
        assert instance.run_monitoring_enabled
        assert instance.telemetry_enabled is False
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert [(pool.name, pool.limit) for pool in instance.event_log_storage.get_pool_limits()] == [
            (GENERATOR_POOL, 1)
        ]


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
    with open_instance(project_dir / "home") as instance:
        dead, canceling, elsewhere, alive = (unfinished_run(project_dir, instance) for _ in range(4))
        for run in (dead, canceling):
            instance.add_run_tags(run.run_id, dead_process_tags(run.run_id))
        instance.add_run_tags(elsewhere.run_id, {**dead_process_tags(elsewhere.run_id), HOST_TAG: "another-host"})
        mark_process(instance, alive.run_id)
        instance.report_run_canceling(canceling)
        assert sorted(close_dead_runs(instance)) == sorted([dead.run_id, canceling.run_id])
        assert [status(instance, run) for run in (dead, canceling, elsewhere, alive)] == [
            dg.DagsterRunStatus.FAILURE,
            dg.DagsterRunStatus.CANCELED,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.STARTED,
        ]
        assert close_dead_runs(instance) == []


def test_a_reused_process_number_is_not_mistaken_for_the_run(project_dir: Path) -> None:
    mine = psutil.Process()
    with open_instance(project_dir / "home") as instance:
        run = unfinished_run(project_dir, instance)
        other_start = f"{mine.pid}:{mine.create_time() - 1000:.2f}:{run.run_id}"
        instance.add_run_tags(run.run_id, {**process_tags(run.run_id), PROCESS_TAG: other_start})
        assert close_dead_runs(instance) == [run.run_id]


def test_a_re_execution_is_not_judged_by_the_tags_of_the_run_that_it_repeats(project_dir: Path) -> None:
    with open_instance(project_dir / "home") as instance:
        again = unfinished_run(project_dir, instance)
        instance.add_run_tags(again.run_id, dead_process_tags("the run that is repeated"))
        assert close_dead_runs(instance) == []
        assert status(instance, again) is dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    ("tags", "is_closed"), [({WAY_IN_TAG: "watched folder"}, True), ({"another": "project's run"}, False)]
)
def test_a_run_that_died_before_it_marked_itself_is_closed_in_the_end(
    project_dir: Path, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], is_closed: bool
) -> None:
    with open_instance(project_dir / "home") as instance:
        run = unfinished_run(project_dir, instance, tags)
        start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
        instance.report_dagster_event(start, run.run_id)
        assert close_dead_runs(instance) == []
        monkeypatch.setattr("s2v_pipeline.defs.instance._MARKED_AFTER_S", 0.0)
        assert close_dead_runs(instance) == ([run.run_id] if is_closed else [])


def test_a_run_that_ends_while_it_is_looked_at_stays_as_it_ended(
    project_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance(project_dir / "home") as instance:
        run = unfinished_run(project_dir, instance)
        instance.add_run_tags(run.run_id, dead_process_tags(run.run_id))

        def end_meanwhile(*_: object) -> bool:
            success = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
            instance.report_dagster_event(success, run.run_id)
            return False

        monkeypatch.setattr("s2v_pipeline.defs.instance._is_alive", end_meanwhile)
        assert close_dead_runs(instance) == []
        assert status(instance, run) is dg.DagsterRunStatus.SUCCESS


def test_a_place_in_the_pool_is_free_again(project_dir: Path) -> None:
    with open_instance(project_dir / "home") as instance:
        dead = unfinished_run(project_dir, instance)
        instance.add_run_tags(dead.run_id, dead_process_tags(dead.run_id))
        pools = instance.event_log_storage
        assert pools.claim_concurrency_slot(GENERATOR_POOL, dead.run_id, "chunk_latents").is_claimed
        close_dead_runs(instance)
        assert pools.get_concurrency_info(GENERATOR_POOL).active_slot_count == 0


def unfinished_run(
    project_dir: Path, instance: dg.DagsterInstance, tags: dict[str, str] | None = None
) -> dg.DagsterRun:
    job = build_definitions(pipeline=Project(project_dir).pipeline).resolve_job_def("make_video")
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


def dead_process_tags(run_id: str) -> dict[str, str]:
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{_unused_pid()}:1.00:{run_id}"}


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    return record.status


def _unused_pid() -> int:
    used = set(psutil.pids())
    return next(pid for pid in range(400_000, 4_000_000) if pid not in used)


OPEN_AT_ONCE = """
import os, sys
from pathlib import Path
from s2v_pipeline.defs.instance import open_instance
hold, go = os.pipe()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(hold, 1)  # returns in all of them at the moment at which the parent closes its end
        open_instance(Path(sys.argv[1])).dispose()
        os._exit(0)
    children.append(child)
os.close(go)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_commands_that_start_at_once_in_a_new_project_make_one_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    opened = subprocess.run(
        [sys.executable, "-c", OPEN_AT_ONCE, str(tmp_path / "home")], check=False, capture_output=True
    )
    assert opened.returncode == 0, opened.stderr.decode()[-2000:]
    with open_instance(tmp_path / "home") as instance:  # and it can be opened again
        assert instance.get_runs() == []
