"""The graph with a chained generator: each chunk starts from the one before, whatever happens in between.

`chained` says which generator that is; the tests know nothing of it but that its latents depend on the carry.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
import pytest

from s2v_pipeline.api import command_source
from s2v_pipeline.chunks.latents import load_carry, load_latents
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import Project, RunOutcome, register, run_here
from s2v_pipeline_tests import chained_generator
from s2v_pipeline_tests.conftest import REPOSITORY, WITHOUT_GATE
from s2v_pipeline_tests.generation.contract_cases import missing_modules
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST_WAIT_S = 240  # each process that touches wan_s2v imports torch, for ten seconds and more on two busy cores
NAME = "sample"
Start = Callable[[Project], subprocess.Popen[bytes]]


@dataclass(frozen=True)
class Chained:
    """A chained generator and the settings of a project that uses it.

    Attributes:
        settings: content of s2v.toml, without [cluster].
        preparation: Python code that a process of its own runs before it starts the pipeline.
        n_chunks: of the sample.
    """

    settings: str
    preparation: str
    n_chunks: int


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        yield patch


@pytest.fixture(scope="module", params=["small", "wan_s2v"])
def chained(request: pytest.FixtureRequest) -> Chained:
    """The generator that the tests of this file are about."""
    if request.param == "wan_s2v" and missing_modules("wan_s2v"):
        pytest.skip(f"wan_s2v needs {', '.join(missing_modules('wan_s2v'))}")
    found: Chained = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def wan_s2v(tmp_path_factory: pytest.TempPathFactory) -> Chained:
    """The real one with tiny random weights, on the CPU."""
    weights = write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))
    return Chained(
        settings=f"""
[video]
width_px = 64
height_px = 64
x264_preset = "ultrafast"
[generation]
generator = "wan_s2v"
chunk_s = 4.75
[wan]
weights = "{weights}"
steps = 2
precision = "float32"
compile = false
device = "cpu"
negative_prompt = "blurred"
""",
        preparation="",
        n_chunks=2,
    )


@pytest.fixture(scope="module")
def small(patched: pytest.MonkeyPatch) -> Chained:
    """A small one without weights."""
    patched.setattr("s2v_pipeline.generation.registry._GENERATORS", dict(chained_generator.known_generators()))
    patched.setattr("ray.init", chained_generator.init_with_hook())
    chained_generator.register()
    return Chained(
        settings=f"""
[video]
width_px = 256
height_px = 256
fps = 16
framing = "picture"
x264_preset = "ultrafast"
[generation]
generator = "{chained_generator.NAME}"
chunk_s = 2.0
""",
        preparation="from s2v_pipeline_tests import chained_generator; chained_generator.register_with_ray()",
        n_chunks=4,
    )


def project_in(folder: Path, chained: Chained, executor: str) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "s2v.toml").write_text(
        f'{chained.settings}\n{WITHOUT_GATE}\n[cluster]\nexecutor = "{executor}"\nnum_cpus = 2\n'
    )
    return Project(folder)


def run_sample(
    project: Project, instance: dg.DagsterInstance, sample: Path, transcript: str | None = None
) -> RunOutcome:
    source = command_source(
        sample / "portrait.png",
        sample / "speech.wav",
        prompt="calm",
        transcript=transcript or (sample / "transcript.txt").read_text(),
        settings={},
        name=NAME,
    )
    (input_id,) = register(project, instance, [source])
    assert input_id == NAME
    return run_here(project, instance, input_id, way_in="test")


def chunks_of(project: Project) -> ChunkManifest:
    manifest = load_value(project.pipeline.store(), "chunk_latents", NAME)
    assert isinstance(manifest, ChunkManifest)
    return manifest


def latents_of(project: Project) -> list[dict[str, bytes]]:
    """Everything that each chunk's file holds."""
    store = project.pipeline.store()
    found = []
    for chunk in chunks_of(project).chunks:
        path = store.read_path("chunk_latents", NAME, chunk.part)
        frames, latents = load_latents(path)
        assert frames == chunk.frames
        arrays = {**latents, **{f"carry {name}": array for name, array in load_carry(path).items()}}
        found.append({name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()})
    return found


def finished(project: Project) -> dict[str, int]:
    """Finished chunks -> when each was written."""
    folder = project.pipeline.store().root / "chunk_latents" / NAME
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[0-9]*.safetensors.provenance.json")}


@pytest.fixture
def start(chained: Chained, sample: Path) -> Iterator[Start]:
    """Starts `s2v generate` on the sample in a process of its own."""
    # Each local Ray makes a token of its own; what is left of a killed one must not know the next one's.
    not_inherited = ("DAGSTER_HOME", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in not_inherited}
    code = f"{chained.preparation}\nfrom s2v_pipeline.cli import main; main()"
    command = [
        *(sys.executable, "-c", code, "generate", "--name", NAME, "--prompt", "calm"),
        *("--image", str(sample / "portrait.png"), "--audio", str(sample / "speech.wav")),
        *("--transcript", str(sample / "transcript.txt")),
    ]
    started: list[subprocess.Popen[bytes]] = []

    def start_in(project: Project) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start_in
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_chunks(project: Project, process: subprocess.Popen[bytes], n_chunks: int) -> dict[str, int]:
    deadline = time.monotonic() + MOST_WAIT_S
    while time.monotonic() < deadline:
        done = finished(project)
        if len(done) >= n_chunks:
            return done
        if process.poll() is not None:
            raise AssertionError(f"the run ended before it could be disturbed: {process.communicate()[1].decode()}")
        time.sleep(0.02)
    raise AssertionError(f"no {n_chunks} chunks within {MOST_WAIT_S} s")


