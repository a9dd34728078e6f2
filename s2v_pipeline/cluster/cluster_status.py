"""What a cluster that outlives its runs is doing, and the end of it, for the command line.

Belongs here: asking, ending. Does not belong here: what is printed (cluster_cli).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2v_pipeline.cluster.rank_group import NAMESPACE, end_all_named
from s2v_pipeline.cluster.ray_connection import join
from s2v_pipeline.cluster.shared_ray import SHARED, SharedRay
from s2v_pipeline.cluster.warm_pool import WarmState
from s2v_pipeline.cluster.warm_worker import POOL_NAME
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings

_ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster that is up.

    Attributes:
        address: host:port.
        n_nodes, n_cpus, n_gpus, n_gpus_free: what it has.
        n_runs: connected now; None where nobody counts them.
        dashboard_url: "" without one.
        workers: that are warm.
    """

    address: str
    n_nodes: int
    n_cpus: int
    n_gpus: int
    n_gpus_free: int
    n_runs: int | None
    dashboard_url: str
    workers: tuple[WarmState, ...]


def cluster_status(settings: ClusterSettings, shared_folder: Path) -> ClusterStatus | None:
    """What the cluster of the settings is doing; None where each run has its own, or the shared one is not up.

    Raises:
        ClusterError: it does not answer.
    """
    with _connected(settings, shared_folder) as address:
        if address is None:
            return None
        import ray

        there: Any = ray.cluster_resources()  # type: ignore[no-untyped-call]
        free: Any = ray.available_resources()  # type: ignore[no-untyped-call]
        shared = SharedRay(shared_folder) if settings.address == SHARED else None
        record = shared.record() if shared else None
        return ClusterStatus(
            address=address,
            n_nodes=sum(node["Alive"] for node in ray.nodes()),  # type: ignore[no-untyped-call]
            n_cpus=int(there.get("CPU", 0)),
            n_gpus=int(there.get("GPU", 0)),
            n_gpus_free=int(free.get("GPU", 0)),
            n_runs=shared.users() if shared else None,
            dashboard_url=record.dashboard_url if record else "",
            workers=tuple(state for pool in _pools() for state in _answer(pool.status.remote())),
        )


def end_workers(settings: ClusterSettings, shared_folder: Path) -> int:
    """End all warm workers, those too that work: their runs do the chunk again; how many processes that were.

    Raises:
        ClusterError: the cluster does not answer.
    """
    with _connected(settings, shared_folder) as address:
        if address is None:
            return 0
        import ray

        for pool in _pools():
            ray.kill(pool, no_restart=True)
        return end_all_named(POOL_NAME)


def _pools() -> list[Any]:
    """Of this code and of others."""
    import ray

    named = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE]
    # A pool has the letters of its code after its name, and a group more after these.
    pools = [name for name in named if name.startswith(f"{POOL_NAME}-") and name.count("-") == POOL_NAME.count("-") + 1]
    return [ray.get_actor(name, namespace=NAMESPACE) for name in pools]


def _answer(ref: Any) -> Any:
    import ray

    try:
        return ray.get(ref, timeout=_ANSWER_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            "the cluster's pool of workers must answer",
            got=type(error).__name__,
            cure="`s2v cluster down --workers` ends it with its workers; the next run starts afresh.",
        ) from error


@contextmanager
def _connected(settings: ClusterSettings, shared_folder: Path) -> Iterator[str | None]:
    """The address of the cluster, connected to."""
    address, token = settings.address, ""
    if address == SHARED:
        shared = SharedRay(shared_folder)
        record = shared.record()
        address, token = (record.address, shared.token()) if record else (None, "")
    if address is None:
        yield None
        return
    join(address, settings, token=token)
    import ray

    try:
        yield address
    finally:
        ray.shutdown()
