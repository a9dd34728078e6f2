"""Whether a cluster has the GPUs that a worker asks for, and how many such workers it has room for.

Belongs here: counting what hosts have, saying that it is too little, asking for more.
Does not belong here: what is free at the moment (Ray's placement), what a GPU is like (gpus).
"""

from __future__ import annotations

from collections.abc import Sequence

from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.errors import ClusterError

CPU_CURE = "Set wan.device = 'cpu' to do without (very slow), or choose another generation.generator."


class GpuError(ClusterError):
    """The cluster has no GPU, or none that is free."""


def check_gpus(n_gpus: int, grow_to_gpus: int = 0) -> None:
    """See that a host of the cluster has so many GPUs, or may get them: Ray itself would wait for them for ever.

    Args:
        n_gpus: of one host.
        grow_to_gpus: that the cluster may have, all together; 0 where it does not grow.

    Raises:
        GpuError: none has, nor will.
    """
    there = max(_gpus_of_hosts(), default=0) if n_gpus else 0
    if there < n_gpus and grow_to_gpus < n_gpus:
        may_grow = f", cluster.grow_to_gpus = {grow_to_gpus}" if grow_to_gpus else ""
        raise GpuError(
            f"a host of the cluster must have {n_gpus} GPU for this generator",
            got=f"{there}{may_grow}",
            cure=f"Run it on a machine with {'them' if n_gpus > 1 else 'one'} (`s2v doctor`), or set cluster.address. "
            f"{CPU_CURE}",
        )


def n_groups(n_gpus: int, node_ids: Sequence[str] = ()) -> int:
    """How many groups of so many GPUs of one host the cluster has, or some of its hosts."""
    return sum(there // n_gpus for there in _gpus_of_hosts(node_ids))


def count_gpus(node_ids: Sequence[str] = ()) -> int:
    """Of the cluster, or of some of its hosts."""
    return sum(_gpus_of_hosts(node_ids))


def ask_autoscaler(sizes: Sequence[GroupSize]) -> None:
    """Tell Ray's autoscaler what the cluster is to have room for from now on; where there is none, nothing happens.

    A group is one bundle: its GPUs must be of one host.
    """
    from ray.autoscaler.sdk import request_resources

    bundles = [{"CPU": size.n_ranks * size.n_cpus, "GPU": size.n_ranks * size.n_gpus} for size in sizes]
    request_resources(bundles=bundles)


def _gpus_of_hosts(node_ids: Sequence[str] = ()) -> list[int]:
    import ray

    hosts = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [int(host["Resources"].get("GPU", 0)) for host in hosts if not node_ids or host["NodeID"] in node_ids]
