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

from s2v_pipeline.packaged import packaged_path

HOST_TAG = "s2v/host"
PROCESS_TAG = "s2v/process"
_HOME_VARIABLE = "DAGSTER_HOME"
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]

_log = logging.getLogger(__name__)


def dagster_home(configured: Path) -> Path:
    """The instance's folder: DAGSTER_HOME where the user has set it, else the settings' one, made and configured."""
    home = Path(os.environ.get(_HOME_VARIABLE) or configured).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(packaged_path("dagster.yaml"), home / "dagster.yaml")
    return home


def open_instance(configured: Path) -> dg.DagsterInstance:
    """The instance, with runs of dead processes closed."""
    # Dagster's own tools and the processes that they start find the instance by this variable.
    os.environ[_HOME_VARIABLE] = str(dagster_home(configured))
    instance = dg.DagsterInstance.get()
    close_dead_runs(instance)
    return instance


def process_tags() -> dict[str, str]:
    """Tags by which a run that this process executes can be told dead once the process is gone."""
    process = psutil.Process()
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{process.pid}:{process.create_time():.2f}"}


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of this host whose process is gone as failed and free their pool slots; their run ids.

    A run that `s2v` or the Python API executes has no launcher that would watch it: killed with -9, it would stay
    "started" and keep the generator's slot for ever.
    """
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED, tags={HOST_TAG: socket.gethostname()})):
        if _is_alive(run.tags.get(PROCESS_TAG, "")):
            continue
        _log.warning("run %s was left unfinished by a process that is gone; marked as failed", run.run_id)
        instance.report_run_failed(run, "The process that executed this run is gone. Run it again: it goes on.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        closed.append(run.run_id)
    return closed


def _is_alive(process_tag: str) -> bool:
    pid, _, created_at = process_tag.partition(":")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created_at
    except (psutil.NoSuchProcess, ValueError):
        return False
