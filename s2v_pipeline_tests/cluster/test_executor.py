"""One contract suite for every executor, and what only Ray can do wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from s2v_pipeline.cluster.executor import ChunkExecutor, InProcessExecutor, make_executor
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.errors import ClusterError, ImageError
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Square:
    """A task whose result tells who made it."""

    number: int
    sleep_s: float = 0.0

    @property
    def label(self) -> str:
        return f"square of {self.number}"

    def run(self) -> tuple[int, int]:
        time.sleep(self.sleep_s)
        return self.number**2, os.getpid()


@dataclass(frozen=True)
class Refuse:
    """A task that fails as the pipeline's own code does."""

    label: str = "refusal"

    def run(self) -> tuple[int, int]:
        raise ImageError("a portrait must show a face", got="none", cure="Use another one.")


@dataclass(frozen=True)
class DieOnce:
    """A task whose first worker is killed, as by the kernel's out-of-memory killer."""

    marker: Path
    label: str = "mortal"

    def run(self) -> tuple[int, int]:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), 9)
        return 1, os.getpid()


@dataclass(frozen=True)
class DieAlways:
    """A task that no worker survives."""

    label: str = "deadly"

    def run(self) -> tuple[int, int]:
        os.kill(os.getpid(), 9)
        raise AssertionError("not reached")


@dataclass(frozen=True)
class SayAndSleep:
    """A task that says where it runs and then takes long."""

    marker: Path
    label: str = "sleeper"

    def run(self) -> tuple[int, int]:
        self.marker.write_text(str(os.getpid()))
        time.sleep(60)
        return 0, os.getpid()


@dataclass(frozen=True)
class SayGpus:
    """A task that says which GPUs it was given."""

    label: str = "gpus"

    def run(self) -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@dataclass(frozen=True)
class Touch:
    """A warm-up that can be seen."""

    folder: Path

    def __call__(self) -> None:
        (self.folder / str(os.getpid())).touch()


@pytest.fixture(scope="module")
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each worker that was warmed up leaves a file."""
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def ray_executor(warmed_up: Path) -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(num_cpus=2, task_retries=1), Touch(warmed_up))
    executor.start()
    yield executor
    executor.stop()


@pytest.fixture(params=["in_process", "ray"])
def executor(request: pytest.FixtureRequest) -> ChunkExecutor:
    return InProcessExecutor() if request.param == "in_process" else request.getfixturevalue("ray_executor")


@pytest.mark.slow
def test_workers_are_warm_before_the_first_task(ray_executor: RayExecutor, warmed_up: Path) -> None:
    # The first test of this Ray: those after it end workers, and new ones are as cold as ever.
    pids = {str(pid) for _, pid in ray_executor.run([Square(1, sleep_s=0.3), Square(2, sleep_s=0.3)], lambda _: None)}
    assert pids & {path.name for path in warmed_up.iterdir()}


def test_results_come_in_the_order_of_tasks(executor: ChunkExecutor) -> None:
    tasks = [Square(3, sleep_s=0.3), Square(1), Square(2)]
    seen: list[int] = []
    results = executor.run(tasks, lambda result: seen.append(result[0]))
    assert [value for value, _ in results] == [9, 1, 4]
    assert sorted(seen) == [1, 4, 9]


def test_no_tasks_no_results(executor: ChunkExecutor) -> None:
    assert executor.run([], lambda _: None) == []
    assert executor.run([], lambda _: None, in_order=True) == []


def test_in_order_one_worker_does_one_after_another(executor: ChunkExecutor) -> None:
    seen: list[int] = []
    tasks = [Square(3, sleep_s=0.2), Square(1), Square(2)]
    results = executor.run(tasks, lambda result: seen.append(result[0]), in_order=True)
    assert [value for value, _ in results] == [9, 1, 4]
    assert seen == [9, 1, 4]
    assert len({pid for _, pid in results}) == 1


def test_in_order_own_errors_come_out_as_themselves_and_end_it(executor: ChunkExecutor, tmp_path: Path) -> None:
    marker = tmp_path / "after"
    with pytest.raises(ImageError, match=r"must show a face; got none\. Use another one\."):
        executor.run([Square(1), Refuse(), DieOnce(marker)], lambda _: None, in_order=True)
    assert not marker.exists()


def test_own_errors_come_out_as_themselves(executor: ChunkExecutor) -> None:
    with pytest.raises(ImageError, match=r"must show a face; got none\. Use another one\."):
        executor.run([Square(1), Refuse()], lambda _: None)


def test_info_names_the_place(executor: ChunkExecutor) -> None:
    info = executor.info()
    assert info.n_cpus >= 1
    assert info.address


@pytest.mark.slow
def test_ray_runs_elsewhere_and_side_by_side(ray_executor: RayExecutor) -> None:
    results = ray_executor.run([Square(index, sleep_s=0.5) for index in range(4)], lambda _: None)
    pids = {pid for _, pid in results}
    assert os.getpid() not in pids
    assert len(pids) == 2


@pytest.mark.slow
def test_ray_redoes_the_work_of_a_killed_worker(ray_executor: RayExecutor, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    ((value, pid),) = ray_executor.run([DieOnce(marker)], lambda _: None)
    assert marker.exists()
    assert value == 1
    assert pid != os.getpid()


@pytest.mark.slow
def test_in_order_a_killed_worker_is_replaced_and_its_task_redone(ray_executor: RayExecutor, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    before, mortal, after = ray_executor.run([Square(2), DieOnce(marker), Square(3)], lambda _: None, in_order=True)
    assert marker.exists()
    assert [value for value, _ in (before, mortal, after)] == [4, 1, 9]
    assert before[1] != mortal[1] == after[1]


@pytest.mark.slow
def test_in_order_it_gives_up_on_a_task_that_kills_its_workers(ray_executor: RayExecutor) -> None:
    done: list[tuple[int, int]] = []
    with pytest.raises(ClusterError, match="the worker of deadly must live"):
        ray_executor.run([Square(2), DieAlways()], done.append, in_order=True)
    assert [value for value, _ in done] == [4]


@pytest.mark.slow
def test_in_order_the_worker_is_gone_when_the_step_is(ray_executor: RayExecutor) -> None:
    class Interrupted(BaseException):
        """Stands where Dagster's own interrupt comes from."""

    def interrupt(_: tuple[int, int]) -> None:
        raise Interrupted

    (_, pid), *_ = ray_executor.run([Square(1)], lambda _: None, in_order=True)
    assert_gone(pid)
    seen: list[int] = []
    with pytest.raises(Interrupted):
        ray_executor.run(
            [Square(1), Square(2, sleep_s=60)],
            lambda result: (seen.append(result[1]), interrupt(result))[0],
            in_order=True,
        )
    assert_gone(seen[0])