def wait_for_a_chunk_in_the_making(project: Project, process: subprocess.Popen[bytes]) -> None:
    """Until a worker has just begun a chunk: it says so in a hidden file beside the chunk's place."""
    deadline = time.monotonic() + MOST_WAIT_S
    folder = project.pipeline.store().path("chunk_latents", "sample", "any").parent
    while time.monotonic() < deadline:
        if any(folder.glob(".*.tries")):
            return
        assert process.poll() is None
        time.sleep(0.01)
    raise AssertionError(f"no chunk was begun within {MOST_WAIT_S} s")


def run_once(project: Project, sample: Path, transcript: str | None = None) -> None:
    """The sample's video, made in this process, on an instance of the project's own."""
    os.environ.pop("DAGSTER_HOME", None)
    with project.instance() as instance:
        outcome = run_sample(project, instance, sample, transcript)
    os.environ.pop("DAGSTER_HOME", None)
    assert outcome.error is None, outcome.error
    assert outcome.video is not None


@pytest.fixture(scope="module")
def undisturbed(chained: Chained, tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Project:
    """The sample's video, made in this process without Ray."""
    project = project_in(tmp_path_factory.mktemp("undisturbed"), chained, "in_process")
    run_once(project, sample)
    return project


def test_chunks_are_a_chain_and_are_made_once(undisturbed: Project, chained: Chained, sample: Path) -> None:
    project = undisturbed
    manifest = chunks_of(project)
    assert len(manifest.chunks) == manifest.n_made == chained.n_chunks
    store = project.pipeline.store()
    records = [store.provenance("chunk_latents", NAME, chunk.part) for chunk in manifest.chunks]
    before = [None if record is None else record.sources.get("previous") for record in records]
    assert before == [None, *(chunk.key for chunk in manifest.chunks[:-1])]
    carries = [any(name.startswith("carry") for name in arrays) for arrays in latents_of(project)]
    assert carries == [True] * (chained.n_chunks - 1) + [False]

    # Again: all are found. With other words: the same, as the generator listens and does not read.
    times = finished(project)
    for transcript in (None, "Something else altogether was said here."):
        run_once(project, sample, transcript)
        assert chunks_of(project).n_made == 0
        assert finished(project) == times

    # A lost one is made again, and is what it was.
    latents = latents_of(project)
    store.path("chunk_latents", NAME, manifest.chunks[1].part).unlink()
    run_once(project, sample)
    assert [chunk.index for chunk in chunks_of(project).chunks if chunk.made] == [1]
    assert latents_of(project) == latents


def test_on_ray_one_worker_makes_the_same_bytes(
    undisturbed: Project, chained: Chained, project_dir: Path, sample: Path
) -> None:
    project = project_in(project_dir / "ray", chained, "ray")
    run_once(project, sample)
    (worker,) = {chunk.worker for chunk in chunks_of(project).chunks}
    assert not worker.endswith(f":{os.getpid()}")
    clips = load_value(project.pipeline.store(), "rendered_clips", NAME)
    assert isinstance(clips, ChunkManifest)
    assert len({clip.worker for clip in clips.chunks}) == 1
    assert latents_of(project) == latents_of(undisturbed)
    assert [chunk.key for chunk in chunks_of(project).chunks] == [chunk.key for chunk in chunks_of(undisturbed).chunks]


@pytest.mark.parametrize("executor", ["in_process", "ray"])
def test_a_killed_run_goes_on_from_its_last_chunk(
    undisturbed: Project, chained: Chained, project_dir: Path, start: Start, executor: str
) -> None:
    project = project_in(project_dir / "killed", chained, executor)
    running = start(project)
    wait_for_chunks(project, running, 1)
    running.kill()
    running.communicate()
    kept = finished(project)
    assert 1 <= len(kept) < chained.n_chunks
    again = start(project)
    _, errors = again.communicate(timeout=MOST_WAIT_S)
    assert again.returncode == 0, errors.decode()
    assert chunks_of(project).n_made == chained.n_chunks - len(kept)
    assert {name: written for name, written in finished(project).items() if name in kept} == kept
    assert latents_of(project) == latents_of(undisturbed)


def test_a_killed_worker_is_replaced_and_goes_on_with_the_carry(
    undisturbed: Project, chained: Chained, project_dir: Path, start: Start
) -> None:
    project = project_in(project_dir / "worker", chained, "ray")
    running = start(project)
    wait_for_chunks(project, running, 1)
    workers = [
        member
        for member in psutil.Process(running.pid).children(recursive=True)
        if " ".join(member.cmdline()).startswith("ray::RankProcess")
    ]
    assert len(workers) == 1
    wait_for_a_chunk_in_the_making(project, running)  # not between two: the one before is found, then
    workers[0].kill()
    _, errors = running.communicate(timeout=MOST_WAIT_S)
    assert running.returncode == 0, errors.decode()
    with project.instance() as instance:
        (run,) = instance.get_runs()
        assert list(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)) == []
    manifest = chunks_of(project)
    assert manifest.n_made == chained.n_chunks
    assert len({chunk.worker for chunk in manifest.chunks}) == 2
    assert latents_of(project) == latents_of(undisturbed)
