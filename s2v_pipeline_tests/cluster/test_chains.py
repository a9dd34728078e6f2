"""Chains on several workers: who does what, what a failure ends, and that frames do not depend on their number."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.chunks.build import VideoRequest, build_requests, keys_before
from s2v_pipeline.chunks.latents import load_carry, load_latents
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, FileRef
from s2v_pipeline.cluster.chains import Worker, run_chains
from s2v_pipeline.cluster.executor import ResultT, Task
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.cluster.tasks import GenerateChunk
from s2v_pipeline.errors import ClusterError
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests import chained_generator

STARTS = (0, 2, 3, 7)
N_TASKS = 8


@dataclass(frozen=True)
class Say:
    """A task that says its number."""

    number: int

    @property
    def label(self) -> str:
        return f"number {self.number}"

    def run(self) -> int:
        return self.number


@dataclass
class Workers:
    """Makes workers that are threads of this process, and keeps what they did.

    Attributes:
        missing: number of the first workers that cannot be had.
        refused: the task that fails.
        stuck: the task that waits for ever.
    """

    missing: int = 0
    refused: int | None = None
    stuck: int | None = None
    done: dict[int, list[int]] = field(default_factory=dict)
    n_open: int = 0
    n_asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def make(self, interrupts: Interrupts) -> Iterator[Worker]:
        with self.lock:
            self.n_open += 1
            number, self.n_asked = self.n_asked, self.n_asked + 1
        try:
            yield ThreadWorker(self, number, interrupts)
        finally:
            with self.lock:
                self.n_open -= 1


@dataclass
class ThreadWorker:
    of: Workers
    number: int
    interrupts: Interrupts

    def stand_by(self) -> None:
        if self.number < self.of.missing:
            raise ClusterError("a worker must come up", got=f"none for {self.number}", cure="Run it again.")

    def run(self, task: Task[ResultT]) -> ResultT:
        result = task.run()
        if result == self.of.refused:
            raise ZeroDivisionError(f"{task.label} is refused")
        while result == self.of.stuck:
            self.interrupts.sleep(0.01)
        time.sleep(0.05)  # longer than a thread takes to start
        with self.of.lock:
            self.of.done.setdefault(self.number, []).append(result)  # type: ignore[arg-type]
        return result


def run(
    workers: Workers,
    n_workers: int,
    on_done: Callable[[int], None] = lambda number: None,
    interrupts: Interrupts | None = None,
) -> list[int]:
    tasks = [Say(number) for number in range(N_TASKS)]
    return run_chains(tasks, STARTS, workers.make, n_workers, on_done, interrupts or Interrupts())


@pytest.mark.parametrize("n_workers", [1, 2, 4, 9])
def test_chains_are_done_whole_and_in_order_by_one_worker_each(n_workers: int) -> None:
    workers, seen = Workers(), dict[int, int]()
    main = threading.get_ident()
    assert run(workers, n_workers, lambda number: seen.update({number: threading.get_ident()})) == list(range(N_TASKS))
    assert seen == dict.fromkeys(range(N_TASKS), main)
    assert workers.n_open == 0
    assert len(workers.done) == min(n_workers, len(STARTS))
    chains = [list(range(start, stop)) for start, stop in zip(STARTS, (*STARTS[1:], N_TASKS), strict=True)]
    for done in workers.done.values():
        while done:
            (chain,) = [chain for chain in chains if chain[0] == done[0]]
            assert done[: len(chain)] == chain
            del done[: len(chain)]


def test_the_longest_chain_is_begun_first() -> None:
    workers = Workers()
    run(workers, 2)
    assert {done[0] for done in workers.done.values()} == {3, 0}


def test_what_fails_ends_the_others() -> None:
    workers = Workers(refused=0, stuck=4)
    with pytest.raises(ZeroDivisionError, match="number 0 is refused"):
        run(workers, 4)
    assert workers.n_open == 0


def test_fewer_workers_than_hoped_for_do_it_and_none_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(missing=2)
    assert run(workers, 3) == list(range(N_TASKS))
    assert set(workers.done) == {2}
    assert caplog.text.count("one worker less than there could be") == 2
    with pytest.raises(ClusterError, match="must come up"):
        run(Workers(missing=3), 3)


def test_an_interrupt_ends_all_of_them() -> None:
    class Interrupting(Interrupts):
        def sleep(self, seconds_s: float) -> None:
            super().sleep(seconds_s)
            if 3 in {number for done in workers.done.values() for number in done}:
                raise KeyboardInterrupt

    workers = Workers(stuck=4)
    with pytest.raises(KeyboardInterrupt):
        run(workers, 4, interrupts=Interrupting())
    assert workers.n_open == 0

    def raise_it(number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(workers, 2, on_done=raise_it)
    assert workers.n_open == 0


# The real ones: processes of Ray, and a chain that can be seen in every latent.


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2v_pipeline.generation.registry._GENERATORS", dict(chained_generator.known_generators()))
    chained_generator.register()


@pytest.fixture(scope="module")
def two_processes() -> Iterator[RayExecutor]:
    executor = RayExecutor(ClusterSettings(num_cpus=2, task_retries=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.init", chained_generator.init_with_hook())
        executor.info()
    yield executor
    executor.stop()


def make_tasks(folder: Path, n_frames: int, cuts: tuple[int, ...]) -> list[GenerateChunk]:
    picture = folder / "framed.png"
    Image.new("RGB", (32, 32), (90, 80, 70)).save(picture)
    frame = np.arange(n_frames)
    requests = build_requests(
        VideoRequest("anna", Fraction(16), 32, 32, 3, "", FileRef(picture, file_sha256(picture)), 0, 0),
        plan_chunks(n_frames, chunk_frames=9, cuts=cuts),
        phonemes=pd.DataFrame(columns=list(PHONEME_COLUMNS)),
        features=pd.DataFrame({"frame": frame, **dict.fromkeys(FEATURE_COLUMNS[1:], 0.0)}),
        context_s=chained_generator.CONTEXT_S,
        with_tables=False,
        sound=Waveform(np.random.default_rng(4).normal(0, 0.1, 1000 * n_frames).astype(np.float32), 16_000),
        chained=True,
    )
    before = keys_before(requests, "chained 1")
    spec, store = GeneratorSpec(chained_generator.NAME), ArtifactStore(folder / "artifacts")
    return [GenerateChunk(spec, request, store, key) for request, key in zip(requests, before, strict=True)]


@dataclass(frozen=True)
class SlowOnOne:
    """A chunk that takes long in one process, the first that takes one.

    Attributes:
        chunk: what is done.
        mark: names the process.
        more_s: how much longer it takes.
    """

    chunk: GenerateChunk
    mark: Path
    more_s: float

    @property
    def label(self) -> str:
        return self.chunk.label

    @property
    def n_frames(self) -> int:
        return self.chunk.n_frames

    def run(self) -> ChunkFile:
        began_at = time.monotonic()
        with contextlib.suppress(FileExistsError), self.mark.open("x") as file:
            file.write(str(os.getpid()))
        if self.mark.read_text() == str(os.getpid()):
            time.sleep(self.more_s)
        file_ = self.chunk.run()
        return replace(file_, seconds_s=time.monotonic() - began_at)


def content(task: GenerateChunk, file: ChunkFile) -> list[bytes]:
    path = task.store.read_path("chunk_latents", "anna", file.part)
    return [array.tobytes() for array in (*load_latents(path)[1].values(), *load_carry(path).values())]


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_two_processes_make_the_bytes_of_one(two_processes: RayExecutor, tmp_path: Path) -> None:
    """Three segments of two, one and three chunks."""
    tasks = make_tasks(tmp_path, 48, cuts=(15, 22))
    assert [task.request.frames.start_frame for task in tasks] == [0, 9, 15, 22, 31, 40]
    starts = tuple(index for index, task in enumerate(tasks) if not task.previous_key)
    assert starts == (0, 2, 3)
    here = [replace(task, store=ArtifactStore(tmp_path / "here")) for task in tasks]
    wanted = [content(task, task.run()) for task in here]
    files = two_processes.run(tasks, lambda _: None, in_order=True, chain_starts=starts)
    assert [content(task, file) for task, file in zip(tasks, files, strict=True)] == wanted
    by_chain = [{file.worker for file in files[first:stop]} for first, stop in ((0, 2), (2, 3), (3, 6))]
    assert by_chain[0] != by_chain[2]

    # Two chunks are lost: they alone are made again, each from the carry that is there, and are what they were.
    for index in (1, 4):
        tasks[index].store.path("chunk_latents", "anna", files[index].part).unlink()
    again = two_processes.run(tasks, lambda _: None, in_order=True, chain_starts=starts, most_workers=1)
    assert [file.index for file in again if file.made] == [1, 4]
    assert len({file.worker for file in again}) == 1
    assert [content(task, file) for task, file in zip(tasks, again, strict=True)] == wanted


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_slow_process_gets_as_much_as_it_can_do(two_processes: RayExecutor, tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, 72, cuts=(36,))
    here = [replace(task, store=ArtifactStore(tmp_path / "here")) for task in tasks]
    wanted = [content(task, task.run()) for task in here]
    slowed = [SlowOnOne(task, tmp_path / "slow", 5 * chained_generator.CHUNK_TIME_S) for task in tasks]
    began_at, ends_s = 0.0, list[float]()

    def on_done(file: ChunkFile) -> None:
        nonlocal began_at
        now = time.monotonic()
        began_at = began_at or now - file.seconds_s  # processes start before
        ends_s.append(now - began_at)

    files = two_processes.run(slowed, on_done, in_order=True, chain_starts=(0, 4))
    slow_pid = (tmp_path / "slow").read_text()
    took_s: dict[bool, list[float]] = {True: [], False: []}
    for file in files:
        took_s[file.worker.endswith(f":{slow_pid}")].append(file.seconds_s)
    slow_s, fast_s = (sum(took_s[is_slow]) / len(took_s[is_slow]) for is_slow in (True, False))
    halves_s, ideal_s = len(tasks) / 2 * slow_s, len(tasks) / (1 / slow_s + 1 / fast_s)
    assert len(took_s[False]) > len(took_s[True])
    assert ends_s[-1] < 0.8 * halves_s
    # The slow process's chunk in the middle of which the other one becomes free cannot be taken from it.
    assert ends_s[-1] < ideal_s + slow_s + 1
    assert [content(task, file) for task, file in zip(tasks, files, strict=True)] == wanted