@pytest.mark.slow
def test_an_interrupt_in_the_middle_of_a_task_ends_its_worker(ray_executor: RayExecutor, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    main = threading.get_ident()

    def interrupt_once_it_works() -> None:
        while not marker.exists() or not marker.read_text():
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt_once_it_works, daemon=True).start()
    started_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ray_executor.run([SayAndSleep(marker)], lambda _: None, in_order=True)
    assert time.monotonic() - started_at < 20
    assert_gone(int(marker.read_text()))


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"the worker {pid} still lives"
        time.sleep(0.05)


def test_without_a_gpu_nobody_waits_for_one(ray_executor: RayExecutor) -> None:
    import ray

    if ray.is_initialized() and ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    started_at = time.monotonic()
    with pytest.raises(ClusterError, match=r"must have 1 GPU .* got 0\..*wan\.device = 'cpu'"):
        ray_executor.run([Square(1)], lambda _: None, in_order=True, n_gpus=1)
    assert time.monotonic() - started_at < 20
    # Ray is well, and goes on.
    assert ray_executor.run([Square(3)], lambda _: None)[0][0] == 9


def test_gpus_go_with_one_worker_alone(ray_executor: RayExecutor) -> None:
    with pytest.raises(ValueError, match="run in order"):
        ray_executor.run([Square(1)], lambda _: None, n_gpus=1)


@pytest.mark.slow
def test_a_gpu_is_taken_given_back_and_not_waited_for_for_ever() -> None:
    # A cluster that says that it has a GPU; Ray believes it, and its workers are told which one is theirs.
    code = """
import os, sys, time
from s2v_pipeline.cluster import gang, rank_group
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.conftest import REPOSITORY
from s2v_pipeline_tests.cluster.test_executor import SayGpus, Square

gang.PLACEMENT_TIMEOUT_S = 8.0
executor = RayExecutor(ClusterSettings(num_cpus=1), local_gpus=1)
assert executor.run([SayGpus(), SayGpus()], print, in_order=True, n_gpus=1) == ["0", "0"]
assert executor.run([SayGpus()], print, in_order=True, n_gpus=1) == ["0"]
import ray  # after the executor has said how Ray authenticates
holder = ray.remote(num_gpus=1, num_cpus=0)(rank_group.RankProcess).remote()
ray.get(holder.ready.remote())
started_at = time.monotonic()
try:
    executor.run([SayGpus()], print, in_order=True, n_gpus=1)
except ClusterError as error:
    assert "must be free" in str(error), error
else:
    raise AssertionError("two workers share a GPU")
assert time.monotonic() - started_at < 60
ray.kill(holder)
assert executor.run([SayGpus()], print, in_order=True, n_gpus=1) == ["0"]
executor.stop()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=270, cwd=REPOSITORY)


@pytest.mark.slow
def test_ray_gives_up_on_a_task_that_kills_its_workers(ray_executor: RayExecutor) -> None:
    with pytest.raises(ClusterError, match="the worker of deadly must live"):
        ray_executor.run([DieAlways()], lambda _: None)


@pytest.mark.slow
def test_an_interrupt_frees_the_workers(ray_executor: RayExecutor) -> None:
    class Interrupted(BaseException):
        """Stands where Dagster's own interrupt comes from: not an Exception."""

    def interrupt(_: tuple[int, int]) -> None:
        raise Interrupted

    started_at = time.monotonic()
    with pytest.raises(Interrupted):
        ray_executor.run([Square(1), Square(2, sleep_s=60), Square(3, sleep_s=60)], interrupt)
    # Both CPUs are free again long before the minute is over.
    assert ray_executor.run([Square(4), Square(5)], lambda _: None)[1][0] == 25
    assert time.monotonic() - started_at < 30


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379"])
def test_a_dead_address_fails_at_once(address: str) -> None:
    executor = make_executor(ClusterSettings(address=address, connect_timeout_s=2))
    started_at = time.monotonic()
    with pytest.raises(ClusterError, match=r"must listen at cluster\.address"):
        executor.info()
    assert time.monotonic() - started_at < 10
    executor.stop()


def test_an_address_without_a_port_is_refused() -> None:
    executor = make_executor(ClusterSettings(address="localhost"))
    with pytest.raises(ClusterError, match="must be host:port"):
        executor.run([Square(1)], lambda _: None)
    executor.stop()
