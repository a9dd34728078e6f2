"""The Dagster instance that every way in uses, and order in it after a crash.

Belongs here: where the instance lives, its configuration, runs whose process is gone.
Does not belong here: starting runs (launch), servers (up).
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from pathlib import Path

import dagster as dg
import psutil
from filelock import FileLock

from s2v_pipeline.packaged import packaged_path

GENERATOR_POOL = "generator"
"""Pool of the steps that make pictures: those of one run at a time, unless its limit says more."""

HOST_TAG = "s2v/host"
PROCESS_TAG = "s2v/process"
WAY_IN_TAG = "s2v/way_in"
_LOCK = ".s2v.lock"
_HOME_VARIABLE = "DAGSTER_HOME"
# Not STARTING: such a run has no process yet, and Dagster's own run monitoring gives up on it after a while.
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# Every run marks itself with its process when it gets its resources, its first act, seconds after it has started.
_MARKED_AFTER_S = 180.0
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
    """End runs of this host whose process is gone, or died before it could say that it is theirs; their run ids.

    Their pool slots are freed.

    Dagster does not notice by itself: a run of `s2v` or the Python API has no launcher that would watch it, and the
    code server that watches the others ends with them at Ctrl-C, kill -9 or a power cut. The run would stay "started"
    for ever and hold a place in the queue that later runs wait for.
    """
    closed = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        if not _is_dead(record):
            continue
        run = instance.get_run_by_id(record.dagster_run.run_id)
        if run is None or run.status not in _UNFINISHED:
            continue  # it ended between the two looks
        _log.info("run %s was left unfinished by process %s", run.run_id, run.tags.get(PROCESS_TAG, "unknown"))
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, _GONE)
        else:
            instance.report_run_failed(run, _GONE)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _is_dead(record: dg.RunRecord) -> bool:
    """Whether a run's process is gone, as far as this host can tell."""
    tags = record.dagster_run.tags
    pid, created_at, run_id = f"{tags.get(PROCESS_TAG, '')}::".split(":")[:3]
    if run_id != record.dagster_run.run_id:
        # An instance may hold runs of other projects, which mark nothing.
        is_ours = WAY_IN_TAG in tags
        return is_ours and record.start_time is not None and time.time() - record.start_time > _MARKED_AFTER_S
    return tags.get(HOST_TAG) == socket.gethostname() and not _is_alive(pid, created_at)


def _is_alive(pid: str, created_at: str) -> bool:
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == created_at and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False
