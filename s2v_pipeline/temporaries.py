"""Names of files that are not whole yet: they say which process writes them, so that what a dead one left can go.

Belongs here: the name's prefix, telling whether its process lives, removal.
Does not belong here: writing files (artifacts), which folders are searched (artifacts, defs).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
from functools import cache
from pathlib import Path

import psutil

_HOST_LETTERS = 8  # 32 bits tell the hosts of one store apart
_NAME = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-.*")


def temporary_prefix() -> str:
    """What the name of a temporary file or folder of this process starts with: a dot, host, process, its start.

    Readers and the file server skip names with a dot.
    """
    return f".{_host()}-{os.getpid()}-{_started_at(os.getpid())}-"


def is_left_over(name: str) -> bool:
    """Whether a name is that of a temporary whose process, of this host, is gone."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] != _host():
        return False
    try:
        process = psutil.Process(int(found[2]))
        return _hundredths(process) != int(found[3]) or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def remove_left_over(folder: Path) -> list[Path]:
    """Remove what dead processes left directly in a folder; their paths. A folder that is not there has nothing.

    Raises:
        OSError: the disk does not let it be removed.
    """
    if not folder.is_dir():
        return []
    removed = []
    for path in folder.iterdir():
        if is_left_over(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:_HOST_LETTERS]


@cache
def _started_at(pid: int) -> int:
    return _hundredths(psutil.Process(pid))


def _hundredths(process: psutil.Process) -> int:
    """Start of a process in hundredths of a second, which is what the kernel counts in."""
    return round(process.create_time() * 100)
