"""The faults: what each one does to a run, to its processes or to its files.

Belongs here: one function a kind; each returns what it hit, or None where there was nothing to hit.
Does not belong here: when a fault comes and how often (injector), judgement (audit).
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from s2v_pipeline.temporaries import temporary_prefix
from s2v_pipeline_tests.chaos.families import Family, is_working, title
from s2v_pipeline_tests.chaos.ledger import CHUNK_ASSETS, Ledger
from s2v_pipeline_tests.chaos.runs import AgainAndAgain

OUTAGE_S = (1.5, 4.0)  # longer than a chunk takes, so that something is read or written meanwhile
HANG_S = (1.0, 4.0)
MEMORY_LEFT_BYTES = 1 << 20  # less than one picture's arrays
UPSTREAM = ("speech_inputs", "audio_features", "phoneme_alignments")
BALLAST = ".ballast"

Hit = Mapping[str, object] | None


@dataclass(frozen=True)
class Scene:
    """One run that is in progress, and what a fault may reach.

    Attributes:
        run: the video that is asked for.
        family: processes of all runs.
        ledger: told before a chunk's file is damaged.
        data: folder of the project's artifacts; a small disk of its own where mounting works.
        random: seeded.
    """

    run: AgainAndAgain
    family: Family
    ledger: Ledger
    data: Path
    random: Random

    def processes(self, wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
        pid = self.run.pid
        return [] if pid is None else self.family.find(pid, wanted)

    @property
    def is_at_chunks(self) -> bool:
        """Whether the run's workers work now: what ends a run comes then, not while it starts for the tenth time."""
        return self.run.makes_chunks and bool(self.processes(is_working))


def _kill(scene: Scene, wanted: Callable[[psutil.Process], bool]) -> Hit:
    found = scene.processes(wanted)
    if not found:
        return None
    victim = scene.random.choice(found)
    named = title(victim)[:60]
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    return {"pid": victim.pid, "process": named}


def kill_worker(scene: Scene) -> Hit:
    return _kill(scene, is_working)


def kill_raylet(scene: Scene) -> Hit:
    return _kill(scene, lambda process: process.name() == "raylet")


def kill_gcs(scene: Scene) -> Hit:
    return _kill(scene, lambda process: process.name().startswith("gcs_server"))


def _signal_run(scene: Scene, number: signal.Signals) -> Hit:
    pid = scene.run.pid
    if pid is None or not scene.is_at_chunks:
        return None
    os.kill(pid, number)
    return {"pid": pid}


def kill_run(scene: Scene) -> Hit:
    return _signal_run(scene, signal.SIGKILL)


def interrupt_run(scene: Scene) -> Hit:
    return _signal_run(scene, signal.SIGINT)


def terminate_run(scene: Scene) -> Hit:
    return _signal_run(scene, signal.SIGTERM)


def _hang(scene: Scene, victim: psutil.Process) -> Hit:
    seconds_s = round(scene.random.uniform(*HANG_S), 1)
    try:
        victim.suspend()
        time.sleep(seconds_s)
        victim.resume()
    except psutil.NoSuchProcess:
        return None
    return {"pid": victim.pid, "seconds_s": seconds_s}


def hang_worker(scene: Scene) -> Hit:
    found = scene.processes(is_working)
    return _hang(scene, scene.random.choice(found)) if found else None


