"""`s2v doctor`: what is installed, what this machine offers, whether it is enough, and the cure where it is not.

Belongs here: judgements.
Does not belong here: what only wan_s2v needs (doctor_wan), the CTC checkpoint (doctor_ctc), certificates
(doctor_credentials), measuring the machine
(machine), reading versions (installed), printing (cli), mending anything.

Nothing here raises because something is missing: that is what a finding is for. What may be missing is imported where
it is looked for, and Ray, which takes long and starts threads, in a process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from s2v_pipeline import machine
from s2v_pipeline.doctor_credentials import credentials_finding
from s2v_pipeline.doctor_ctc import ctc_finding
from s2v_pipeline.doctor_wan import wan_findings
from s2v_pipeline.findings import Finding
from s2v_pipeline.installed import installed_version, requirements
from s2v_pipeline.setting_groups import Settings

DISTRIBUTION = "s2v_pipeline"
OLDEST_PYTHON = (3, 11)
FIRST_REFUSED_PYTHON = (3, 14)  # as requires-python in pyproject.toml

_GIB = 1 << 30
_MIB = 1 << 20
_LOOPBACK = "127.0.0.1"
_MEMORY_NEEDED_BYTES = 2 * _GIB  # Dagster's processes 0.7, Ray's 0.6, two workers 0.25 each (measured)
_DISK_NEEDED_BYTES = 1 * _GIB  # a minute of 512x512 video with all that it is made from takes well under 0.1
_RAY_IMPORT_TIMEOUT_S = 60.0  # takes 1 s; many times that on a cold disk
_REINSTALL = "pip install -c constraints.txt -e ."
_OPENCV_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_CODECS = (  # (FFmpeg's name, PyAV's mode, what for)
    ("libx264", "w", "video out"),
    ("aac", "w", "sound out"),
    ("h264", "r", "video in"),
    ("aac", "r", "sound in"),
    ("flac", "r", "sound in"),
    ("mp3", "r", "sound in"),
)


def diagnose(settings: Settings) -> tuple[Finding, ...]:
    """Look at everything that a video needs."""
    return (
        _python(),
        *_packages(),
        _opencv(),
        _codecs(),
        _face_model(settings.paths.face_model),
        credentials_finding(settings),
        _ray(settings),
        _ray_address(settings),
        _cpus(settings),
        _memory(),
        _shared_memory(settings),
        _disk(settings.paths.artifacts),
        *(_folder(name, getattr(settings.paths, name)) for name in ("inputs", "artifacts", "dagster_home")),
        *_ports(settings),
        ctc_finding(settings.alignment),
        *wan_findings(settings),
    )


def _python() -> Finding:
    found = ".".join(str(number) for number in sys.version_info[:3])
    if OLDEST_PYTHON <= sys.version_info[:2] < FIRST_REFUSED_PYTHON:
        return Finding("python", "ok", f"{found} at {sys.executable}")
    return Finding("python", "problem", found, "Make the environment with Python 3.11, 3.12 or 3.13.")


def _packages() -> Iterator[Finding]:
    """The package itself, then its dependencies as one finding: all versions, or those that do not fit."""
    version = installed_version(DISTRIBUTION)
    if version is None:
        yield Finding("package", "problem", f"{DISTRIBUTION} is not installed, only lies on the path", _REINSTALL)
        return
    yield Finding("package", "ok", f"{DISTRIBUTION} {version}")
    found = requirements(DISTRIBUTION)
    unmet = [f"{each.name} {each.bounds} (found {each.version or 'none'})" for each in found if not each.is_met]
    if unmet:
        yield Finding("dependencies", "problem", f"not as asked for: {', '.join(unmet)}", _REINSTALL)
    else:
        yield Finding("dependencies", "ok", ", ".join(f"{each.name} {each.version}" for each in found))


def _opencv() -> Finding:
    found = [name for name in _OPENCV_WHEELS if installed_version(name) is not None]
    said = ", ".join(f"{name} {installed_version(name)}" for name in found)
    if len(found) > 1:
        cure = f"pip uninstall -y {' '.join(found)}; pip install -c constraints.txt opencv-python-headless"
        return Finding("opencv", "problem", f"{said} overwrite each other's files", cure)
    if importlib.util.find_spec("cv2") is None:
        return Finding("opencv", "problem", said or "not installed", _REINSTALL)
    if found and not found[0].endswith("-headless"):
        cure = "On a machine without a display: pip uninstall it, pip install opencv-python-headless."
        return Finding("opencv", "warning", f"{said} needs libGL from the system", cure)
    return Finding("opencv", "ok", said)


def _codecs() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding("codecs", "problem", f"PyAV: {error}", _REINSTALL)
    missing = []
    for name, mode, purpose in _CODECS:
        try:
            av.Codec(name, "w" if mode == "w" else "r")
        except ValueError:  # av's UnknownCodecError
            missing.append(f"{name} ({purpose})")
    if missing:
        cure = (
            "pip install --force-reinstall av: the wheels bring FFmpeg with all of them; a build of your own may not."
        )
        return Finding("codecs", "problem", f"FFmpeg lacks {', '.join(missing)}", cure)
    return Finding("codecs", "ok", f"PyAV {av.__version__}: {', '.join(dict.fromkeys(name for name, _, _ in _CODECS))}")


def _face_model(other_copy: Path | None) -> Finding:
    try:
        from s2v_pipeline.faces.landmarker import PACKAGED_SHA256
    except ImportError as error:
        return Finding("face model", "problem", f"faces cannot be imported: {error}", _REINSTALL)
    path = other_copy or Path(__file__).parent / "faces" / "models" / "face_landmarker.task"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        cure = "Unset paths.face_model to use the packaged one." if other_copy else f"Reinstall: {_REINSTALL}"
        return Finding("face model", "problem", f"{path}: {error.strerror}", cure)
    if found == PACKAGED_SHA256:
        return Finding("face model", "ok", f"{path.name}, SHA-256 {found[:12]}…")
    detail = f"{path} has SHA-256 {found[:12]}… instead of {PACKAGED_SHA256[:12]}…"
    if other_copy:
        return Finding("face model", "warning", detail, "Unset paths.face_model unless another version is meant.")
    return Finding("face model", "problem", detail, f"Its bytes changed; reinstall: {_REINSTALL}")


def _ray(settings: Settings) -> Finding:
    command = [sys.executable, "-c", "import ray; print(ray.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_RAY_IMPORT_TIMEOUT_S)
        said = done.stdout.strip() if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
    except (OSError, subprocess.SubprocessError) as error:
        done, said = None, str(error)
    if done is not None and done.returncode == 0:
        return Finding("ray", "ok", said)
    if settings.cluster.executor == "in_process":
        return Finding("ray", "warning", said, f"Not needed while cluster.executor is in_process; else: {_REINSTALL}")
    return Finding("ray", "problem", said, f"{_REINSTALL}, or work without it: S2V_CLUSTER__EXECUTOR=in_process")


def _ray_address(settings: Settings) -> Finding:
    address = settings.cluster.address
    if settings.cluster.executor != "ray" or address in (None, "shared"):
        return Finding("ray cluster", "ok", "a local one is started when it is needed")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        return Finding("ray cluster", "problem", f"{address!r} is not host:port", "Set cluster.address to host:port.")
    reason = machine.connect_error(host, int(port), settings.cluster.connect_timeout_s)
    if reason is None:
        return Finding("ray cluster", "ok", f"{address} listens")
    cure = "Start it (`ray start --head`), or unset cluster.address to start a local one."
    return Finding("ray cluster", "problem", f"{address}: {reason}", cure)


def _cpus(settings: Settings) -> Finding:
    found = machine.cpus()
    quota = "none" if found.quota is None else f"{found.quota:.1f}"
    detail = f"{found.usable:g} usable ({found.machine} in the machine, {found.allowed} allowed, quota {quota})"
    asked = settings.cluster.num_cpus
    if asked is not None and asked > found.usable:
        cure = f"Set cluster.num_cpus to {max(1, int(found.usable))} or unset it."
        return Finding("cpus", "warning", f"cluster.num_cpus is {asked}; {detail}", cure)
    if asked is None and settings.cluster.executor == "ray" and found.quota is not None and found.quota < found.allowed:
        cure = f"Set cluster.num_cpus to {max(1, int(found.quota))}: more workers than that only wait for each other."
        return Finding("cpus", "warning", f"the container's quota is below its CPUs; {detail}", cure)
    return Finding("cpus", "ok", detail)


def _memory() -> Finding:
    try:
        import psutil
    except ImportError as error:
        return Finding("memory", "problem", f"psutil: {error}", _REINSTALL)
    found = psutil.virtual_memory()
    limit = machine.memory_limit_bytes()
    total = min(found.total, limit) if limit is not None else found.total
    available = min(found.available, total)
    detail = f"{available / _GIB:.1f} GiB available of {total / _GIB:.1f}"
    if available < _MEMORY_NEEDED_BYTES:
        cure = "End other programs, give the container more, or set cluster.executor = 'in_process'."
        return Finding("memory", "warning", f"{detail}; {_MEMORY_NEEDED_BYTES / _GIB:.0f} are needed", cure)
    return Finding("memory", "ok", detail)


def _shared_memory(settings: Settings) -> Finding:
    if settings.cluster.executor != "ray" or not machine.SHARED_MEMORY.is_dir():
        return Finding("shared memory", "ok", f"{machine.SHARED_MEMORY} is not used")
    size = shutil.disk_usage(machine.SHARED_MEMORY).total
    needed = settings.cluster.object_store_mb * _MIB
    detail = f"{machine.SHARED_MEMORY} {size / _MIB:.0f} MiB"
    if size < needed:
        cure = f"Start the container with --shm-size={2 * settings.cluster.object_store_mb}m."
        return Finding("shared memory", "warning", f"{detail}; Ray, given too little, uses the disk instead", cure)
    return Finding("shared memory", "ok", detail)


def _disk(artifacts: Path) -> Finding:
    free = machine.disk_free_bytes(artifacts)
    if free is None:
        return Finding("disk", "problem", f"free space at {artifacts} cannot be told", "Set paths.artifacts.")
    detail = f"{free / _GIB:.1f} GiB free at {artifacts}"
    if free < _DISK_NEEDED_BYTES:
        return Finding("disk", "warning", detail, "Free some space, or set paths.artifacts to another disk.")
    return Finding("disk", "ok", detail)


def _folder(name: str, folder: Path) -> Finding:
    found = machine.existing_parent(folder)
    cure = f"Make it writable, or set paths.{name} (S2V_PATHS__{name.upper()}) to a folder that is."
    if not found.is_dir():
        return Finding(f"folder {name}", "problem", f"{found} is not a folder", cure)
    if found != folder.absolute():
        if os.access(found, os.W_OK | os.X_OK):
            return Finding(f"folder {name}", "ok", f"{folder} will be made")
        return Finding(f"folder {name}", "problem", f"{folder} cannot be made in {found}", cure)
    try:
        # Really writing tells more than permission bits: a read-only mount, a full disk.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"s2v")
    except OSError as error:
        return Finding(f"folder {name}", "problem", f"{folder}: {error.strerror}", cure)
    return Finding(f"folder {name}", "ok", f"{folder} is writable")


def _ports(settings: Settings) -> Iterator[Finding]:
    ports = {"dagster_port": settings.server.dagster_port, "file_port": settings.server.file_port}
    for name, port in ports.items():
        cure = f"End what uses it (perhaps `s2v up`), or set server.{name} (S2V_SERVER__{name.upper()})."
        reason = machine.port_error(_LOOPBACK, port)
        if list(ports.values()).count(port) > 1:
            yield Finding(f"port {name}", "problem", f"both servers are given {port}", cure)
        elif reason is not None:
            yield Finding(f"port {name}", "warning", f"{port}: {reason}", cure)
        else:
            yield Finding(f"port {name}", "ok", f"{port} is free")
