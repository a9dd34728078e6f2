"""Retries that Dagster loses, made to be lost by its own code, on a real instance; and that each is made once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from s2v_pipeline.defs.instance import open_instance
from s2v_pipeline.defs.lost_runs import MOST_TIMES, WAIT_S, find_lost_runs, recover_runs, report_lost_runs

# Dagster's daemon says with it that it starts anew.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")

inputs = dg.DynamicPartitionsDefinition(name="lost_runs_inputs")


@dg.op
def work() -> None:
    """Never runs here: what is tested is which runs are made."""


@dg.job(partitions_def=inputs)
def made_job() -> None:
    work()


defs = dg.Definitions(jobs=[made_job])


@dataclass
class Daemon:
    """The part of Dagster's daemon that makes retries, a turn at a time."""

    instance: dg.DagsterInstance
    context: WorkspaceProcessContext
    n_inputs: int = 0

    def turn(self) -> None:
        list(EventLogConsumerDaemon().run_iteration(self.context))

    def new_run(self, *, partition: str | None = None, **tags: str) -> dg.DagsterRun:
        """A run of an input of its own, unless one is named, that is in progress."""
        self.n_inputs += 1
        location = next(iter(self.context.create_request_context().code_locations))
        (repository,) = location.get_repositories().values()
        job = repository.get_full_job(made_job.name)
        return self.instance.create_run_for_job(
            made_job,
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": partition or f"input-{self.n_inputs}", **tags},
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
        )

    def retries(self, run: dg.DagsterRun) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run.run_id})))

    def is_lost(self, run: dg.DagsterRun, *, after_s: float = WAIT_S + 1) -> bool:
        return run.run_id in [lost.run.run_id for lost in find_lost_runs(self.instance, now_s=time.time() + after_s)]

    def report_lost(self, run: dg.DagsterRun) -> None:
        """What the sensor does when the runs that failed just now have waited long enough."""
        found = report_lost_runs(self.instance, now_s=time.time() + WAIT_S + 1)
        assert run.run_id in [lost.run.run_id for lost in found]

    @contextmanager
    def looking_too_early(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """It takes its turn when a failure is in the event log and not yet in the run's record."""
        storage = self.instance.run_storage
        handle = storage.handle_run_event

        def turn_first(*arguments: Any) -> None:
            self.turn()
            handle(*arguments)

        with patch.context() as early:
            early.setattr(storage, "handle_run_event", turn_first)
            yield


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DAGSTER_HOME", str(tmp_path_factory.mktemp("home")))
        instance = stack.enter_context(open_instance(Path()))
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(executable_path=None, module_name=__name__, attribute="defs")
        )
        context = WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin))
        daemon = Daemon(instance, stack.enter_context(context))
        daemon.turn()  # its first turn passes by what was there before
        yield daemon


