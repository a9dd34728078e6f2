"""Chunks on Ray: a local one started for the run, or an existing one by address.

Belongs here: connecting, submitting side by side, waiting, cancelling, giving back.
Does not belong here: workers that do tasks in order (gang, warm_worker, chains), what tasks do, Dagster.

Ray is imported inside functions: definitions and code servers load without it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from s2v_pipeline.cluster.chains import run_chains
from s2v_pipeline.cluster.executor import ExecutorInfo, Fit, ResultT, Task, WarmKey
from s2v_pipeline.cluster.gang import Gang
from s2v_pipeline.cluster.gpu_demand import GpuError, n_groups
from s2v_pipeline.cluster.gpu_nodes import choose_nodes, gpu_nodes
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.library_threads import one_blas_thread, run_task
from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.cluster.ray_connection import check_workers, join, start_local
from s2v_pipeline.cluster.shared_ray import SHARED, SharedRay
from s2v_pipeline.cluster.task_results import POLL_S, task_result
from s2v_pipeline.cluster.warm_worker import WarmWorker, ask_pool, open_pool
from s2v_pipeline.errors import ClusterError, S2VError
from s2v_pipeline.setting_groups import ClusterSettings

_log = logging.getLogger(__name__)

_LEAVE_TIMEOUT_S = 5.0  # for the pool to hear that this run has ended; it would find out by itself


class RayExecutor:
    """Runs each task as a Ray task with one CPU, or all of them in order: in one actor or a group of actors with a GPU
    each (gang), or in one that was there before the run and stays (warm_worker); in several of them at the same time
    where chains of tasks allow it (chains).

    `start` connects in a background thread, so that a local Ray comes up while the audio is analysed.

    Args:
        settings: where the cluster is and how often a task is redone.
        warm_up: picklable; run once for each CPU of a local Ray as soon as it is there.
        shared_folder: where the files of a shared Ray lie; needed where the settings ask for one.
        local_gpus: GPUs that a local Ray takes the machine to have; None lets Ray count them.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        warm_up: Callable[[], None] | None = None,
        *,
        shared_folder: Path | None = None,
        local_gpus: int | None = None,
    ) -> None:
        self._settings = settings
        self._shared = None if shared_folder is None else SharedRay(shared_folder)
        self._local_gpus = local_gpus
        self._run_id = uuid.uuid4().hex
        self._pool: Any = None
        self._warm_up = warm_up
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()
        self._released = threading.Event()
        self._error: S2VError | None = None
        self._while_it_starts = ExitStack()
        self._owns_cluster = False
        self._dashboard_url = ""
        self._is_lost = False

    def start(self) -> None:
        """Begin to connect; errors come out of `run` or `info`."""
        if self._thread is None:
            self._connected.clear()
            self._released.clear()
            self._error = None
            if self._settings.address is None:
                self._while_it_starts.enter_context(one_blas_thread())
            self._thread = threading.Thread(target=self._hold_connection, name="ray-connection", daemon=True)
            self._thread.start()

    def info(self) -> ExecutorInfo:
        """Address and CPUs of the cluster."""
        self._wait_until_connected()
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return ExecutorInfo(
            kind=self._kind(),
            address=ray.get_runtime_context().gcs_address,
            n_cpus=int(resources.get("CPU", 0)),
            dashboard_url=self._dashboard_url,
        )

    def _kind(self) -> str:
        if self._owns_cluster:
            return "ray (local)"
        return "ray (shared)" if self._settings.address == SHARED else "ray"

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
        """See `ChunkExecutor.run`; a task whose worker dies is redone `task_retries` times."""
        if n_gpus and not in_order:
            raise ValueError("tasks that need a GPU run in order: one worker holds it for all of them")
        if not tasks:
            return []
        if self._is_lost:
            _log.warning("the connection to Ray was lost; connecting anew")
            self.stop()
            self._is_lost = False
        self._wait_until_connected()
        try:
            with Interrupts() as interrupts:
                if in_order:
                    node_ids = self._choose_nodes(n_gpus, warm, fit, interrupts)
                    n_workers = self._n_workers(len(chain_starts), n_gpus, most_workers, node_ids)

                    def make_worker(interrupts: Interrupts) -> Gang | WarmWorker:
                        return self._worker(n_workers, n_gpus, warm, interrupts, node_ids)

                    return run_chains(tasks, chain_starts, make_worker, n_workers, on_done, interrupts)
                return self._run_side_by_side(tasks, on_done, interrupts)
        except GpuError:
            raise  # Ray itself is well
        except ClusterError:
            # Whether a worker or the whole of Ray is gone cannot be told apart safely; the next try starts afresh.
            self._is_lost = True
            raise

    def _choose_nodes(
        self, n_gpus: int, warm: WarmKey | None, fit: Fit | None, interrupts: Interrupts
    ) -> tuple[str, ...]:
        """Hosts that workers may go to, fastest first; () for any, as where there is one."""
        # What a cluster grows by is not known yet: workers go wherever there is room.
        if fit is None or not self._keeps_warm(warm, n_gpus) or self._grows():
            return ()
        known = ask_pool(self._open_pool().keep_gpus.remote({}), interrupts)
        nodes = gpu_nodes(known, interrupts)
        if not nodes:
            return ()
        self._open_pool().keep_gpus.remote({node.node_id: (node.gpu, node.total_bytes) for node in nodes})
        choice = choose_nodes(nodes, fit, n_gpus)
        if choice.words:
            _log.log(logging.WARNING if choice.is_poor else logging.INFO, "%s", choice.words)
        return choice.node_ids

    def _keeps_warm(self, warm: WarmKey | None, n_gpus: int) -> bool:
        # Without a GPU an idle worker would hold nothing but CPUs and memory that the others need.
        return warm is not None and n_gpus > 0 and self._settings.address is not None

    def _grows(self) -> bool:
        """Whether the cluster may be asked for GPUs; a Ray on this machine has what the machine has."""
        return self._settings.grow_to_gpus > 0 and self._settings.address not in (None, SHARED)

    def _n_workers(self, n_chains: int, n_gpus: int, most_workers: int | None, node_ids: tuple[str, ...]) -> int:
        """How many workers do chains at the same time."""
        if n_chains == 1:
            return 1
        n_places = n_groups(n_gpus, node_ids) if n_gpus else self.info().n_cpus
        if n_gpus and self._grows():
            n_places = max(n_places, self._settings.grow_to_gpus // n_gpus)
        return max(1, min(n_chains, n_places, most_workers or n_chains))

    def _worker(
        self, n_workers: int, n_gpus: int, warm: WarmKey | None, interrupts: Interrupts, node_ids: tuple[str, ...]
    ) -> Gang | WarmWorker:
        # A local Ray has nothing else to do meanwhile, and gives its workers as many threads as CPUs.
        n_ranks = max(1, n_gpus)
        n_cpus = max(1, self.info().n_cpus // (n_workers * n_ranks)) if self._owns_cluster else 1
        retries, timeout_s = self._settings.task_retries, self._settings.rank_timeout_s
        size = GroupSize(n_ranks, n_cpus, n_gpus=min(1, n_gpus))
        if warm is not None and self._keeps_warm(warm, n_gpus):
            return WarmWorker(
                self._open_pool(),
                self._run_id,
                warm,
                size,
                idle_s=self._settings.idle_s,
                task_retries=retries,
                rank_timeout_s=timeout_s,
                interrupts=interrupts,
                node_ids=node_ids,
                grow_to_gpus=self._settings.grow_to_gpus if self._grows() else 0,
            )
        return Gang(
            size,
            is_foreign=not self._owns_cluster and n_ranks > 1,  # one alone needs nothing of its environment
            task_retries=retries,
            rank_timeout_s=timeout_s,
            interrupts=interrupts,
        )

    def _open_pool(self) -> Any:
        if self._pool is None:
            self._pool = open_pool()
        return self._pool

    def _run_side_by_side(
        self, tasks: Sequence[Task[ResultT]], on_done: Callable[[ResultT], None], interrupts: Interrupts
    ) -> list[ResultT]:
        import ray

        remote: Any = ray.remote(num_cpus=1, max_retries=self._settings.task_retries, retry_exceptions=False)(run_task)
        indices = {remote.remote(task): index for index, task in enumerate(tasks)}
        results: dict[int, ResultT] = {}
        pending = list(indices)
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=len(pending), timeout=0)
                for ref in done:
                    results[indices[ref]] = task_result(ref, tasks[indices[ref]], self._settings.task_retries)
                    on_done(results[indices[ref]])
                if pending and not done:
                    interrupts.sleep(POLL_S)
        finally:
            for ref in pending:
                ray.cancel(ref, force=True)
        return [results[index] for index in range(len(tasks))]

    def stop(self) -> None:
        """Leave the cluster; a local one ends with all its processes."""
        if self._thread is None:
            return
        self._released.set()
        self._thread.join()
        self._thread = None
        self._while_it_starts.close()

    def _wait_until_connected(self) -> None:
        self.start()
        # A wait with a timeout returns to Python often enough for an interrupt to be raised.
        while not self._connected.wait(POLL_S):
            pass
        self._while_it_starts.close()
        if self._error is not None:
            raise self._error

    def _hold_connection(self) -> None:
        """Connect, then live until `stop`: the kernel ends a local Ray's processes when the thread that started them
        ends (PR_SET_PDEATHSIG is about threads), which is also why no Ray outlives a killed run."""
        try:
            self._connect()
        except S2VError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 (whatever it is, the thread that waits must hear of it)
            self._error = ClusterError(
                "Ray must start or be reachable",
                got=f"{type(error).__name__}: {error}",
                cure="`s2v doctor` checks memory, /dev/shm and the address; cluster.executor = 'in_process' works "
                "without Ray.",
            )
        finally:
            self._connected.set()
        if self._error is None:
            self._released.wait()
            import ray

            if self._pool is not None:
                ray.wait([self._pool.leave.remote()], timeout=_LEAVE_TIMEOUT_S)
                self._pool = None
            ray.shutdown()
        if self._shared is not None:
            self._shared.leave()

    def _connect(self) -> None:
        started_at = time.monotonic()
        if self._settings.address is None:
            start_local(self._settings, self._local_gpus, self._warm_up)
            self._owns_cluster = True
        elif self._settings.address == SHARED:
            if self._shared is None:
                raise ValueError(f"cluster.address = {SHARED!r} needs a folder for its files")
            record = self._shared.join(self._settings, local_gpus=self._local_gpus)
            self._dashboard_url = join(record.address, self._settings, token=self._shared.token())
        else:
            self._dashboard_url = join(self._settings.address, self._settings)
            check_workers()
        _log.info("Ray is ready after %.1f s", time.monotonic() - started_at)
