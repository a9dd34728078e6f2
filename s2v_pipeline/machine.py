"""What this machine, or the container around this process, offers: facts, as numbers.

Belongs here: CPUs, memory, disk, shared memory, GPUs, ports, as they are found; no file or process outlives a call.
Does not belong here: whether that is enough (doctor).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux mounts it; nothing is written there)

_UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" with a number near 2**63
_GPU_QUERY_TIMEOUT_S = 20.0  # nvidia-smi takes seconds where no persistence daemon runs


@dataclass(frozen=True)
class Cpus:
    """CPUs of the machine, those that this process may run on, and the CPU time a container may use (None: all)."""

    machine: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> float:
        """What a program can really keep busy."""
        return self.allowed if self.quota is None else min(self.allowed, self.quota)


def cpus(cgroup_root: Path = CGROUP_ROOT) -> Cpus:
    """CPUs, by count, affinity and control group (version 2, then 1)."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cpus(machine, allowed, _cpu_quota(cgroup_root))


def memory_limit_bytes(cgroup_root: Path = CGROUP_ROOT) -> int | None:
    """Memory that the control group allows; None where there is no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        words = _words(cgroup_root / name)
        if words and words[0].isdecimal() and int(words[0]) < _UNLIMITED_BYTES:
            return int(words[0])
    return None


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def disk_free_bytes(folder: Path) -> int | None:
    """Free space where a folder is or would be made; None where it cannot be told."""
    try:
        return shutil.disk_usage(existing_parent(folder)).free
    except OSError:
        return None


def port_error(host: str, port: int) -> str | None:
    """Why a server could not listen there; None where it could."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def connect_error(host: str, port: int, timeout_s: float) -> str | None:
    """Why nothing could be reached there; None where something listens."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def gpus() -> tuple[str, ...]:
    """One line (name, memory) for each NVIDIA GPU; () where there is none.

    Raises:
        OSError: nvidia-smi is there and cannot be run.
        subprocess.SubprocessError: it failed or did not end.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=True, timeout=_GPU_QUERY_TIMEOUT_S).stdout
    return tuple(line.strip() for line in said.splitlines() if line.strip())


def _cpu_quota(cgroup_root: Path) -> float | None:
    words = _words(cgroup_root / "cpu.max")
    if not words:
        words = _words(cgroup_root / "cpu/cpu.cfs_quota_us") + _words(cgroup_root / "cpu/cpu.cfs_period_us")
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    return None  # "max" or -1: no limit; no such file: no control group


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
