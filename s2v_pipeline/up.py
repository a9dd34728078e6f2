"""`s2v up`: the Dagster UI with its daemon and code server, and the file server; all on loopback, all ended together.

Belongs here: starting and ending processes. Does not belong here: what they do.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

import psutil

from s2v_pipeline.defs.launch import Project
from s2v_pipeline.fileserver import FileServer
from s2v_pipeline.packaged import packaged_path

_POLL_S = 0.2
_GRACE_S = 15.0  # `dagster dev` stops in about 5 s; twice that and some for a loaded machine
_HOST = "127.0.0.1"

_log = logging.getLogger(__name__)


def serve(project: Project, *, say: Callable[[str], None]) -> int:
    """Serve until Ctrl-C or SIGTERM, or until Dagster ends by itself; the exit code.

    Everything that was started is ended: first asked, then, after a grace period, killed with its descendants.
    """
    settings = project.settings().settings
    project.instance().dispose()  # closes runs of dead processes and sets DAGSTER_HOME for the children
    project.pipeline.inputs_folder().mkdir(parents=True, exist_ok=True)
    store = project.pipeline.store()
    store.root.mkdir(parents=True, exist_ok=True)
    stopping = _stop_on_signals()
    command = [
        *(sys.executable, "-m", "dagster", "dev"),
        *("--workspace", str(packaged_path("workspace.yaml"))),
        *("--host", _HOST, "--port", str(settings.server.dagster_port)),
    ]
    with FileServer(store.root, settings.server.file_port):
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others in order.
        dagster = subprocess.Popen(command, cwd=project.folder, env=os.environ.copy(), start_new_session=True)
        try:
            say(f"Dagster UI     http://{_HOST}:{settings.server.dagster_port}")
            say(f"files          http://{_HOST}:{settings.server.file_port}/files/")
            say(f"watched folder {project.pipeline.inputs_folder()}")
            say("Ctrl-C ends everything")
            while dagster.poll() is None and not stopping:
                time.sleep(_POLL_S)
        finally:
            end_process_tree(dagster)
    return 0 if stopping else dagster.returncode


def end_process_tree(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, wait, then kill it and every descendant that is left."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            _log.warning("Dagster did not end within %.0f s and is killed", _GRACE_S)
            process.kill()
            process.wait()
    _, alive = psutil.wait_procs(family, timeout=1)
    for descendant in alive:
        try:
            descendant.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=_GRACE_S)


def _stop_on_signals() -> list[int]:
    """A list that becomes non-empty when SIGINT or SIGTERM arrives."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return received
