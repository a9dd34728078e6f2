"""A run's side of warm workers: a model that is loaded once and serves every run of a cluster that outlives them.

Belongs here: asking the pool, using what it grants, giving it back.
Does not belong here: whose turn it is (warm_pool), the processes (rank_group).
"""

from __future__ import annotations

import logging
import time
import uuid
from types import TracebackType
from typing import Any, Self, cast

from s2v_pipeline.cluster.executor import ResultT, SplitTask, Task, WarmKey
from s2v_pipeline.cluster.gang import PLACEMENT_TIMEOUT_S, place, run_on
from s2v_pipeline.cluster.gpu_demand import GpuError, check_gpus, n_groups
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.rank_group import NAMESPACE, GroupSize, RankGroup
from s2v_pipeline.cluster.task_results import first_words, pause_s
from s2v_pipeline.cluster.versions import own_versions
from s2v_pipeline.cluster.warm_pool import Grant, Wish
from s2v_pipeline.cluster.warm_pool_actor import WarmPoolActor
from s2v_pipeline.errors import ClusterError, S2VError

_log = logging.getLogger(__name__)

POOL_NAME = "s2v-warm-pool"
_PING_TIMEOUT_S = 20.0  # a process that is there answers in milliseconds, on a machine that swaps in seconds
_BEAT_S = 2.0
GROWTH_TIMEOUT_S = 900.0  # a virtual machine and an image of several GB take minutes, a quota that is used up for ever
_LETTERS = 12


def pool_name() -> str:
    """Of the pool of this code; workers of other code are none of its business."""
    return f"{POOL_NAME}-{own_versions().code[:_LETTERS]}"


def open_pool() -> Any:
    """The cluster's pool, made where it is not there."""
    import ray

    name = pool_name()
    options: dict[str, Any] = {"num_cpus": 0, "name": name, "namespace": NAMESPACE, "lifetime": "detached"}
    options["get_if_exists"] = True
    return ray.remote(**options)(WarmPoolActor).remote(name)


def ask_pool(ref: Any, interrupts: Interrupts) -> Any:
    """What the pool answers; `ref` is the call's.

    Raises:
        ClusterError: the pool is gone.
    """
    import ray

    asked_at = time.monotonic()
    while not ray.wait([ref], timeout=0)[0]:
        interrupts.sleep(pause_s(time.monotonic() - asked_at))
    try:
        return ray.get(ref)
    except ray.exceptions.RayActorError as error:
        raise ClusterError(
            "the cluster's pool of workers must live",
            got=first_words(error),
            cure="Finished chunks are kept: run it again.",
        ) from error


class _Beating(Interrupts):
    """Waits for interrupts as another does, and tells the pool meanwhile that this run lives."""

    def __init__(self, interrupts: Interrupts, pool: Any, ticket: str) -> None:
        super().__init__()
        self._interrupts, self._pool, self._ticket = interrupts, pool, ticket
        self._told_at = time.monotonic()

    def sleep(self, seconds_s: float) -> None:
        if time.monotonic() - self._told_at > _BEAT_S:
            self._told_at = time.monotonic()
            self._pool.beat.remote(self._ticket)
        self._interrupts.sleep(seconds_s)


