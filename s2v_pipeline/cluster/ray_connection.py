"""Connecting a process to a Ray: its own, or one that is there.

Belongs here: starting, joining, refusing what does not fit.
Does not belong here: who starts a Ray that runs share (shared_ray), what runs there.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from s2v_pipeline.cluster.rank_group import NAMESPACE
from s2v_pipeline.cluster.ray_environment import set_environment
from s2v_pipeline.cluster.versions import Versions, check_same, own_versions
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings

_log = logging.getLogger(__name__)

BYTES_PER_MB = 1 << 20
_N_STARTS = 2
"""Ray gives its first process 30 s (ray/_private/node.py), which a machine under a load of many times its cores can
take; a second try finds what the first one has read in memory. A machine that fails twice has another trouble."""
_LATE = "timed out"
_KILL_WAIT_S = 5.0
_INIT: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
_SAME_CURE = "Install the same on all machines of the cluster, and restart its Ray."


def start_local(settings: ClusterSettings, local_gpus: int | None, warm_up: Callable[[], None] | None) -> None:
    """Start a Ray that ends with the calling thread; its workers warm up while the audio is still analysed."""
    start_ray(
        num_cpus=settings.num_cpus, num_gpus=local_gpus, dashboard=False, object_store_mb=settings.object_store_mb
    )
    import ray

    if warm_up is not None:
        remote: Any = ray.remote(num_cpus=1)(_call)
        for _ in range(int(ray.cluster_resources().get("CPU", 1))):  # type: ignore[no-untyped-call]
            remote.remote(warm_up)


def start_ray(*, num_cpus: int | None, num_gpus: int | None, dashboard: bool, object_store_mb: int) -> str:
    """Start a Ray that ends with the calling thread; once more where it was not up in time.

    Returns:
        host:port of its dashboard; "" where it has none.

    Raises:
        Exception: Ray's own, of the last try; one that is not about time is of the first.
    """
    set_environment(local=True)
    import ray

    for n_failed in range(_N_STARTS):
        before = set(psutil.Process().children())
        try:
            found = ray.init(
                address="local",
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                include_dashboard=dashboard,
                object_store_memory=object_store_mb * BYTES_PER_MB,
                **_INIT,
            )
            return getattr(found, "dashboard_url", None) or ""
        except Exception as error:
            # Ray's errors of starting have no class of their own.
            _end_ray_children(Path(ray.__file__).parent, before)
            if _LATE not in str(error).lower() or n_failed + 1 == _N_STARTS:
                raise
            reason = " ".join(str(error).split())
            _log.warning("Ray did not start in time, and is started once more: %s", reason)
    raise AssertionError("the loop returns or raises")


def _end_ray_children(ray_folder: Path, before: set[psutil.Process]) -> None:
    """Kill what a start that failed has left, which Ray would end with this process alone."""
    left = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child not in before and any(part.startswith(str(ray_folder)) for part in child.cmdline()):
                left += [child, *child.children(recursive=True)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_KILL_WAIT_S)


def join(address: str, settings: ClusterSettings, *, token: str = "") -> str:
    """Connect to a Ray that is there.

    Args:
        address: host:port.
        settings: how long it is waited for.
        token: that lets one in; "" for what the environment says.

    Returns:
        The URL of its dashboard; "" where it has none.

    Raises:
        ClusterError: nobody listens, it has another Python or Ray, or no node on this machine.
    """
    _probe(address, settings.connect_timeout_s)
    set_environment(local=False, token=token)
    import ray

    try:
        found = ray.init(address=address, **_INIT)
    except RuntimeError as error:
        # Neither of Ray's refusals has a class of its own.
        if "No node info found" in str(error):
            raise ClusterError(
                "a run connects to a cluster through a Ray node on its own machine",
                got=f"none here that belongs to {address}",
                cure=f"Start one that offers nothing: ray start --address={address} --num-cpus=0 --num-gpus=0",
            ) from error
        if "ersion mismatch" not in str(error):
            raise
        raise ClusterError(
            "the cluster must have the same Python and Ray as this run",
            got=" ".join(str(error).split()),
            cure=_SAME_CURE,
        ) from error
    url = getattr(found, "dashboard_url", None)
    return f"http://{url}" if url else ""


def check_workers() -> None:
    """See that every node of the cluster has the same code as this run.

    Raises:
        ClusterError: one has not, or does not have it at all.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked: list[tuple[str, Any]] = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            # Left to itself Ray would ask this run's own node.
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": place}
            asked.append((node["NodeName"], ray.remote(**options)(_versions_there).remote()))
    for name, ref in asked:
        try:
            there = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise ClusterError(
                "the cluster's nodes must have s2v_pipeline installed",
                got=f"{type(error.cause).__name__} from {name}: {error.cause}",
                cure=_SAME_CURE,
            ) from error
        except ray.exceptions.RayError as error:
            # It left meanwhile; work is not given to it either.
            _log.warning("the node %s does not answer: %s", name, " ".join(str(error).split()))
            continue
        check_same(own_versions(), there, cure=f"{_SAME_CURE} It is the node {name}.")


def _versions_there() -> Versions:
    """Ray takes plain functions alone, which what is cached is not."""
    return own_versions()


def _call(warm_up: Callable[[], None]) -> None:
    """What a new worker runs first; Ray takes functions alone."""
    warm_up()


def _probe(address: str, timeout_s: float) -> None:
    """Fail at once where nobody listens; Ray itself would try for over ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            "cluster.address must be host:port",
            got=repr(address),
            cure="Take the address that `ray start --head` printed, e.g. 10.0.0.1:6379.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except OSError as error:
        raise ClusterError(
            f"a Ray cluster must listen at cluster.address = {address}",
            got=f"{type(error).__name__}: {error}",
            cure="Start it with `ray start --head`, or unset cluster.address to use a local Ray.",
        ) from error
