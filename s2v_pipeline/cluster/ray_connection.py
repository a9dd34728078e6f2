"""Connecting a process to a Ray: its own, or one that is there.

Belongs here: starting, joining, refusing what does not fit.
Does not belong here: who starts a Ray that runs share (shared_ray), what runs there.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

from s2v_pipeline.cluster.rank_group import NAMESPACE
from s2v_pipeline.cluster.ray_environment import set_environment
from s2v_pipeline.cluster.versions import check_same, own_versions
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings

BYTES_PER_MB = 1 << 20
_INIT: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
_SAME_CURE = "Install the same on all machines of the cluster, and restart its Ray."


def start_local(settings: ClusterSettings, local_gpus: int | None, warm_up: Callable[[], None] | None) -> None:
    """Start a Ray that ends with the calling thread; its workers warm up while the audio is still analysed."""
    set_environment(local=True)
    import ray

    ray.init(
        address="local",
        num_cpus=settings.num_cpus,
        num_gpus=local_gpus,
        include_dashboard=False,
        object_store_memory=settings.object_store_mb * BYTES_PER_MB,
        **_INIT,
    )
    if warm_up is not None:
        remote: Any = ray.remote(num_cpus=1)(_call)
        for _ in range(int(ray.cluster_resources().get("CPU", 1))):  # type: ignore[no-untyped-call]
            remote.remote(warm_up)


def join(address: str, settings: ClusterSettings, *, token: str = "") -> str:
    """Connect to a Ray that is there.

    Args:
        address: host:port.
        settings: how long it is waited for.
        token: that lets one in; "" for what the environment says.

    Returns:
        The URL of its dashboard; "" where it has none.

    Raises:
        ClusterError: nobody listens, or it has another Python or Ray.
    """
    _probe(address, settings.connect_timeout_s)
    set_environment(local=False, token=token)
    import ray

    try:
        found = ray.init(address=address, **_INIT)
    except RuntimeError as error:
        # Ray's own check of Python and Ray has no class of its own.
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
    """See that the cluster's workers have the same code as this run.

    Raises:
        ClusterError: they do not, or do not have it at all.
    """
    import ray

    asked: Any = ray.remote(num_cpus=0)(own_versions)
    try:
        there = ray.get(asked.remote())
    except ray.exceptions.RayTaskError as error:
        raise ClusterError(
            "the cluster's workers must have s2v_pipeline installed",
            got=f"{type(error.cause).__name__}: {error.cause}",
            cure=_SAME_CURE,
        ) from error
    check_same(own_versions(), there, cure=_SAME_CURE)


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