class WarmWorker:
    """Runs tasks one by one, each on a group that the pool grants for it; use it as a context manager.

    Args:
        pool: the pool's actor.
        run: whose tasks they are.
        warm: what is loaded.
        size: of the group.
        idle_s: how long the group stays when nobody uses it.
        task_retries: times a task is redone.
        rank_timeout_s: after which ranks that wait for another give up.
        interrupts: end the waiting.
        node_ids: hosts that a new group may be on, fastest first; () for any.
        grow_to_gpus: that the cluster may be asked to have, all together; 0: it stays as it is.

    Raises:
        GpuError: no host of the cluster has room for it.
    """

    def __init__(
        self,
        pool: Any,
        run: str,
        warm: WarmKey,
        size: GroupSize,
        *,
        idle_s: float,
        task_retries: int,
        rank_timeout_s: float,
        interrupts: Interrupts,
        node_ids: tuple[str, ...] = (),
        grow_to_gpus: int = 0,
    ) -> None:
        check_gpus(size, grow_to_gpus)
        self._pool, self._run, self._warm, self._size = pool, run, warm, size
        self._idle_s, self._task_retries, self._rank_timeout_s = idle_s, task_retries, rank_timeout_s
        self._interrupts = interrupts
        self._node_ids, self._grow_to_gpus = node_ids, grow_to_gpus
        self._last = ""
        self._has_told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free: each task has given back what it used."""

    def stand_by(self) -> None:
        """See `Worker`; the pool grants for a task alone."""

    def run(self, task: Task[ResultT]) -> ResultT:
        """The result of a task; redone by a new group when a process dies, fails or does not answer.

        Raises:
            GpuError: the GPUs did not become free.
            ClusterError: groups failed more often than they may.
            Exception: whatever the task raised.
        """
        n_failed = 0
        while True:
            ticket = uuid.uuid4().hex
            self._pool.ask.remote(
                Wish(
                    ticket,
                    self._run,
                    self._warm.key,
                    self._warm.label,
                    self._size,
                    _is_split(task),
                    self._idle_s,
                    self._last,
                    self._node_ids,
                    self._grow_to_gpus,
                )
            )
            group: RankGroup | None = None
            is_usable = False
            try:
                beating = _Beating(self._interrupts, self._pool, ticket)
                grant = self._granted(ticket)
                self._last = grant.name
                group = self._group(grant, beating)
                if group is None:
                    continue  # an idle worker that had died or hung: nothing of this task was lost
                self._pool.placed.remote(ticket, group.node_id)
                result = run_on(group, task, self._rank_timeout_s, beating)
                is_usable = True
                return result
            except GpuError:
                raise
            except ClusterError as error:
                n_failed += 1
                if n_failed > self._task_retries:
                    raise ClusterError(
                        f"the worker of {task.label} must live until its work is done, at most {self._task_retries} of "
                        "them may die",
                        got=error.got,
                        cure="Finished chunks are kept: run it again. If it happens again, `s2v doctor` checks the "
                        "machine; `s2v cluster down` starts afresh.",
                    ) from error
                _log.warning("%s is done again by a new worker: %s", task.label, error.got)
            except S2VError:
                # The process is well; but of several, others may still wait for one that has given up.
                is_usable = self._size.n_ranks == 1
                raise
            finally:
                if group is not None and not is_usable:
                    group.end()
                self._pool.give_back.remote(ticket, is_usable)

    def _granted(self, ticket: str) -> Grant:
        """What the pool grants, waited for as long as it takes: others' chunks come first in turn."""
        asked_at = time.monotonic()
        while True:
            grant = cast("Grant | None", ask_pool(self._pool.beat.remote(ticket), self._interrupts))
            if grant is not None:
                return grant
            if self._grow_to_gpus:
                self._check_growth(time.monotonic() - asked_at)
            self._interrupts.sleep(pause_s(time.monotonic() - asked_at))

    def _check_growth(self, waited_s: float) -> None:
        """See that the wait for a machine that the cluster does not have yet has an end.

        Raises:
            GpuError: none came.
        """
        n_gpus = self._size.n_ranks * self._size.n_gpus
        if n_groups(n_gpus):
            return
        if not self._has_told:
            _log.warning("no host of the cluster has %d GPU yet; its autoscaler is asked for one", n_gpus)
            self._has_told = True
        if waited_s > GROWTH_TIMEOUT_S:
            raise GpuError(
                f"the cluster must get a host with {n_gpus} GPU, as cluster.grow_to_gpus = {self._grow_to_gpus} says",
                got=f"none within {GROWTH_TIMEOUT_S / 60:.0f} minutes",
                cure="Look at the autoscaler (`ray status`): its kinds of hosts, its limits, what the provider has. "
                "Finished chunks are kept: run it again.",
            )

    def _group(self, grant: Grant, interrupts: Interrupts) -> RankGroup | None:
        """The processes of a grant; None where those that were there are no more."""
        if not grant.is_new:
            found = RankGroup.find(grant.name, grant.size.n_ranks)
            if found is not None and not place(found, interrupts, _PING_TIMEOUT_S):
                _log.warning("an idle worker does not answer; another one takes its place")
                found.end()
                return None
            return found
        group = RankGroup.ask(grant.size, is_foreign=True, name=grant.name, node_ids=self._node_ids)
        try:
            is_up = place(group, interrupts)
        except BaseException:
            group.end()
            raise
        if not is_up:
            group.end()
            raise GpuError(
                f"{grant.size.n_ranks} GPU of one host must be free for this generator",
                got=f"none within {PLACEMENT_TIMEOUT_S:.0f} s",
                cure="End what uses them (`ray status`, `s2v cluster status`) and run it again.",
            )
        return group


def _is_split(task: Task[Any]) -> bool:
    return isinstance(task, SplitTask)
