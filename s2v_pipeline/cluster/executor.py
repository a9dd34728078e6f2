"""What an executor promises, and the one that needs no cluster.

Belongs here: the protocol, its values, the in-process implementation, choosing one from the settings.
Does not belong here: Ray (ray_executor), what the tasks do (tasks).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from s2v_pipeline.generation.gpu_needs import GpuFit
from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.setting_groups import ClusterSettings

Fit = Callable[[str, int], GpuFit | None]
"""How a generator would work on a GPU of a name and memory in bytes; None if not at all."""
ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Task(Protocol[ResultT_co]):
    """Work for one worker: picklable, idempotent, and pure but for the files that it writes atomically."""

    @property
    def label(self) -> str:
        """A few words for logs, such as "chunk 3"."""
        ...

    def run(self) -> ResultT_co:
        """Do the work; may run more than once when a worker dies."""
        ...


@runtime_checkable
class SplitTask(Protocol[ResultT_co]):
    """A `Task` that several processes can do together, each on its own GPU. All of them are asked at once."""

    @property
    def label(self) -> str: ...

    def run(self) -> ResultT_co: ...

    def join(self, rank: Rank) -> None:
        """Make this process one of those that work together; once a process, before all else.

        Raises:
            ClusterError: the others did not come in time.
        """
        ...

    def find(self) -> ResultT_co | None:
        """Asked of rank 0 alone, before the others are: the result, where it is there already."""
        ...

    def follow(self) -> None:
        """The part of the other ranks while rank 0 does `run`; writes nothing."""
        ...


@dataclass(frozen=True)
class WarmKey:
    """What a worker has loaded that may serve other runs.

    Attributes:
        key: of everything that loading depends on; workers with another one are of no use.
        label: for people.
    """

    key: str
    label: str


@dataclass(frozen=True)
class ExecutorInfo:
    """What a run's metadata says about where its chunks were made; `dashboard_url` is '' where there is none."""

    kind: str
    address: str
    n_cpus: int
    dashboard_url: str = ""


@runtime_checkable
class ChunkExecutor(Protocol):
    """Runs tasks; the order of results is the order of tasks.

    The first task that fails ends the others and its error is raised; what they had finished is on disk. An interrupt
    (KeyboardInterrupt, Dagster's termination) frees the workers before it goes on.
    """

    def start(self) -> None:
        """Begin to make workers available; returns at once."""
        ...

    def run(
        self,
        tasks: Sequence[Task[ResultT]],
        on_done: Callable[[ResultT], None],
        *,
        in_order: bool = False,
        chain_starts: Sequence[int] = (0,),
        most_workers: int | None = None,
        n_gpus: int = 0,
        warm: WarmKey | None = None,
        fit: Fit | None = None,
    ) -> list[ResultT]:
        """Results of all tasks; `on_done` is called in the caller's thread as each one ends.

        Args:
            tasks: what to do.
            on_done: takes each result.
            in_order: one task after another on one worker, which keeps what it loaded. Otherwise tasks are independent
                and done side by side in any order.
            chain_starts: with `in_order`, positions of tasks that need none before them, the first one 0. What starts
                there may be done by other workers at the same time, in order again.
            most_workers: that do so; None for as many as there are GPUs, or CPUs where none is needed.
            n_gpus: GPUs that a worker takes; more than 0 only with `in_order`. With 2 and more the worker is as many
                processes on one host, which do each `SplitTask` together; the first of them does all others alone.
            warm: what the worker loads. With GPUs, in a cluster that outlives the run, such a worker serves the runs
                that follow, one task of each run in turn.
            fit: how it would work on a GPU; where hosts have unlike ones, it goes to those where it works best.

        Raises:
            ClusterError: workers or GPUs could not be had, or workers died more often than the settings allow.
            Exception: whatever a task raised.
        """
        ...

    def info(self) -> ExecutorInfo:
        """Where tasks run; waits until that is known."""
        ...

    def stop(self) -> None:
        """Free everything that `start` or `run` took; may be called twice."""
        ...


class InProcessExecutor:
    """One task after another in the calling process."""

    def start(self) -> None:
        """Nothing to do: the process is there."""

    def run(
        self,
        tasks: Sequence[Task[ResultT]],
        on_done: Callable[[ResultT], None],
        *,
        in_order: bool = False,
        chain_starts: Sequence[int] = (0,),
        most_workers: int | None = None,
        n_gpus: int = 0,
        warm: WarmKey | None = None,
        fit: Fit | None = None,
    ) -> list[ResultT]:
        """See `ChunkExecutor.run`; the order is kept in any case, and the process has the GPUs that it has."""
        del in_order, chain_starts, most_workers, n_gpus, warm, fit
        results = []
        for task in tasks:
            result = task.run()
            on_done(result)
            results.append(result)
        return results

    def info(self) -> ExecutorInfo:
        """This process, one task at a time."""
        return ExecutorInfo(kind="in_process", address=f"pid {os.getpid()}", n_cpus=1)

    def stop(self) -> None:
        """Nothing to free."""


def make_executor(
    settings: ClusterSettings, warm_up: Callable[[], None] | None = None, shared_folder: Path | None = None
) -> ChunkExecutor:
    """The executor that the settings name; not started.

    Args:
        settings: which one.
        warm_up: what its new workers do first.
        shared_folder: where the files of a Ray that runs share lie.
    """
    if settings.executor == "in_process":
        return InProcessExecutor()
    # Ray is imported only by those who use it: it costs most of a second.
    ray_executor = importlib.import_module("s2v_pipeline.cluster.ray_executor")
    executor: ChunkExecutor = ray_executor.RayExecutor(settings, warm_up, shared_folder=shared_folder)
    return executor