@pytest.fixture
def lost(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterRun:
    """A run whose retry the daemon has missed."""
    run = daemon.new_run()
    with daemon.looking_too_early(monkeypatch):
        daemon.instance.report_run_failed(run)
    daemon.turn()
    assert decision(daemon, run) == "true"
    assert daemon.retries(run) == []  # else Dagster has mended it, and the sensor is needed no more
    return run


def decision(daemon: Daemon, run: dg.DagsterRun) -> str | None:
    """Whether Dagster says that it will try the run again."""
    now = daemon.instance.get_run_by_id(run.run_id)
    assert now is not None
    return now.tags.get("dagster/will_retry")


def test_what_the_daemon_retries_itself_is_not_lost(daemon: Daemon) -> None:
    run = daemon.new_run()
    daemon.instance.report_run_failed(run)
    daemon.turn()
    assert len(daemon.retries(run)) == 1
    assert not daemon.is_lost(run)


@pytest.mark.parametrize("killed_in", ["create_reexecuted_run", "submit_run"])
def test_a_daemon_that_is_killed_at_a_retry_goes_on_by_itself(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    run = daemon.new_run()
    daemon.instance.report_run_failed(run)
    with monkeypatch.context() as killed:
        killed.setattr(dg.DagsterInstance, killed_in, interrupt)
        with pytest.raises(KeyboardInterrupt):
            daemon.turn()
    daemon.turn()
    (retry,) = daemon.retries(run)
    assert retry.status is dg.DagsterRunStatus.QUEUED
    assert not daemon.is_lost(run)


def test_a_failure_that_the_daemon_met_too_early_is_retried_once(daemon: Daemon, lost: dg.DagsterRun) -> None:
    daemon.report_lost(lost)
    daemon.turn()
    (retry,) = daemon.retries(lost)
    assert retry.status is dg.DagsterRunStatus.QUEUED
    assert retry.root_run_id == lost.run_id
    assert retry.tags["dagster/partition"] == lost.tags["dagster/partition"]
    assert not daemon.is_lost(lost)
    daemon.turn()
    assert len(daemon.retries(lost)) == 1


def test_reports_that_come_too_often_are_one_retry(daemon: Daemon, lost: dg.DagsterRun) -> None:
    for _ in range(2):
        daemon.report_lost(lost)
    daemon.turn()
    daemon.instance.report_run_failed(lost)
    daemon.turn()
    assert len(daemon.retries(lost)) == 1


def test_a_failure_that_is_new_is_left_to_the_daemon(daemon: Daemon, lost: dg.DagsterRun) -> None:
    assert not daemon.is_lost(lost, after_s=0)


def test_a_decision_that_was_never_written_is_made_later(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    run = daemon.new_run()
    with monkeypatch.context() as killed, daemon.looking_too_early(monkeypatch):
        killed.setattr(daemon.instance, "add_run_tags", interrupt)
        with pytest.raises(KeyboardInterrupt):
            daemon.instance.report_run_failed(run)
    assert decision(daemon, run) is None
    daemon.report_lost(run)
    daemon.turn()
    assert len(daemon.retries(run)) == 1


def test_a_code_server_that_is_away_does_not_end_the_retries(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    run = daemon.new_run()
    daemon.instance.report_run_failed(run)
    with monkeypatch.context() as killed:
        killed.setattr(dg.DagsterInstance, "create_reexecuted_run", code_server_is_away)
        daemon.turn()
    assert decision(daemon, run) == "false"  # Dagster does not come back to it
    daemon.report_lost(run)
    daemon.turn()
    assert len(daemon.retries(run)) == 1


@pytest.mark.parametrize("tags", [{"dagster/max_retries": "0"}, {"dagster/failure_reason": "STEP_FAILURE"}])
def test_what_was_not_to_be_tried_again_is_left(daemon: Daemon, tags: dict[str, str]) -> None:
    run = daemon.new_run(**tags)
    daemon.instance.report_run_failed(run)
    daemon.turn()
    assert decision(daemon, run) == "false"
    assert not daemon.is_lost(run)


def test_there_are_as_many_retries_as_the_instance_says(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    run = daemon.new_run()
    for _ in range(daemon.instance.run_retries_max_retries):
        with daemon.looking_too_early(monkeypatch):
            daemon.instance.report_run_failed(run)
        daemon.report_lost(run)
        daemon.turn()
        (run,) = daemon.retries(run)
    daemon.instance.report_run_failed(run)
    daemon.turn()
    assert not daemon.is_lost(run)
    assert daemon.retries(run) == []


def test_an_input_that_a_later_run_has_taken_up_is_not_lost(daemon: Daemon, lost: dg.DagsterRun) -> None:
    assert daemon.is_lost(lost)
    daemon.new_run(partition=lost.tags["dagster/partition"])
    assert not daemon.is_lost(lost)


def test_dagster_is_asked_a_few_times_and_then_the_tick_says_so(
    daemon: Daemon, lost: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2v_pipeline.defs.lost_runs.WAIT_S", 0.0)
    said = []
    for _ in range(MOST_TIMES + 1):
        result = recover_runs(dg.build_sensor_context(instance=daemon.instance))
        assert isinstance(result, dg.SkipReason)
        said += [part for part in str(result.skip_message).split("; ") if lost.run_id in part]
    assert ["by hand" in each for each in said] == [False] * MOST_TIMES + [True]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def code_server_is_away(*_: object, **__: object) -> None:
    raise DagsterUserCodeUnreachableError("the code server is away")
