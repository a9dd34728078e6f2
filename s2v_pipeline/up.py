"""`s2v up`: the Dagster UI with its daemon and code server, and the file server; all on loopback, all ended together.

Belongs here: starting and ending processes. Does not belong here: what they do.
"""

from __future__ import annotations

import http.client
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import psutil

from s2v_pipeline.cluster.shared_ray import SharedRay
from s2v_pipeline.defs.instance import close_dead_runs
from s2v_pipeline.defs.launch import Project
from s2v_pipeline.defs.run_facts import METRICS_PATH, metrics_page
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.fileserver import HOST, FileServer
from s2v_pipeline.machine import port_error
from s2v_pipeline.packaged import packaged_path

_POLL_S = 0.2
_ASK_TIMEOUT_S = 1.0  # for one question to the UI whether it is there
_GRACE_S = 12.0  # `dagster dev` stops in about 5 s; twice that and some for a loaded machine
_KILL_WAIT_S = 3.0  # for the kernel to take a killed process away
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, the terminal window is closed
# `dagster dev` is what a workspace file and an installed package need; its advice to use `dg dev` needs a checkout.
_QUIET = ("-W", "ignore:Function `dev_command`:FutureWarning")

_log = logging.getLogger(__name__)


def serve(project: Project, *, say: Callable[[str], None]) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, or until Dagster ends by itself; the exit code.

    Everything that was started is ended: first asked, then, after a grace period, killed. Runs that were in progress
    are marked as failed; Dagster's daemon starts them again at the next `s2v up`, and they go on from their finished
    chunks.

    Raises:
        SettingsError: a port cannot be had.
    """
    settings = project.settings().settings
    _check_port(settings.server.dagster_port)
    project.pipeline.inputs_folder().mkdir(parents=True, exist_ok=True)
    root = project.pipeline.store().root
    # Opened before Dagster starts: sets DAGSTER_HOME for it and closes what an earlier crash left unfinished.
    with ExitStack() as open_until_the_end:
        instance = open_until_the_end.enter_context(project.instance())
        pages = {METRICS_PATH: metrics_page(instance, project.pipeline)}
        open_until_the_end.enter_context(FileServer(root, settings.server.file_port, pages))
        stopping = _stop_on_signals()
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others in order.
        dagster = subprocess.Popen(
            _dagster_command(settings.server.dagster_port),
            cwd=project.folder,
            env=os.environ.copy(),
            start_new_session=True,
        )
        try:
            say("Dagster is starting (about ten seconds) ...")
            while not stopping and dagster.poll() is None and not _answers(settings.server.dagster_port):
                time.sleep(_POLL_S)
            if not stopping and dagster.poll() is None:
                say(f"Dagster UI     http://{HOST}:{settings.server.dagster_port}")
                say(f"files          http://{HOST}:{settings.server.file_port}/files/")
                say(f"metrics        http://{HOST}:{settings.server.file_port}{METRICS_PATH}")
                say(f"watched folder {project.pipeline.inputs_folder()}")
                say("Ctrl-C ends everything")
            while not stopping and dagster.poll() is None:
                time.sleep(_POLL_S)
            say("ending ..." if stopping else f"Dagster ended by itself with exit code {dagster.returncode}, see above")
        finally:
            end_session(dagster)
            if SharedRay(project.pipeline.shared_ray_folder()).down():
                say("ended the Ray that runs shared")
        n_interrupted = len(close_dead_runs(instance))
    if n_interrupted:
        say(f"{n_interrupted} runs were interrupted; the next `s2v up` starts them again, finished chunks are kept")
    return 0 if stopping else dagster.returncode


def end_session(leader: subprocess.Popen[bytes]) -> None:
    """Ask the leader of a session to end, wait, then kill every process of the session that is left.

    By session rather than by parents: a process whose parent is gone belongs to nobody, but stays in its session.
    """
    if leader.poll() is None:
        leader.send_signal(signal.SIGINT)
        try:
            leader.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            _log.warning("Dagster did not end within %.0f s and is killed", _GRACE_S)
    deadline = time.monotonic() + _KILL_WAIT_S
    # Again and again: one that is being killed may just have started another.
    while (left := _session(leader.pid)) and time.monotonic() < deadline:
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=_POLL_S)
    leader.wait()


def _session(session_id: int) -> list[psutil.Process]:
    """Living processes of a session."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session_id and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def _dagster_command(port: int) -> list[str]:
    return [
        *(sys.executable, *_QUIET, "-m", "dagster", "dev"),
        *("--workspace", str(packaged_path("workspace.yaml"))),
        *("--host", HOST, "--port", str(port), "--log-level", "warning"),
    ]


def _check_port(port: int) -> None:
    error = port_error(HOST, port)
    if error is not None:
        raise SettingsError(
            "setting server.dagster_port must name a port on which this user may listen",
            got=f"{port} ({error})",
            cure="End what uses it (another `s2v up`?), or set S2V_SERVER__DAGSTER_PORT to a free port.",
        )


def _answers(port: int) -> bool:
    """Whether the Dagster UI is there; asked without a proxy, whatever the environment says."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop_on_signals() -> list[int]:
    """A list that becomes non-empty when one of the signals arrives."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    for number in _STOP_SIGNALS:
        signal.signal(number, note)
    return received
