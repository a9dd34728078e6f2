"""Processes that make each chunk together, or one alone: what each does, and what happens when one of them does not.

Belongs here: telling a task's own error from a rank that is gone, doing a task again with a new group.
Does not belong here: the processes (rank_group), what ranks say to each other (the generators).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

from s2v_pipeline.cluster.executor import ResultT, SplitTask, Task
from s2v_pipeline.cluster.gpu_demand import CPU_CURE, GpuError, check_gpus
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.rank_group import GroupSize, RankGroup
from s2v_pipeline.cluster.task_results import first_words, pause_s, task_result
from s2v_pipeline.errors import ClusterError, S2VError
from s2v_pipeline.generation.ranks import Rank

_log = logging.getLogger(__name__)

PLACEMENT_TIMEOUT_S = 60.0
"""Starting a process takes seconds, and a GPU that the step before has let go of is free again within as many."""
_REASON_S = 3.0
"""When one rank fails, the others mostly do, too: of one cause, or because it is gone. They are waited for so long, as
only one of them may know the reason."""


class _NotReplacedError(ClusterError):
    """Processes that failed have no successors: Ray itself may be gone."""


class Gang:
    """Runs tasks one by one on a group of processes; use it as a context manager, which frees all of them.

    A `SplitTask` is done by all ranks at once, any other task by rank 0 alone. A gang of one keeps what it loaded.

    Args:
        size: processes, and what each takes.
        is_foreign: see `RankGroup.ask`.
        task_retries: times a task is redone, each time with a new group.
        rank_timeout_s: after which ranks that wait for another give up.
        interrupts: end the waiting.

    Raises:
        GpuError: no host of the cluster has room for it.
    """

    def __init__(
        self, size: GroupSize, *, is_foreign: bool, task_retries: int, rank_timeout_s: float, interrupts: Interrupts
    ) -> None:
        check_gpus(size)
        self._size = size
        self._is_foreign = is_foreign
        self._task_retries = task_retries
        self._rank_timeout_s = rank_timeout_s
        self._interrupts = interrupts
        self._group: RankGroup | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def stand_by(self) -> None:
        """See `Worker`."""
        self._placed(is_first=True)

    def run(self, task: Task[ResultT]) -> ResultT:
        """The result of a task; redone by a new group when a rank dies, fails or does not answer.

        Raises:
            GpuError: the GPUs did not become free.
            ClusterError: groups failed more often than they may.
            Exception: whatever the task raised, if it is the pipeline's own error or the task is not split.
        """
        for n_failed in range(self._task_retries + 1):
            try:
                group = self._placed(is_first=n_failed == 0)
                return run_on(group, task, self._rank_timeout_s, self._interrupts)
            except (GpuError, _NotReplacedError):
                raise
            except ClusterError as error:
                self._end()
                if n_failed == self._task_retries:
                    raise self._given_up(task, error) from error
                _log.warning("%s is done again by new processes: %s", task.label, error.got)
        raise AssertionError("the loop returns or raises")

    def _given_up(self, task: Task[ResultT], error: ClusterError) -> ClusterError:
        kept = "Finished chunks are kept: run it again. If it happens again,"
        if self._size.n_ranks == 1:
            return ClusterError(
                f"the worker of {task.label} must live until its work is done, at most {self._task_retries} of them "
                "may die",
                got=error.got,
                cure=f"{kept} look at the worker's memory (`s2v doctor`) and lower cluster.num_cpus.",
            )
        return ClusterError(
            f"the processes of {task.label} must live and answer until it is done; at most {self._task_retries} groups "
            "of them may fail",
            got=error.got,
            cure=f"{kept} `s2v doctor` checks the GPUs; cluster.gpus_per_video = 1 does without a group.",
        )

    def _placed(self, *, is_first: bool) -> RankGroup:
        """The processes, made and waited for where there are none.

        Raises:
            GpuError: the GPUs did not become free.
            ClusterError: one died as it started, or those that failed cannot be replaced.
        """
        if self._group is None:
            self._group = RankGroup.ask(self._size, is_foreign=self._is_foreign)
            is_placed = is_up(self._group, self._interrupts, PLACEMENT_TIMEOUT_S)
            # First workers without a GPU wait for a busy cluster, as every other task does. The next ones take the
            # place of those that died; where none can be had, Ray itself may be gone.
            while not is_placed and is_first and not self._size.n_gpus:
                _log.warning("still waiting for %d free CPUs of the cluster", self._size.n_cpus)
                is_placed = is_up(self._group, self._interrupts, PLACEMENT_TIMEOUT_S)
            if not is_placed:
                self._end()
                n_gpus = self._size.n_ranks * self._size.n_gpus
                if not is_first:
                    raise _NotReplacedError(
                        "processes that failed must be replaced by others",
                        got=f"none within {PLACEMENT_TIMEOUT_S:.0f} s",
                        cure="Finished chunks are kept: run it again.",
                    )
                raise GpuError(
                    f"{n_gpus} GPU of one host must be free for this generator",
                    got=f"none within {PLACEMENT_TIMEOUT_S:.0f} s",
                    cure=f"End what uses it (`ray status` shows the cluster's load) and run it again. {CPU_CURE}",
                )
        return self._group

    def _end(self) -> None:
        if self._group is not None:
            group, self._group = self._group, None
            group.end()


def place(group: RankGroup, interrupts: Interrupts, timeout_s: float | None = None) -> bool:
    """Whether all processes of a group came up in time, and alive."""
    try:
        return is_up(group, interrupts, timeout_s or PLACEMENT_TIMEOUT_S)
    except ClusterError as error:
        _log.warning("%s", error)
        return False


def is_up(group: RankGroup, interrupts: Interrupts, timeout_s: float) -> bool:
    """Whether all processes of a group came up in time.

    Raises:
        ClusterError: one is dead.
    """
    import ray

    try:
        return group.is_up(lambda refs: _wait(refs, interrupts, timeout_s))
    except ray.exceptions.RayActorError as error:
        raise ClusterError(
            "a worker's process must live as it starts",
            got=first_words(error),
            cure="Run it again; `s2v doctor` checks the machine's memory.",
        ) from error


def run_on(group: RankGroup, task: Task[ResultT], rank_timeout_s: float, interrupts: Interrupts) -> ResultT:
    """The result of a task on a group that is up.

    Raises:
        ClusterError: a rank died, failed or did not answer; the group can do nothing more.
        Exception: whatever the task raised, if it is the pipeline's own error or the task is not split.
    """
    first, *others = group.actors
    if not others or not isinstance(task, SplitTask):
        return cast(ResultT, _alone(first.run.remote(task), task, interrupts))
    if not _alone(first.has_joined.remote(), task, interrupts):
        address = _alone(first.free_address.remote(), task, interrupts)
        ranks = [Rank(index, len(group.actors), address, rank_timeout_s) for index in range(len(group.actors))]
        joining = [actor.join.remote(task, rank) for actor, rank in zip(group.actors, ranks, strict=True)]
        _together(joining, task, rank_timeout_s, interrupts)
    found = _alone(first.find.remote(task), task, interrupts)
    if found is not None:
        return cast(ResultT, found)
    working = [first.run.remote(task), *(actor.follow.remote(task) for actor in others)]
    return cast(ResultT, _together(working, task, rank_timeout_s, interrupts)[0])


def _alone(ref: Any, task: Task[ResultT], interrupts: Interrupts) -> Any:
    _wait([ref], interrupts)
    return task_result(ref, task, 0)


def _together(refs: Sequence[Any], task: Task[ResultT], rank_timeout_s: float, interrupts: Interrupts) -> list[Any]:
    """What all ranks return.

    Raises:
        S2VError: what a rank raised itself, once, whichever ranks did.
        ClusterError: a rank is gone, failed in another way, or did not answer when the first one had ended.
    """
    import ray

    pending, results, errors = list(refs), {}, []
    started_at = time.monotonic()
    while pending:
        done, pending = ray.wait(pending, num_returns=len(pending), timeout=0)
        for ref in done:
            try:
                results[ref] = task_result(ref, task, 0)
            except Exception as error:  # noqa: BLE001 (of any rank, weighed below)
                errors.append(error)
        if done:
            give_up_at = time.monotonic() + (_REASON_S if errors else rank_timeout_s)
        elif (results or errors) and time.monotonic() > give_up_at:
            break
        else:
            interrupts.sleep(pause_s(time.monotonic() - started_at))
    for failed in errors:
        if isinstance(failed, S2VError) and not isinstance(failed, ClusterError):
            raise failed
    if errors or pending:
        silent = [str(refs.index(ref)) for ref in pending]
        reasons = [each.got if isinstance(each, S2VError) else first_words(each) for each in errors]
        if silent:
            reasons.append(f"no answer from rank {', '.join(silent)} when another had ended")
        raise ClusterError(
            f"the {len(refs)} processes of {task.label} must all do their part",
            got="; ".join(dict.fromkeys(reasons)),
            cure="Finished chunks are kept: run it again.",
        ) from (errors[0] if errors else None)
    return [results[ref] for ref in refs]


def _wait(refs: list[Any], interrupts: Interrupts, timeout_s: float | None = None) -> bool:
    """Whether references are done, waited for in small steps (see `pause_s`)."""
    import ray

    started_at = time.monotonic()
    while len(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) < len(refs):
        if timeout_s is not None and time.monotonic() - started_at > timeout_s:
            return False
        interrupts.sleep(pause_s(time.monotonic() - started_at))
    return True
