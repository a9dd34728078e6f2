"""Hosts of a cluster on one machine, like pods: each has its own network, processes, /tmp/ray and /dev/shm.

Belongs here: Linux namespaces, names of hosts, cutting the link of one, ending what runs in it.
Does not belong here: Ray, the manifests, what is tested.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from s2v_pipeline_tests.conftest import REPOSITORY

_SHARED_MEMORY = "512m"
RAY_IS_UP = "This command will now block"
"""What `ray start --block` says when it is up."""
LATE = "timed out during startup"
_TOOLS = ("ip", "unshare", "bash", "mount")


def missing_right() -> str:
    """Why hosts cannot be made here; "" if they can."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} is not installed"
    name = f"s2v{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces need a right that this user has not: {made.stderr.strip()}"
    can = [
        "ip",
        "netns",
        "exec",
        name,
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "mount",
        "-t",
        "tmpfs",
        "x",
        "/mnt",
    ]
    mounted = subprocess.run(can, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], check=True)
    return "" if mounted.returncode == 0 else f"namespaces of processes and mounts: {mounted.stderr.strip()}"


def write_command(folder: Path, name: str, script: str) -> None:
    """Make a command of bash that hosts find (`pod_environment`)."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/bash\nset -e\n{script}\n")
    (folder / "bin" / name).chmod(0o755)


def pod_environment(folder: Path) -> dict[str, str]:
    """Variables of processes in hosts, which find `ray` and what `write_command` has made."""
    write_command(folder, "ray", f'exec {sys.executable} -m ray.scripts.scripts "$@"')
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return {
        "PATH": path,
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 64,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Names are in /etc/hosts alone; gRPC's own resolver would wait for a server of names.
        "GRPC_DNS_RESOLVER": "native",
    }


def twice(command: str) -> str:
    """A line of bash that gives a command again if it fails, as Kubernetes does: Ray itself gives a start 30 s, which a
    loaded machine can take."""
    return f"{command} || {command}"


class Pods:
    """Hosts that see each other through a switch; use it as a context manager, which ends all that runs in them.

    Args:
        names: of the hosts; each knows the others by them.
        folder: for their output; `name.log`.
        environment: of what runs in them.
    """

    def __init__(self, names: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> None:
        self._names = names
        self._folder = folder
        self._environment = dict(environment)
        self._prefix = f"s2v{uuid.uuid4().hex[:6]}"
        self._switch = f"{self._prefix}-switch"
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, name: str, script: str) -> subprocess.Popen[bytes]:
        """Run a script in a host as its first process; all of its processes end with it.

        Args:
            name: of the host.
            script: of bash, run with -e.
        """
        (self._folder / f"ray-{name}").mkdir(exist_ok=True)
        private = (
            f"mkdir -p /tmp/ray; mount --bind {self._folder}/ray-{name} /tmp/ray\n"
            f"mount -t tmpfs -o size={_SHARED_MEMORY} s2v /dev/shm"
        )
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self._netns(name)),
                    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("bash", "-ec", f"{private}\n{script}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        self._started.append((name, process))
        return process

    def wait_until_said(self, name: str, words: str, timeout_s: float) -> None:
        """Return when a host's scripts have said something.

        Raises:
            AssertionError: they have not in time, or have ended.
        """
        deadline = time.monotonic() + timeout_s
        while words not in self.log(name):
            assert all(each.poll() is None for host, each in self._started if host == name), self.log(name)
            assert time.monotonic() < deadline, f"{name} has not said {words!r}: {self.log(name)}"
            time.sleep(0.2)

    def wait(self, process: subprocess.Popen[bytes], timeout_s: float, *, may_end: tuple[str, ...] = ()) -> int:
        """The exit code of what was started.

        Args:
            process: that is waited for.
            timeout_s: how long.
            may_end: hosts whose scripts may end meanwhile.

        Raises:
            AssertionError: it has not ended in time, or another host did, which none should.
        """
        deadline = time.monotonic() + timeout_s
        host = next(name for name, each in self._started if each is process)
        while process.poll() is None:
            for name, other in self._started:
                assert name in (*may_end, host) or other.poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"{process.args} has not ended after {timeout_s} s"
            time.sleep(0.2)
        return process.returncode

    def log(self, name: str) -> str:
        """What a host's scripts have said."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def cut(self, name: str) -> None:
        """Take a host off the switch."""
        self._set_link(name, "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        self._set_link(name, "up")

    def _set_link(self, name: str, state: str) -> None:
        _run("ip", "-n", self._switch, "link", "set", f"port{self._names.index(name)}", state)

    def _netns(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _hosts(self, name: str) -> Path:
        """`ip netns exec` lays what is here over /etc."""
        return Path("/etc/netns") / self._netns(name)

    def _make(self) -> None:
        # The switch has a namespace of its own: the machine's rules for forwarding do not reach it.
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
        _run("ip", "-n", self._switch, "addr", "add", "10.213.7.254/24", "dev", "switch")
        _run("ip", "-n", self._switch, "link", "set", "switch", "up")
        addresses = [f"10.213.7.{index + 1} {name}\n" for index, name in enumerate(self._names)]
        for index, name in enumerate(self._names):
            netns, port = self._netns(name), f"port{index}"
            self._hosts(name).mkdir(parents=True)
            (self._hosts(name) / "hosts").write_text("127.0.0.1 localhost\n" + "".join(addresses))
            (self._hosts(name) / "resolv.conf").write_text("")
            _run("ip", "netns", "add", netns)
            _run("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns)
            _run("ip", "-n", self._switch, "link", "set", port, "master", "switch", "up")
            _run("ip", "-n", netns, "link", "set", "lo", "up")
            _run("ip", "-n", netns, "addr", "add", f"10.213.7.{index + 1}/24", "dev", "eth0")
            _run("ip", "-n", netns, "link", "set", "eth0", "up")
            # Ray finds its own address by asking for the way to the internet.
            _run("ip", "-n", netns, "route", "add", "default", "via", "10.213.7.254")

    def _end(self) -> None:
        for _, process in self._started:
            _kill(process)
        for name in self._names:
            shutil.rmtree(self._hosts(name), ignore_errors=True)
        for netns in (*map(self._netns, self._names), self._switch):
            subprocess.run(["ip", "netns", "del", netns], capture_output=True, check=False)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # unshare's --kill-child ends the first process of the host, and the kernel all others of its namespace.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
