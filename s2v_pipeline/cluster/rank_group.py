"""Processes that work together, one GPU each on one host: Ray actors in a placement group.

Belongs here: the actors, placing them, finding them again by name, ending all of them.
Does not belong here: who does what of a task, and what happens when one dies (gang).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import psutil

from s2v_pipeline.cluster.executor import ResultT, SplitTask, Task
from s2v_pipeline.cluster.gpu_nodes import with_room
from s2v_pipeline.generation.ranks import Rank

NAMESPACE = "s2v_pipeline"
"""Ray's namespace of everything here."""

_NODE_LABEL = "ray.io/node-id"
MULTICAST_OFF = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "NVSHMEM_DISABLE_NVLS": "1"}
"""NVLink multicast is left off unless the environment says otherwise: a process that is killed while it uses it can put
the GPUs of a shared host out of service, and it gains nothing at these sizes."""


class RankProcess:
    """What lives in the process of a rank; also of one that works alone."""

    def __init__(self) -> None:
        self._has_joined = False

    def ready(self) -> tuple[str, int]:
        """Answers as soon as the process is there: Ray's id of the node, and the process's."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def free_address(self) -> str:
        """host:port of this node that nobody listens at."""
        import ray

        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as listener:
            listener.bind((host, 0))
            return f"{host}:{listener.getsockname()[1]}"

    def has_joined(self) -> bool:
        """Whether this process has a place among others already."""
        return self._has_joined

    def join(self, task: SplitTask[Any], rank: Rank) -> None:
        task.join(rank)
        self._has_joined = True

    def find(self, task: SplitTask[ResultT]) -> ResultT | None:
        return task.find()

    def run(self, task: Task[ResultT]) -> ResultT:
        return task.run()

    def follow(self, task: SplitTask[Any]) -> None:
        task.follow()


@dataclass(frozen=True)
class GroupSize:
    """What a group takes.

    Attributes:
        n_ranks: processes.
        n_cpus: of each one.
        n_gpus: of each one, 0 or 1.
    """

    n_ranks: int
    n_cpus: int
    n_gpus: int = 1


class RankGroup:
    """Actors of one group in the order of their ranks, and what holds their GPUs.

    Args:
        actors: handles.
        placement: Ray's placement group.

    Attributes:
        node_id: of the host that it is on; "" until it is up.
    """

    def __init__(self, actors: list[Any], placement: Any) -> None:
        self.actors = actors
        self._placement = placement
        self._processes: list[psutil.Process] = []
        self.node_id = ""

    @classmethod
    def ask(cls, size: GroupSize, *, is_foreign: bool, name: str = "", node_ids: tuple[str, ...] = ()) -> Self:
        """Ask Ray for a new group; returns at once.

        Args:
            size: what it takes.
            is_foreign: whether the cluster's processes have another environment than this one's. Then theirs is set,
                which costs a new process each, some seconds.
            name: with one it outlives the driver, and others find it.
            node_ids: hosts that it may be on, rather the first ones; () for any.
        """
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        bundle = {"CPU": float(size.n_cpus), **({"GPU": float(size.n_gpus)} if size.n_gpus else {})}
        # One host: the ranks exchange gigabytes a chunk, which only NVLink carries in time.
        placement = placement_group(
            [bundle] * size.n_ranks,
            strategy="STRICT_PACK",
            name=f"{name}-gpus" if name else "",
            lifetime="detached" if name else None,
            bundle_label_selector=[{_NODE_LABEL: f"in({','.join(node_ids)})"}] * size.n_ranks if node_ids else None,
            _soft_target_node_id=with_room(node_ids, size.n_ranks * size.n_gpus) if node_ids else None,
        )
        unset = {key: value for key, value in MULTICAST_OFF.items() if key not in os.environ}
        threads = {"OMP_NUM_THREADS": str(max(1, size.n_cpus))}
        actors = []
        for index in range(size.n_ranks):
            options: dict[str, Any] = {
                "num_cpus": size.n_cpus,
                "num_gpus": size.n_gpus,
                "max_restarts": 0,
                "scheduling_strategy": PlacementGroupSchedulingStrategy(placement, index),
            }
            if is_foreign:
                options["runtime_env"] = {"env_vars": {**unset, **threads}}
            if name:
                options |= {"name": f"{name}-{index}", "namespace": NAMESPACE, "lifetime": "detached"}
            actors.append(ray.remote(**options)(RankProcess).remote())
        return cls(actors, placement)

    @classmethod
    def find(cls, name: str, n_ranks: int) -> Self | None:
        """A group that was asked for by name; None where not all of it is there.

        Where only some of it is there, that is ended.
        """
        import ray
        from ray.util.placement_group import get_placement_group

        actors = []
        for index in range(n_ranks):
            with contextlib.suppress(ValueError):  # Ray's word for: no such actor
                actors.append(ray.get_actor(f"{name}-{index}", namespace=NAMESPACE))
        placement = None
        with contextlib.suppress(ValueError):
            placement = get_placement_group(f"{name}-gpus")
        group = cls(actors, placement)
        if placement is None or len(actors) < n_ranks:
            group.end()
            return None
        return group

    def is_up(self, wait: Callable[[list[Any]], bool]) -> bool:
        """Whether all processes answer; `wait` says whether all of the references that it gets came in time.

        Raises:
            ray.exceptions.RayActorError: one is dead.
        """
        import ray

        refs = [actor.ready.remote() for actor in self.actors]
        if not wait(refs):
            return False
        here = ray.get_runtime_context().get_node_id()
        for node, pid in ray.get(refs):
            self.node_id = node
            if node == here:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._processes.append(psutil.Process(pid))
        return True

    def end(self) -> None:
        """Kill all processes and give the GPUs back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        for actor in self.actors:
            ray.kill(actor, no_restart=True)
        if self._placement is not None:
            remove_placement_group(self._placement)
        # Ray asks a process to end itself, which one that is stopped or stuck in a driver does not do.
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def end_all_named(prefix: str) -> int:
    """End every group whose name begins so; how many processes that were."""
    import ray
    from ray.util.placement_group import get_placement_group, placement_group_table, remove_placement_group

    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE]
    ranks = [name for name in names if name.startswith(f"{prefix}-")]
    for name in ranks:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    for placement in placement_group_table().values():
        if placement["name"].startswith(f"{prefix}-") and placement["state"] != "REMOVED":
            with contextlib.suppress(ValueError):
                remove_placement_group(get_placement_group(placement["name"]))
    return len(ranks)
