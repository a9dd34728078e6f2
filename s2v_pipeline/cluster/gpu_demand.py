"""Whether a cluster has the GPUs that a worker asks for, and how many such workers it has room for.

Belongs here: counting what hosts have, saying that it is too little, asking for more.
Does not belong here: what is free at the moment (Ray's placement), what a GPU is like (gpus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.errors import ClusterError

CPU_CURE = "Set wan.device = 'cpu' to do without (very slow), or choose another generation.generator."


class GpuError(ClusterError):
    """The cluster has no GPU, or none that is free."""


def check_gpus(size: GroupSize, grow_to_gpus: int = 0) -> None:
    """See that a host of the cluster has room for such a group, or may get it: Ray itself would wait for ever.

    Args:
        size: of the group, all of it on one host.
        grow_to_gpus: GPUs that the cluster may have, all together; 0 where it does not grow.

    Raises:
        GpuError: none has, nor will.
    """
    n_gpus, n_cpus = size.n_ranks * size.n_gpus, size.n_ranks * size.n_cpus
    if n_gpus == 0 or grow_to_gpus >= n_gpus:
        return
    hosts = _resources_of_hosts()
    there = max((int(host.get("GPU", 0)) for host in hosts), default=0)
    if there < n_gpus:
        may_grow = f", cluster.grow_to_gpus = {grow_to_gpus}" if grow_to_gpus else ""
        raise GpuError(
            f"a host of the cluster must have {n_gpus} GPU for this generator",
            got=f"{there}{may_grow}",
            cure=f"Run it on a machine with {'them' if n_gpus > 1 else 'one'} (`s2v doctor`), or set cluster.address. "
            f"{CPU_CURE}",
        )
    cpus = max(int(host.get("CPU", 0)) for host in hosts if host.get("GPU", 0) >= n_gpus)
    if cpus < n_cpus:
        raise GpuError(
            f"a host with {n_gpus} GPU must offer {n_cpus} CPU to Ray, {size.n_cpus} for each GPU's process",
            got=f"{cpus}",
            cure="Raise cluster.num_cpus, or the --num-cpus that this host's Ray was started with, or lower "
            "cluster.gpus_per_video.",
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
    return [int(resources.get("GPU", 0)) for resources in _resources_of_hosts(node_ids)]


def _resources_of_hosts(node_ids: Sequence[str] = ()) -> list[Mapping[str, float]]:
    import ray

    hosts = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [host["Resources"] for host in hosts if not node_ids or host["NodeID"] in node_ids]
