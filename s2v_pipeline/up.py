"""`s2v up`: the Dagster UI with its daemon and code server, and the file server; all on loopback, all ended together.

Belongs here: the order of starting and ending, again where Dagster ended by itself.
Does not belong here: Dagster's processes themselves (dagster_processes), what they do.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from s2v_pipeline.cluster.shared_ray import SharedRay
from s2v_pipeline.dagster_processes import DagsterProcesses
from s2v_pipeline.defs.instance import close_dead_runs, dagster_home
from s2v_pipeline.defs.launch import Project
from s2v_pipeline.defs.run_facts import METRICS_PATH, metrics_page
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.fileserver import HOST, FileServer
from s2v_pipeline.machine import port_error

_POLL_S = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, the terminal window is closed
# Dagster ends with any of its processes, as where the kernel takes one for want of memory. What breaks again and again
# is not that, and somebody must look.
_MOST_RESTARTS = 5
_RESTARTS_WITHIN_S = 600.0

_log = logging.getLogger(__name__)


def serve(project: Project, *, say: Callable[[str], None]) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, or until Dagster ends by itself too often; the exit code.

    Everything that was started is ended: first asked, then, after a grace period, killed. Runs that were in progress
    are marked as failed; Dagster's daemon starts them again, at once where Dagster ended by itself, else at the next
    `s2v up`, and they go on from their finished chunks.

    Raises:
        SettingsError: a port cannot be had, or another `s2v up` serves this instance.
    """
    settings = project.settings().settings
    port = settings.server.dagster_port
    home = dagster_home(project.folder / settings.paths.dagster_home)
    dagster = DagsterProcesses(home, folder=project.folder, host=HOST, port=port)
    if dagster.end_left_over():
        say("ended what a `s2v up` that was killed had left running")
    _check_port(port)
    project.pipeline.inputs_folder().mkdir(parents=True, exist_ok=True)
    root = project.pipeline.store().root
    # Opened before Dagster starts: sets DAGSTER_HOME for it and closes what an earlier crash left unfinished.
    with ExitStack() as open_until_the_end:
        instance = open_until_the_end.enter_context(project.instance())
        pages = {METRICS_PATH: metrics_page(instance, project.pipeline)}
        open_until_the_end.enter_context(FileServer(root, settings.server.file_port, pages))
        stopping = _stop_on_signals()
        restarts = _Restarts()
        try:
            while True:
                dagster.start()
                say("Dagster is starting (about ten seconds) ...")
                while not stopping and dagster.exit_code() is None and not dagster.answers():
                    time.sleep(_POLL_S)
                has_answered = not stopping and dagster.exit_code() is None
                if has_answered:
                    say(f"Dagster UI     http://{HOST}:{port}")
                    say(f"files          http://{HOST}:{settings.server.file_port}/files/")
                    say(f"metrics        http://{HOST}:{settings.server.file_port}{METRICS_PATH}")
                    say(f"watched folder {project.pipeline.inputs_folder()}")
                    say("Ctrl-C ends everything")
                while not stopping and dagster.exit_code() is None:
                    time.sleep(_POLL_S)
                if stopping:
                    say("ending ...")
                    break
                say(f"Dagster ended by itself with exit code {dagster.exit_code()}, see above")
                if not has_answered or not restarts.allow_one():
                    break
                dagster.end()
                close_dead_runs(instance)
        finally:
            dagster.end()
            if SharedRay(project.pipeline.shared_ray_folder()).down():
                say("ended the Ray that runs shared")
        n_interrupted = len(close_dead_runs(instance))
    if n_interrupted:
        say(f"{n_interrupted} runs were interrupted; the next `s2v up` starts them again, finished chunks are kept")
    return 0 if stopping else dagster.exit_code() or 1


class _Restarts:
    """How often Dagster may be started again."""

    def __init__(self) -> None:
        self._at_s: list[float] = []

    def allow_one(self) -> bool:
        now_s = time.monotonic()
        self._at_s = [at_s for at_s in self._at_s if now_s - at_s < _RESTARTS_WITHIN_S]
        if len(self._at_s) == _MOST_RESTARTS:
            _log.error("Dagster ended %d times within %.0f minutes", _MOST_RESTARTS + 1, _RESTARTS_WITHIN_S / 60)
            return False
        self._at_s.append(now_s)
        return True


def _check_port(port: int) -> None:
    error = port_error(HOST, port)
    if error is not None:
        raise SettingsError(
            "setting server.dagster_port must name a port on which this user may listen",
            got=f"{port} ({error})",
            cure="End what uses it (another `s2v up`?), or set S2V_SERVER__DAGSTER_PORT to a free port.",
        )


def _stop_on_signals() -> list[int]:
    """A list that becomes non-empty when one of the signals arrives."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    for number in _STOP_SIGNALS:
        signal.signal(number, note)
    return received
