"""The process that holds a project's shared Ray and ends it when nobody has used it for a while.

Belongs here: starting Ray, watching it and its users, ending it.
Does not belong here: who starts this process and finds it (shared_ray).

The kernel ends Ray's processes when the thread that started them ends, so that none outlives this process, however it
ends; and it lives in no run, so that none ends it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import psutil

from s2v_pipeline.cluster.ray_connection import start_ray
from s2v_pipeline.cluster.shared_ray import Record, SharedRay, write_record
from s2v_pipeline.cluster.versions import own_versions
from s2v_pipeline.process_marks import ProcessMark

_log = logging.getLogger(__name__)

_POLL_S = 0.5
# Without one of these the rest is of no use.
_VITAL = ("gcs_server", "raylet")
_KILL_WAIT_S = 5.0


def keep(folder: Path, options: dict[str, Any]) -> None:
    """Start Ray, say where it is, hold it until a signal comes, it dies, or nobody has used it for `idle_s`."""
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dashboard = start_ray(
        num_cpus=options["num_cpus"],
        num_gpus=options["num_gpus"],
        dashboard=options["dashboard"],
        object_store_mb=options["object_store_mb"],
    )
    import ray

    members = psutil.Process().children(recursive=True)
    vital = [process for process in members if process.name() in _VITAL]
    shared = SharedRay(folder)
    write_record(
        folder,
        Record(
            address=ray.get_runtime_context().gcs_address,
            keeper=ProcessMark.of(os.getpid()),
            members=tuple(ProcessMark(process.pid, process.create_time()) for process in members),
            versions=own_versions(),
            dashboard_url=dashboard,
        ),
    )
    _watch(shared, vital, options["idle_s"], ending)
    members += psutil.Process().children(recursive=True)
    ray.shutdown()
    left = [process for process in members if process.is_running()]
    psutil.wait_procs(left, timeout=_KILL_WAIT_S)
    for process in left:
        if process.is_running():
            process.kill()


def _watch(shared: SharedRay, vital: list[psutil.Process], idle_s: float, ending: threading.Event) -> None:
    """Return when it is to end; its record is gone by then, but where a signal ends it, whose sender has the lock."""
    used_at = time.monotonic()
    while not ending.wait(_POLL_S):
        is_dead = any(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in vital)
        if shared.users():
            used_at = time.monotonic()
        if is_dead or time.monotonic() - used_at >= idle_s:
            try:
                with shared.lock().acquire(timeout=0):
                    if is_dead or not shared.users():
                        (shared.folder / "ray.json").unlink(missing_ok=True)
                        return
            except filelock.Timeout:
                continue  # somebody joins


if __name__ == "__main__":
    keep(Path(sys.argv[1]), json.loads(sys.argv[2]))
