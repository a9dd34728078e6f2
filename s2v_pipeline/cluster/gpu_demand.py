"""Whether a cluster has the GPUs that a worker asks for, and how many such workers it has room for.

Belongs here: counting what hosts have, saying that it is too little.
Does not belong here: what is free at the moment (Ray's placement), what a GPU is like (gpus).
"""

from __future__ import annotations

from collections.abc import Sequence

from s2v_pipeline.errors import ClusterError

CPU_CURE = "Set wan.device = 'cpu' to do without (very slow), or choose another generation.generator."


class GpuError(ClusterError):
    """The cluster has no GPU, or none that is free."""


def check_gpus(n_gpus: int) -> None:
    """See that a host of the cluster has so many GPUs: Ray itself would wait for them for ever.

    Raises:
        GpuError: none has.
    """
    there = max(_gpus_of_hosts(), default=0) if n_gpus else 0
    if there < n_gpus:
        raise GpuError(
            f"a host of the cluster must have {n_gpus} GPU for this generator",
            got=f"{there}",
            cure=f"Run it on a machine with {'them' if n_gpus > 1 else 'one'} (`s2v doctor`), or set cluster.address. "
            f"{CPU_CURE}",
        )


def n_groups(n_gpus: int, node_ids: Sequence[str] = ()) -> int:
    """How many groups of so many GPUs of one host the cluster has, or some of its hosts."""
    return sum(there // n_gpus for there in _gpus_of_hosts(node_ids))


def count_gpus(node_ids: Sequence[str] = ()) -> int:
    """Of the cluster, or of some of its hosts."""
    return sum(_gpus_of_hosts(node_ids))


def _gpus_of_hosts(node_ids: Sequence[str] = ()) -> list[int]:
    import ray

    hosts = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [int(host["Resources"].get("GPU", 0)) for host in hosts if not node_ids or host["NodeID"] in node_ids]
