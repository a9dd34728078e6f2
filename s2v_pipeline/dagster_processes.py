"""Dagster's own processes under `s2v up`: UI, daemon and code server, as one session.

Belongs here: starting them, asking whether they answer, ending them, ending what a killed `s2v up` left.
Does not belong here: when (up), what they do (defs).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil

from s2v_pipeline.artifacts import atomic_path
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.packaged import packaged_path
from s2v_pipeline.process_marks import ProcessMark

_RECORD = "up.json"
_POLL_S = 0.2
_ASK_TIMEOUT_S = 1.0  # for one question to the UI whether it is there
_GRACE_S = 12.0  # `dagster dev` stops in about 5 s; twice that and some for a loaded machine
_KILL_WAIT_S = 3.0  # for the kernel to take a killed process away
# `dagster dev` is what a workspace file and an installed package need; its advice to use `dg dev` needs a checkout.
_QUIET = ("-W", "ignore:Function `dev_command`:FutureWarning")

_log = logging.getLogger(__name__)


class DagsterProcesses:
    """UI, daemon and code server of a project; started again with `start` after they have ended.

    Attributes:
        home: folder of the Dagster instance; `up.json` in it says which `s2v up` serves it, and by which processes.
    """

    def __init__(self, home: Path, *, folder: Path, host: str, port: int) -> None:
        self.home = home
        self._folder, self._host, self._port = folder, host, port
        self._leader: subprocess.Popen[bytes] | None = None
        self._mark: ProcessMark | None = None

    def end_left_over(self) -> bool:
        """End what a `s2v up` that was killed left running; whether there was anything.

        Raises:
            SettingsError: a `s2v up` that lives serves this instance; two would start every run twice.
        """
        try:
            record = json.loads((self.home / _RECORD).read_text())
        except FileNotFoundError:
            return False
        owner = ProcessMark(**record["up"])
        if owner.process() is not None:
            raise SettingsError(
                "one `s2v up` may serve a Dagster instance",
                got=f"process {owner.pid} serves {self.home}",
                cure="Use that one, or end it first.",
            )
        leader = ProcessMark(**record["dagster"])
        had_any = bool(leader.session())
        _end_session(leader)
        (self.home / _RECORD).unlink(missing_ok=True)
        return had_any

    def start(self) -> None:
        """Start them all; they answer about ten seconds later."""
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others in order.
        self._leader = subprocess.Popen(
            self._command(), cwd=self._folder, env=os.environ.copy(), start_new_session=True
        )
        self._mark = ProcessMark.of(self._leader.pid)
        record = {"up": asdict(ProcessMark.of(os.getpid())), "dagster": asdict(self._mark)}
        with atomic_path(self.home / _RECORD) as temporary:
            temporary.write_text(json.dumps(record))

    def exit_code(self) -> int | None:
        """None while they run."""
        return None if self._leader is None else self._leader.poll()

    def answers(self) -> bool:
        """Whether the Dagster UI is there; asked without a proxy, whatever the environment says."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_ASK_TIMEOUT_S)
        try:
            connection.request("GET", "/server_info")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def end(self) -> None:
        """Ask them to end, wait, then kill every process of the session that is left."""
        if self._leader is None or self._mark is None:
            return
        if self._leader.poll() is None:
            self._leader.send_signal(signal.SIGINT)
            try:
                self._leader.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                _log.warning("Dagster did not end within %.0f s and is killed", _GRACE_S)
        _end_session(self._mark)
        self._leader.wait()
        (self.home / _RECORD).unlink(missing_ok=True)

    def _command(self) -> list[str]:
        return [
            *(sys.executable, *_QUIET, "-m", "dagster", "dev"),
            *("--workspace", str(packaged_path("workspace.yaml"))),
            *("--host", self._host, "--port", str(self._port), "--log-level", "warning"),
        ]


def _end_session(leader: ProcessMark) -> None:
    deadline = time.monotonic() + _KILL_WAIT_S
    # Again and again: one that is being killed may just have started another.
    while (left := leader.session()) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_POLL_S)