def hang_run(scene: Scene) -> Hit:
    pid = scene.run.pid
    try:
        return None if pid is None else _hang(scene, psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


def refuse_memory(scene: Scene) -> Hit:
    """A worker gets no more memory than it has."""
    found = scene.processes(is_working)
    if not found:
        return None
    victim = scene.random.choice(found)
    try:
        most = victim.memory_info().vms + MEMORY_LEFT_BYTES
        victim.rlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        time.sleep(scene.random.uniform(*OUTAGE_S))
        victim.rlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (psutil.NoSuchProcess, ProcessLookupError):
        return {"pid": victim.pid, "died": True}
    return {"pid": victim.pid, "died": False}


def fill_disk(scene: Scene) -> Hit:
    if not os.path.ismount(scene.data) or not scene.is_at_chunks:
        return None
    ballast = scene.data / BALLAST
    seconds_s = round(scene.random.uniform(*OUTAGE_S), 1)
    try:
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
            time.sleep(seconds_s)
    except OSError:
        pass
    finally:
        ballast.unlink(missing_ok=True)
    return {"seconds_s": seconds_s}


@contextmanager
def _mounted(*command: str, undo: tuple[str, ...]) -> Iterator[None]:
    subprocess.run(["mount", *command], check=True)
    try:
        yield
    finally:
        subprocess.run(undo, check=True)


def take_store_away(scene: Scene) -> Hit:
    """The artifacts' folder is an empty one that takes nothing, as where a network disk is not mounted."""
    artifacts = scene.run.store.root
    if not os.path.ismount(scene.data) or not scene.is_at_chunks:
        return None
    seconds_s = round(scene.random.uniform(*OUTAGE_S), 1)
    with _mounted(*("-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", str(artifacts)), undo=("umount", "-l", str(artifacts))):
        time.sleep(seconds_s)
    return {"seconds_s": seconds_s}


def make_store_read_only(scene: Scene) -> Hit:
    """What a file system does after an error of its disk."""
    artifacts = str(scene.run.store.root)
    if not os.path.ismount(scene.data) or not scene.is_at_chunks:
        return None
    seconds_s = round(scene.random.uniform(*OUTAGE_S), 1)
    with _mounted("--bind", "-o", "ro", artifacts, artifacts, undo=("umount", "-l", artifacts)):
        time.sleep(seconds_s)
    return {"seconds_s": seconds_s}


def _files(scene: Scene, assets: tuple[str, ...]) -> list[Path]:
    if scene.run.pid is None:
        return []
    name = scene.run.wanted.name
    found = [path for asset in assets for path in (scene.run.store.root / asset / name).glob("[!.]*")]
    return sorted(path for path in found if path.is_file() and path.stat().st_size)


def _damage(scene: Scene, assets: tuple[str, ...], damage: Callable[[Path], Mapping[str, object]]) -> Hit:
    """Damage one file of the run; None where it has none, or the file is being replaced."""
    found = _files(scene, assets)
    if not found:
        return None
    path = scene.random.choice(found)
    try:
        with scene.ledger.harm(path):
            said = damage(path)
    except FileNotFoundError:
        return None
    return {"file": f"{path.parent.parent.name}/{path.name}", **said}


def _flip(scene: Scene, assets: tuple[str, ...]) -> Hit:
    def flip(path: Path) -> Mapping[str, object]:
        with path.open("r+b") as file:
            at = scene.random.randrange(path.stat().st_size)
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))
        return {"at": at}

    return _damage(scene, assets, flip)


def flip_chunk_byte(scene: Scene) -> Hit:
    return _flip(scene, CHUNK_ASSETS)


def flip_upstream_byte(scene: Scene) -> Hit:
    return _flip(scene, UPSTREAM) if scene.random.random() < 0.5 or not scene.run.makes_chunks else None


def truncate_chunk(scene: Scene) -> Hit:
    def truncate(path: Path) -> Mapping[str, object]:
        size = scene.random.randrange(path.stat().st_size)
        os.truncate(path, size)
        return {"size_bytes": size}

    return _damage(scene, CHUNK_ASSETS, truncate)


def lose_chunk(scene: Scene) -> Hit:
    def lose(path: Path) -> Mapping[str, object]:
        path.unlink()
        return {}

    return _damage(scene, CHUNK_ASSETS, lose)


def leave_partial_file(scene: Scene) -> Hit:
    """What a writer that was killed leaves: the beginning of a file under a temporary name."""
    folder = scene.run.store.root / scene.random.choice(CHUNK_ASSETS) / scene.run.wanted.name
    if scene.run.pid is None or not folder.is_dir():
        return None
    dead = subprocess.Popen(["true"])
    dead.wait()
    path = folder / f"{temporary_prefix().replace(f'-{os.getpid()}-', f'-{dead.pid}-')}{uuid.uuid4().hex}.mp4"
    try:
        path.write_bytes(scene.random.randbytes(5000))
    except OSError:
        return None
    return {"file": path.name}


KINDS: Mapping[Callable[[Scene], Hit], float] = {
    kill_worker: 5,
    kill_raylet: 0.6,
    kill_gcs: 0.6,
    kill_run: 0.6,
    interrupt_run: 0.4,
    terminate_run: 0.4,
    hang_worker: 3,
    hang_run: 0.5,
    refuse_memory: 1.2,
    fill_disk: 0.8,
    take_store_away: 0.7,
    make_store_read_only: 0.6,
    flip_chunk_byte: 2,
    flip_upstream_byte: 0.3,
    truncate_chunk: 2,
    lose_chunk: 1.5,
    leave_partial_file: 1.5,
}
"""Kind -> how often, beside the others. Those that cost a run its Ray or its life are rarer: faults shall come while
chunks are made, not while a run starts for the tenth time."""
