"""One Ray worker that does one task after another and keeps what it loaded: a Ray actor.

Belongs here: placing it, replacing it when it dies, ending it.
Does not belong here: connecting to Ray (ray_executor), what tasks do.
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any, Self

from s2v_pipeline.cluster.executor import ResultT, Task
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.task_results import POLL_S, task_result
from s2v_pipeline.errors import ClusterError

_log = logging.getLogger(__name__)

# Starting a process takes seconds, and a GPU that the step before has let go of is free again within as many.
PLACEMENT_TIMEOUT_S = 60.0
CPU_CURE = "Set wan.device = 'cpu' to do without (very slow), or choose another generation.generator."


class GpuError(ClusterError):
    """The cluster has no GPU, or none that is free."""


def check_gpus(n_gpus: int, *, of_one_host: bool = False) -> None:
    """See that the cluster has so many GPUs: Ray itself would wait for them for ever.

    Raises:
        GpuError: it has fewer, in all or on each host.
    """
    import ray

    if of_one_host:
        hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        there = int(max((host.get("GPU", 0) for host in hosts), default=0))
    else:
        there = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    if there < n_gpus:
        raise GpuError(
            f"{'a host of the' if of_one_host else 'the'} cluster must have {n_gpus} GPU for this generator",
            got=f"{there}",
            cure=f"Run it on a machine with {'them' if n_gpus > 1 else 'one'} (`s2v doctor`), or set cluster.address. "
            f"{CPU_CURE}",
        )


class OrderedWorker:
    """Runs tasks one by one in one process; use it as a context manager, which frees the process and its GPUs.

    Args:
        n_cpus, n_gpus: that the worker takes.
        task_retries: times a task is redone when its worker dies.
        interrupts: end the waiting.

    Raises:
        GpuError: the cluster has fewer GPUs in all.
    """

    def __init__(self, *, n_cpus: int, n_gpus: int, task_retries: int, interrupts: Interrupts) -> None:
        check_gpus(n_gpus)
        self._n_cpus = n_cpus
        self._n_gpus = n_gpus
        self._task_retries = task_retries
        self._interrupts = interrupts
        self._actor: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, task: Task[ResultT]) -> ResultT:
        """The result of a task; the task is redone in a new process when the process dies.

        Raises:
            GpuError: no GPU became free.
            ClusterError: its workers died more often than they may.
            Exception: whatever the task raised.
        """
        import ray

        for n_died in range(self._task_retries + 1):
            actor = self._placed(is_first=n_died == 0)
            ref = actor.run.remote(task)
            self._wait(ref)
            try:
                return task_result(ref, task, self._task_retries)
            except ClusterError as error:
                self._end()
                if not isinstance(error.__cause__, ray.exceptions.RayActorError) or n_died == self._task_retries:
                    raise
                _log.warning("the worker of %s died; another one does it again", task.label)
        raise AssertionError("the loop returns or raises")

    def _placed(self, *, is_first: bool) -> Any:
        """The actor, made and waited for where there is none."""
        if self._actor is None:
            import ray

            self._actor = ray.remote(num_cpus=self._n_cpus, num_gpus=self._n_gpus, max_restarts=0)(_Worker).remote()
            ready = self._actor.ready.remote()
            is_placed = self._wait(ready, PLACEMENT_TIMEOUT_S)
            # A first worker without a GPU waits for a busy cluster, as every other task does. The next one takes the
            # place of the one that died; where none can be had, Ray itself may be gone.
            while not is_placed and is_first and not self._n_gpus:
                _log.warning("still waiting for %d free CPUs of the cluster", self._n_cpus)
                is_placed = self._wait(ready, PLACEMENT_TIMEOUT_S)
            if not is_placed:
                self._end()
                if not is_first:
                    raise ClusterError(
                        "a worker that died must be replaced by another",
                        got=f"none within {PLACEMENT_TIMEOUT_S:.0f} s",
                        cure="Finished chunks are kept: run it again.",
                    )
                raise GpuError(
                    f"{self._n_gpus} GPU of the cluster must be free for this generator",
                    got=f"none within {PLACEMENT_TIMEOUT_S:.0f} s",
                    cure=f"End what uses it (`ray status` shows the cluster's load) and run it again. {CPU_CURE}",
                )
        return self._actor

    def _wait(self, ref: Any, timeout_s: float | None = None) -> bool:
        """Whether a reference is done, waited for in small steps (see `POLL_S`)."""
        import ray

        started_at = time.monotonic()
        while not ray.wait([ref], timeout=0)[0]:
            if timeout_s is not None and time.monotonic() - started_at > timeout_s:
                return False
            self._interrupts.sleep(POLL_S)
        return True

    def _end(self) -> None:
        if self._actor is not None:
            import ray

            actor, self._actor = self._actor, None
            ray.kill(actor, no_restart=True)


class _Worker:
    """What lives in the actor's process."""

    def ready(self) -> None:
        """Answers as soon as the process is there."""

    def run(self, task: Task[ResultT]) -> ResultT:
        return task.run()
