"""Tasks that several processes do together, for tests: real processes and sockets, no GPU and no torch.

Belongs here: the tasks. Does not belong here: tests.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.errors import ClusterError, GenerationError
from s2v_pipeline.generation.ranks import Rank

# Of this process: its place, and its lines to the others.
_ranks: list[Rank] = []
_lines: list[socket.socket] = []


@dataclass(frozen=True)
class Together:
    """Each rank's part of a file's bytes goes to rank 0, which writes it.

    Attributes:
        folder: holds `N.bin` and, of each rank that works, a file with its process id; where it holds `die-R`, rank R
            is killed once in the middle, `hang-R` and `refuse-R` likewise.
        number: of the chunk.
        part_s: how long a rank's part takes.
    """

    folder: Path
    number: int
    part_s: float = 0.0

    @property
    def label(self) -> str:
        return f"chunk {self.number}"

    def join(self, rank: Rank) -> None:
        host, _, port = rank.address.rpartition(":")
        if rank.index == 0:
            with socket.create_server((host, int(port))) as server:
                server.settimeout(rank.timeout_s)
                _lines.extend(server.accept()[0] for _ in range(rank.n_ranks - 1))
        else:
            deadline = time.monotonic() + rank.timeout_s
            while not _lines:
                try:
                    _lines.append(socket.create_connection((host, int(port)), timeout=rank.timeout_s))
                except ConnectionRefusedError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        for line in _lines:
            line.settimeout(rank.timeout_s)
        _ranks.append(rank)

    def find(self) -> tuple[int, bool, int] | None:
        return (self.number, False, os.getpid()) if self._path.exists() else None

    def run(self) -> tuple[int, bool, int]:
        """The chunk's number, whether it was made now, and who made it."""
        if self._path.exists():
            return self.number, False, os.getpid()
        parts = [self._part(0)]
        try:
            parts += [line.recv(64, socket.MSG_WAITALL) for line in _lines]
        except TimeoutError as error:
            raise ClusterError("ranks must answer", got="no answer in time", cure="Run it again.") from error
        if any(len(part) != len(parts[0]) for part in parts):
            raise RuntimeError("connection closed by peer")
        self._path.write_bytes(b"".join(parts))
        return self.number, True, os.getpid()

    def follow(self) -> None:
        for line in _lines:
            line.sendall(self._part(_ranks[0].index))

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.number}.bin"

    def _part(self, index: int) -> bytes:
        (self.folder / f"pid-{index}").write_text(str(os.getpid()))
        time.sleep(self.part_s)
        if self._is_asked(f"die-{index}") or (self.folder / f"die-always-{index}").exists():
            os.kill(os.getpid(), 9)
        if (self.folder / f"refuse-{index}").exists():
            raise GenerationError("a chunk must be possible", got=f"this one on rank {index}", cure="Use another.")
        return hashlib.sha256(f"{self.number} {index}".encode()).hexdigest().encode()

    def _is_asked(self, name: str) -> bool:
        if (self.folder / name).exists():
            (self.folder / name).unlink()
            return True
        return False


@dataclass(frozen=True)
class SayPlace:
    """A task that is not split: who does it, and with which GPU and threads."""

    label: str = "place"

    def run(self) -> tuple[str, str, str]:
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NCCL_NVLS_ENABLE")
        gpu, threads, multicast = (os.environ.get(name, "") for name in names)
        return gpu, threads, multicast
