"""The Dagster instance that every way in uses, and order in it after a crash.

Belongs here: where the instance lives, its configuration, runs whose process is gone.
Does not belong here: starting runs (launch), servers (up).
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from pathlib import Path

import dagster as dg
import psutil
from filelock import FileLock

from s2v_pipeline.packaged import packaged_path

GENERATOR_POOL = "generator"
"""Pool of the steps that make pictures: those of one run at a time, unless its limit says more."""

HOST_TAG = "s2v/host"
PROCESS_TAG = "s2v/process"
_LOCK = ".s2v.lock"
_HOME_VARIABLE = "DAGSTER_HOME"
# Not STARTING: such a run has no process yet, and Dagster's own run monitoring gives up on it after a while.
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_GONE = "The process that executed this run is gone. Finished chunks are kept: run it again and it goes on."

_log = logging.getLogger(__name__)


def dagster_home(configured: Path) -> Path:
    """The instance's folder: DAGSTER_HOME where the user has set it, else the settings' one, made and configured."""
    home = Path(os.environ.get(_HOME_VARIABLE) or configured).resolve()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / _LOCK):  # nobody reads half of the configuration
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(packaged_path("dagster.yaml"), home / "dagster.yaml")
    return home


def open_instance(configured: Path) -> dg.DagsterInstance:
    """The instance, with runs of dead processes closed and the generator's pool limited."""
    # Dagster's own tools and the processes that they start find the instance by this variable.
    home = dagster_home(configured)
    os.environ[_HOME_VARIABLE] = str(home)
    # Dagster makes and stamps its databases when it first opens them, without a lock of its own: two commands in a new
    # project would stamp them twice, and no command could open them ever again.
    with FileLock(home / _LOCK):
        instance = dg.DagsterInstance.get()
        # A pool that Dagster has not met yet has no limit when it takes the first runs from the queue.
        if instance.global_op_concurrency_default_limit is not None:
            instance.event_log_storage.initialize_concurrency_limit_to_default(GENERATOR_POOL)
    close_dead_runs(instance)
    return instance


def mark_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Write into a run's tags that this process executes it, so that it can be told dead once the process is gone."""
    instance.add_run_tags(run_id, process_tags(run_id))


def process_tags(run_id: str) -> dict[str, str]:
    """Tags that name this process as the one that executes a run.

    They name the run, too: a re-execution takes over the tags of the run that it repeats.
    """
    process = psutil.Process()
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{process.pid}:{process.create_time():.2f}:{run_id}"}


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """End runs of this host whose process is gone and free their pool slots; their run ids.

    Dagster does not notice by itself: a run of `s2v` or the Python API has no launcher that would watch it, and the
    code server that watches the others ends with them at Ctrl-C, kill -9 or a power cut. The run would stay "started"
    for ever and hold a place in the queue that later runs wait for.
    """
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags={HOST_TAG: socket.gethostname()})):
        pid, created_at, run_id = f"{run.tags.get(PROCESS_TAG, '')}::".split(":")[:3]
        if run_id != run.run_id or _is_alive(pid, created_at):
            continue
        _log.info("run %s was left unfinished by process %s, which is gone", run.run_id, pid)
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, _GONE)
        else:
            instance.report_run_failed(run, _GONE)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _is_alive(pid: str, created_at: str) -> bool:
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == created_at and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False
