"""One local Ray for all runs of a project: started by the first that needs it, found by the others.

Belongs here: the record of where it is, who uses it, starting it once, ending it.
Does not belong here: the process that holds it (shared_keeper), connecting to it (ray_executor).

In the folder: `ray.json` (where it is), `token` (what lets one in, readable by its owner alone), `users/` (a file for
each run that is connected), `keeper.log`, `lock`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import psutil

from s2v_pipeline.artifacts import atomic_path
from s2v_pipeline.cluster.ray_environment import TOKEN_VARIABLE
from s2v_pipeline.cluster.versions import Versions, check_same, own_versions
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.process_marks import ProcessMark
from s2v_pipeline.setting_groups import ClusterSettings

SHARED = "shared"
"""The value of cluster.address that asks for it."""

_TOKEN_BYTES = 32
_START_TIMEOUT_S = 120.0  # 7 s alone with a core; a loaded machine takes many times that
_GRACE_S = 15.0  # Ray ends in 1.5 s; its processes have 10 s by Ray's own rules
_POLL_S = 0.1
_DOWN = "`s2v cluster down` ends it; the next run starts another one."


@dataclass(frozen=True)
class Record:
    """A shared Ray that is up.

    Attributes:
        address: host:port.
        keeper: the process that holds it.
        members: Ray's own processes.
        versions: of the code that it was started with.
        dashboard_url: "" without one.
    """

    address: str
    keeper: ProcessMark
    members: tuple[ProcessMark, ...]
    versions: Versions
    dashboard_url: str = ""


class SharedRay:
    """A project's shared Ray, seen from a run or from the command line.

    Args:
        folder: holds its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own_user: Path | None = None

    def join(self, settings: ClusterSettings, *, local_gpus: int | None = None) -> Record:
        """Where it is; started if it is not there. It stays at least until `leave`.

        Raises:
            ClusterError: it did not start, or was started with other code.
        """
        (self.folder / "users").mkdir(parents=True, exist_ok=True)
        with self.lock():
            record = self.record()
            if record is None:
                self._end()  # what a keeper that was killed left behind
                self._start(settings, local_gpus)
                record = self.record()
                if record is None:
                    raise self._no_start("it ended at once")
            check_same(own_versions(), record.versions, cure=_DOWN)
            own = ProcessMark.of(os.getpid())
            self._own_user = self.folder / "users" / f"{own.pid}-{uuid.uuid4().hex[:8]}"
            _write(self._own_user, asdict(own))
        return record

    def leave(self) -> None:
        """Say that this run needs it no more."""
        if self._own_user is not None:
            self._own_user.unlink(missing_ok=True)
            self._own_user = None

    def token(self) -> str:
        """What lets one in."""
        return (self.folder / "token").read_text()

    def record(self) -> Record | None:
        """Where it is; None where it is not up."""
        record = self._last_record()
        return None if record is None or record.keeper.process() is None else record

    def _last_record(self) -> Record | None:
        try:
            content = json.loads((self.folder / "ray.json").read_text())
        except FileNotFoundError:
            return None
        return Record(
            address=content["address"],
            keeper=ProcessMark(**content["keeper"]),
            members=tuple(ProcessMark(**each) for each in content["members"]),
            versions=Versions(**content["versions"]),
            dashboard_url=content["dashboard_url"],
        )

    def users(self) -> int:
        """How many runs are connected; what dead ones left behind is taken away."""
        n_alive = 0
        for path in (self.folder / "users").glob("*-*"):
            with contextlib.suppress(FileNotFoundError):
                if ProcessMark(**json.loads(path.read_text())).process() is not None:
                    n_alive += 1
                else:
                    path.unlink()
        return n_alive

    def down(self) -> bool:
        """End it with all its processes; whether it was up.

        Runs that use it fail; run again they go on from their finished chunks.
        """
        if not self.folder.is_dir():
            return False
        with self.lock():
            was_up = self.record() is not None
            self._end()
        return was_up

    def lock(self) -> filelock.BaseFileLock:
        """Who starts, joins or ends it."""
        return filelock.FileLock(self.folder / "lock", timeout=_START_TIMEOUT_S + _GRACE_S)

    def _start(self, settings: ClusterSettings, local_gpus: int | None) -> None:
        options = {
            "num_cpus": settings.num_cpus,
            "num_gpus": local_gpus,
            "object_store_mb": settings.object_store_mb,
            "idle_s": settings.idle_s,
            "dashboard": settings.dashboard,
        }
        token = os.environ.get(TOKEN_VARIABLE) or secrets.token_hex(_TOKEN_BYTES)
        with os.fdopen(os.open(self.folder / "token", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(token)
        with (self.folder / "keeper.log").open("wb") as log:
            # A session of its own: neither Ctrl-C nor the end of the run that starts it reaches it.
            keeper = subprocess.Popen(
                [sys.executable, "-m", "s2v_pipeline.cluster.shared_keeper", str(self.folder), json.dumps(options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, TOKEN_VARIABLE: token, "PYTHONPATH": os.pathsep.join(_import_path())},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.record() is None:
            if keeper.poll() is not None:
                raise self._no_start(f"its process ended with {keeper.returncode}")
            if time.monotonic() > deadline:
                keeper.kill()
                keeper.wait()
                raise self._no_start(f"nothing within {_START_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        # It is this process's child until this process ends, and must not stay a zombie if it ends first.
        threading.Thread(target=keeper.wait, name="ray-keeper", daemon=True).start()

    def _no_start(self, got: str) -> ClusterError:
        return ClusterError(
            "the shared Ray of this project must start",
            got=got,
            cure=f"Its log is {self.folder / 'keeper.log'}; without cluster.address each run starts its own.",
        )

    def _end(self) -> None:
        record = self._last_record()
        if record is None:
            return
        keeper = record.keeper.process()
        left = [process for process in (mark.process() for mark in record.members) if process is not None]
        if keeper is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                left += [keeper, *keeper.children(recursive=True)]
                keeper.terminate()
                psutil.wait_procs([keeper], timeout=_GRACE_S)
        # Ray's agents outlive a keeper that was killed: nobody is their parent, but they stay in its session.
        left += record.keeper.session()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_GRACE_S)
        (self.folder / "ray.json").unlink(missing_ok=True)


def _import_path() -> list[str]:
    """So that the keeper and Ray's workers find this code, and not another copy, whatever their folder."""
    before = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).parents[2]), *([before] if before else [])]


def write_record(folder: Path, record: Record) -> None:
    """Say where it is."""
    _write(folder / "ray.json", asdict(record))


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))
