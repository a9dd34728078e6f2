"""Two processes make each chunk together: what comes out, and what happens when one of them fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from s2v_pipeline.cluster.gpu_demand import GpuError, check_gpus
from s2v_pipeline.cluster.rank_group import GroupSize
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.errors import ClusterError, GenerationError
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.cluster.split_tasks import SayPlace, Together
from s2v_pipeline_tests.cluster.test_executor import SayAndSleep, Square

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

N_RANKS = 2


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    # Ray believes that there are two GPUs: what is tested is who does what, not what a GPU does.
    executor = RayExecutor(ClusterSettings(num_cpus=2, task_retries=1, rank_timeout_s=3), local_gpus=N_RANKS)
    executor.start()
    yield executor
    executor.stop()


def run(executor: RayExecutor, tasks: list[Together]) -> list[tuple[int, bool, int]]:
    return executor.run(tasks, lambda _: None, in_order=True, n_gpus=N_RANKS)


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bin"))}


@pytest.fixture(scope="module")
def undisturbed(executor: RayExecutor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    results = run(executor, [Together(folder, number) for number in range(2)])
    assert [(number, was_made) for number, was_made, _ in results] == [(0, True), (1, True)]
    assert len({pid for _, _, pid in results}) == 1, "one group makes all chunks"
    files = made(folder)
    # Of each rank 64 letters, and none twice.
    assert len({part[at : at + 64] for part in files.values() for at in (0, 64)}) == 4
    # All are there: rank 0 alone finds them.
    (folder / "pid-1").unlink()
    assert [was_made for _, was_made, _ in run(executor, [Together(folder, number) for number in range(2)])] == [
        False,
        False,
    ]
    assert not (folder / "pid-1").exists()
    return files


def free_gpus() -> float:
    import ray

    return float(ray.available_resources().get("GPU", 0))


def assert_all_is_free(folder: Path) -> None:
    pids = [int(path.read_text()) for path in folder.glob("pid-*")]
    assert pids
    deadline = time.monotonic() + 5
    while free_gpus() < N_RANKS or any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{free_gpus()} GPUs free, living: {[is_running(pid) for pid in pids]}"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_rank_that_dies_costs_one_chunk(executor: RayExecutor, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "die-1").touch()
    results = run(executor, [Together(tmp_path, number) for number in range(2)])
    assert not (tmp_path / "die-1").exists()
    assert [number for number, _, _ in results] == [0, 1]
    assert made(tmp_path) == undisturbed
    assert_all_is_free(tmp_path)


@pytest.mark.soak
def test_a_stopped_rank_is_given_up_and_killed(
    executor: RayExecutor, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    stopped: list[int] = []

    def stop_once() -> None:
        while not (tmp_path / "pid-1").exists() or not (tmp_path / "pid-1").read_text():
            time.sleep(0.02)
        stopped.append(int((tmp_path / "pid-1").read_text()))
        os.kill(stopped[0], signal.SIGSTOP)

    threading.Thread(target=stop_once, daemon=True).start()
    run(executor, [Together(tmp_path, number, part_s=0.5) for number in range(2)])
    assert made(tmp_path) == undisturbed
    assert not is_running(stopped[0])
    assert_all_is_free(tmp_path)


def test_what_a_rank_refuses_ends_it_at_once(executor: RayExecutor, tmp_path: Path) -> None:
    (tmp_path / "refuse-1").touch()
    with pytest.raises(GenerationError, match="this one on rank 1"):
        run(executor, [Together(tmp_path, 0)])
    pid = (tmp_path / "pid-1").read_text()
    assert_all_is_free(tmp_path)
    assert made(tmp_path) == {}
    assert (tmp_path / "pid-1").read_text() == pid, "tried once"


def test_an_interrupt_frees_all_of_them(executor: RayExecutor, tmp_path: Path) -> None:
    main = threading.get_ident()

    def interrupt_once_it_works() -> None:
        while len([path for path in tmp_path.glob("pid-*") if path.read_text()]) < N_RANKS:
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt_once_it_works, daemon=True).start()
    started_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(executor, [Together(tmp_path, 0, part_s=60)])
    assert time.monotonic() - started_at < 20
    assert_all_is_free(tmp_path)


def test_what_is_not_split_is_done_by_the_first_alone(executor: RayExecutor) -> None:
    assert executor.run([SayPlace()], lambda _: None, in_order=True, n_gpus=N_RANKS) == [("0", "1", "0")]


def test_more_gpus_than_a_host_has_are_refused(executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"must have 3 GPU .* got 2\."):
        executor.run([Together(tmp_path, 0)], lambda _: None, in_order=True, n_gpus=3)


def test_a_host_with_too_few_cpus_is_refused_at_once(executor: RayExecutor) -> None:
    # Ray itself would wait for ever for the CPUs.
    assert executor.info().n_cpus == 2
    check_gpus(GroupSize(N_RANKS, n_cpus=1))
    with pytest.raises(GpuError, match=r"with 2 GPU must offer 4 CPU to Ray, 2 for each .* got 2\. Raise .*num_cpus"):
        check_gpus(GroupSize(N_RANKS, n_cpus=2))


@pytest.mark.soak  # waits for two workers to be up at the same time
def test_chains_go_to_as_many_workers_as_there_are_gpus(executor: RayExecutor, tmp_path: Path) -> None:
    tasks = [Square(1, sleep_s=6), Square(2, sleep_s=6), Square(3)]
    results = executor.run(tasks, lambda _: None, in_order=True, chain_starts=(0, 1, 2), n_gpus=1)
    assert [value for value, _ in results] == [1, 4, 9]
    assert len({pid for _, pid in results}) == 2

    # Both end, and both GPUs are free, when one of them fails.
    marker = tmp_path / "pid-1"

    @dataclass(frozen=True)
    class RefuseOnceTheOtherWorks:
        label: str = "refusal"

        def run(self) -> tuple[int, int]:
            while not marker.exists() or not marker.read_text():
                time.sleep(0.05)
            raise GenerationError("a chunk must be possible", got="this one", cure="Use another.")

    failing = [SayAndSleep(marker), RefuseOnceTheOtherWorks()]
    started_at = time.monotonic()
    with pytest.raises(GenerationError, match="this one"):
        executor.run(failing, lambda _: None, in_order=True, chain_starts=(0, 1), n_gpus=1)
    assert time.monotonic() - started_at < 45
    assert_all_is_free(tmp_path)


def test_it_gives_up_when_groups_fail_too_often(executor: RayExecutor, tmp_path: Path) -> None:
    # The last test of this Ray: after such an error the executor starts another one.
    (tmp_path / "die-always-1").touch()
    with pytest.raises(ClusterError, match="processes of chunk 0 must live and answer"):
        run(executor, [Together(tmp_path, 0)])
    assert made(tmp_path) == {}
