"""Chunks on Ray: a local one started for the run, or an existing one by address.

Belongs here: connecting, submitting side by side, waiting, cancelling, giving back.
Does not belong here: one worker for all tasks (ordered_worker), what tasks do, which tasks there are, Dagster.

Ray is imported inside functions: definitions and code servers load without it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from s2v_pipeline.cluster.executor import ExecutorInfo, ResultT, Task
from s2v_pipeline.cluster.gang import Gang
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.ordered_worker import GpuError, OrderedWorker
from s2v_pipeline.cluster.rank_group import MULTICAST_OFF, NAMESPACE, GroupSize
from s2v_pipeline.cluster.task_results import POLL_S, task_result
from s2v_pipeline.errors import ClusterError, S2VError
from s2v_pipeline.setting_groups import ClusterSettings

_log = logging.getLogger(__name__)

_BYTES_PER_MB = 1 << 20
# Since 2.59 Ray decides by the presence of a token file whether it authenticates; processes of one cluster must agree,
# so the mode is always said. A cluster without authentication needs RAY_AUTH_MODE=disabled in the environment.
_AUTH_MODE_VARIABLE = "RAY_AUTH_MODE"
_AUTH_TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105 (a name, not a secret)
_DEFAULT_AUTH_MODE = "token"
_TOKEN_BYTES = 32


class RayExecutor:
    """Runs each task as a Ray task with one CPU, or all of them in order in one actor (ordered_worker) or
    in a group of actors with a GPU each (gang).

    `start` connects in a background thread, so that a local Ray comes up while the audio is analysed.

    Args:
        settings: where the cluster is and how often a task is redone.
        warm_up: picklable; run once for each CPU of a local Ray as soon as it is there.
        local_gpus: GPUs that a local Ray takes the machine to have; None lets Ray count them.
    """

    def __init__(
        self, settings: ClusterSettings, warm_up: Callable[[], None] | None = None, *, local_gpus: int | None = None
    ) -> None:
        self._settings = settings
        self._local_gpus = local_gpus
        self._warm_up = warm_up
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()
        self._released = threading.Event()
        self._error: S2VError | None = None
        self._owns_cluster = False
        self._dashboard_url = ""
        self._is_lost = False

    def start(self) -> None:
        """Begin to connect; errors come out of `run` or `info`."""
        if self._thread is None:
            self._connected.clear()
            self._released.clear()
            self._error = None
            self._thread = threading.Thread(target=self._hold_connection, name="ray-connection", daemon=True)
            self._thread.start()

    def info(self) -> ExecutorInfo:
        """Address and CPUs of the cluster."""
        self._wait_until_connected()
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return ExecutorInfo(
            kind="ray (local)" if self._owns_cluster else "ray",
            address=ray.get_runtime_context().gcs_address,
            n_cpus=int(resources.get("CPU", 0)),
            dashboard_url=self._dashboard_url,
        )

    def run(
        self,
        tasks: Sequence[Task[ResultT]],
        on_done: Callable[[ResultT], None],
        *,
        in_order: bool = False,
        n_gpus: int = 0,
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
                    return self._run_in_order(tasks, on_done, n_gpus, interrupts)
                return self._run_side_by_side(tasks, on_done, interrupts)
        except GpuError:
            raise  # Ray itself is well
        except ClusterError:
            # Whether a worker or the whole of Ray is gone cannot be told apart safely; the next try starts afresh.
            self._is_lost = True
            raise

    def _run_in_order(
        self, tasks: Sequence[Task[ResultT]], on_done: Callable[[ResultT], None], n_gpus: int, interrupts: Interrupts
    ) -> list[ResultT]:
        # A local Ray has nothing else to do meanwhile, and gives its workers as many threads as CPUs.
        n_cpus = max(1, self.info().n_cpus // max(1, n_gpus)) if self._owns_cluster else 1
        results = []
        with self._worker(n_cpus, n_gpus, interrupts) as worker:
            for task in tasks:
                result = worker.run(task)
                on_done(result)
                results.append(result)
        return results

    def _worker(self, n_cpus: int, n_gpus: int, interrupts: Interrupts) -> OrderedWorker | Gang:
        retries = self._settings.task_retries
        if n_gpus <= 1:
            return OrderedWorker(n_cpus=n_cpus, n_gpus=n_gpus, task_retries=retries, interrupts=interrupts)
        return Gang(
            GroupSize(n_gpus, n_cpus),
            is_foreign=not self._owns_cluster,
            task_retries=retries,
            rank_timeout_s=self._settings.rank_timeout_s,
            interrupts=interrupts,
        )

    def _run_side_by_side(
        self, tasks: Sequence[Task[ResultT]], on_done: Callable[[ResultT], None], interrupts: Interrupts
    ) -> list[ResultT]:
        import ray

        remote: Any = ray.remote(num_cpus=1, max_retries=self._settings.task_retries, retry_exceptions=False)(_run_task)
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

    def _wait_until_connected(self) -> None:
        self.start()
        # A wait with a timeout returns to Python often enough for an interrupt to be raised.
        while not self._connected.wait(POLL_S):
            pass
        if self._error is not None:
            raise self._error

    def _hold_connection(self) -> None:
        """Connect, then live until `stop`: the kernel ends a local Ray's processes when the thread that started them
        ends (PR_SET_PDEATHSIG is about threads), which is also why no Ray outlives a killed run."""
        try:
            _set_environment(local=self._settings.address is None)
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

            ray.shutdown()

    def _connect(self) -> None:
        import ray

        started_at = time.monotonic()
        common: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
        if self._settings.address is None:
            ray.init(
                address="local",
                num_cpus=self._settings.num_cpus,
                num_gpus=self._local_gpus,
                include_dashboard=False,
                object_store_memory=self._settings.object_store_mb * _BYTES_PER_MB,
                **common,
            )
            self._owns_cluster = True
            if self._warm_up is not None:
                # Workers start, and load what chunks need, while the audio is still analysed.
                warm_up: Any = ray.remote(num_cpus=1)(_call)
                for _ in range(int(ray.cluster_resources().get("CPU", 1))):  # type: ignore[no-untyped-call]
                    warm_up.remote(self._warm_up)
        else:
            _probe(self._settings.address, self._settings.connect_timeout_s)
            found = ray.init(address=self._settings.address, **common)
            self._dashboard_url = f"http://{found.dashboard_url}" if getattr(found, "dashboard_url", None) else ""
        _log.info("Ray is ready after %.1f s", time.monotonic() - started_at)


def _set_environment(*, local: bool) -> None:
    """Variables that Ray reads when it is imported and hands to the processes that it starts."""
    os.environ.setdefault(_AUTH_MODE_VARIABLE, _DEFAULT_AUTH_MODE)
    # Ray reports usage to a server on the internet unless told not to; a pipeline on private speech must not.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray announces a change of how CPU-only workers see GPUs; saying the new behaviour silences the warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        for name, value in MULTICAST_OFF.items():
            os.environ.setdefault(name, value)
        # A local Ray is this process's own: a token that nobody else has, and no file in the home folder.
        os.environ.setdefault(_AUTH_TOKEN_VARIABLE, secrets.token_hex(_TOKEN_BYTES))


def _call(warm_up: Callable[[], None]) -> None:
    """What a new worker runs first; Ray takes functions alone."""
    warm_up()


def _run_task(task: Task[ResultT]) -> ResultT:
    """What a Ray worker runs."""
    import cv2

    # One CPU was asked for: OpenCV's own threads would fight with the other workers.
    cv2.setNumThreads(1)
    return task.run()


def _probe(address: str, timeout_s: float) -> None:
    """Fail at once where nobody listens; Ray itself would try for over ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            "cluster.address must be host:port",
            got=repr(address),
            cure="Take the address that `ray start --head` printed, e.g. 10.0.0.1:6379.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except OSError as error:
        raise ClusterError(
            f"a Ray cluster must listen at cluster.address = {address}",
            got=f"{type(error).__name__}: {error}",
            cure="Start it with `ray start --head`, or unset cluster.address to use a local Ray.",
        ) from error
