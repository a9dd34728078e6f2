"""What a kill -9 costs: of the run's own process, and of a Ray worker, in the middle of rendering."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import Project

pytestmark = pytest.mark.slow

MOST_WAIT_S = 120
# Workers, raylet and the control store end with the process that started them; Ray's two idle agents first try for a
# minute to report to the control store that is gone.
MOST_LINGER_S = 20
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")

SETTINGS = """
[video]
width_px = 512
height_px = 512
x264_preset = "slow"
[generation]
chunk_s = 1.0
[cluster]
num_cpus = 2
"""


@pytest.fixture
def project(project_dir: Path) -> Project:
    """Eight chunks of a second, at a size that takes long enough to be interrupted."""
    (project_dir / "s2v.toml").write_text(SETTINGS)
    return Project(project_dir)


@pytest.fixture
def running(project: Project, sample: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(project, sample)
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


def start(project: Project, sample: Path) -> subprocess.Popen[bytes]:
    """`s2v generate` on the sample, as a user starts it."""
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    command = [
        *(sys.executable, "-c", "from s2v_pipeline.cli import main; main()", "generate", "--name", "sample"),
        *("--image", str(sample / "portrait.png"), "--audio", str(sample / "speech.wav")),
        *("--transcript", str(sample / "transcript.txt")),
    ]
    return subprocess.Popen(
        command, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def clip_times(project: Project) -> dict[str, int]:
    """Finished clips -> when each was written."""
    folder = project.pipeline.store().root / "rendered_clips" / "sample"
    records = folder.glob("[0-9]*.mp4.provenance.json")
    return {path.name: path.stat().st_mtime_ns for path in records}


def wait_for_clips(project: Project, process: subprocess.Popen[bytes], n_clips: int) -> dict[str, int]:
    deadline = time.monotonic() + MOST_WAIT_S
    while time.monotonic() < deadline:
        done = clip_times(project)
        if len(done) >= n_clips:
            return done
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.02)
    raise AssertionError(f"no {n_clips} clips within {MOST_WAIT_S} s")


def is_agent(member: psutil.Process) -> bool:
    """Whether a process is one of Ray's agents; they hold no CPU and no work."""
    try:
        return bool(set(AGENTS) & {member.name(), *member.cmdline()[:1]})
    except psutil.NoSuchProcess:
        return False


def ray_processes(running: subprocess.Popen[bytes], name: str) -> list[psutil.Process]:
    """The run's descendants whose title or name starts so."""
    return [
        member
        for member in psutil.Process(running.pid).children(recursive=True)
        if (member.cmdline() or [member.name()])[0].startswith(name) or member.name() == name
    ]


def test_a_killed_run_leaves_its_chunks_and_nothing_else_behind(
    project: Project, running: subprocess.Popen[bytes], sample: Path
) -> None:
    done = wait_for_clips(project, running, 2)
    family = psutil.Process(running.pid).children(recursive=True)
    assert any("raylet" in member.name() for member in family)
    working = [member for member in family if not is_agent(member)]
    running.kill()
    running.communicate()
    _, alive = psutil.wait_procs(working, timeout=MOST_LINGER_S)
    assert alive == []

    # What was done when it was killed; a worker may have finished one more on its way down.
    kept = clip_times(project)
    assert set(done) <= set(kept)
    again = start(project, sample)
    _, errors = again.communicate(timeout=MOST_WAIT_S)
    assert again.returncode == 0, errors.decode()

    clips = load_value(project.pipeline.store(), "rendered_clips", "sample")
    assert isinstance(clips, ChunkManifest)
    assert len(clips.chunks) == 8
    assert clips.n_made == 8 - len(kept)
    now = clip_times(project)
    assert {name: now[name] for name in kept} == kept
    with project.instance() as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert sorted(status.value for status in statuses) == ["FAILURE", "SUCCESS"]


def test_a_killed_worker_costs_its_chunk_alone(project: Project, running: subprocess.Popen[bytes]) -> None:
    wait_for_clips(project, running, 1)
    workers = ray_processes(running, "ray::run_task")
    assert workers
    workers[0].kill()
    _, errors = running.communicate(timeout=MOST_WAIT_S)
    assert running.returncode == 0, errors.decode()
    with project.instance() as instance:
        (run,) = instance.get_runs()
        retries = list(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert retries == []  # Ray gave the chunk to another worker; Dagster did not have to
    clips = load_value(project.pipeline.store(), "rendered_clips", "sample")
    assert isinstance(clips, ChunkManifest)
    assert clips.n_made == 8
    assert len({clip.worker for clip in clips.chunks}) >= 2


@pytest.mark.soak  # a minute and a half; a killed worker and a killed run are in every run
def test_a_run_whose_ray_dies_goes_on_with_a_new_one(project: Project, running: subprocess.Popen[bytes]) -> None:
    done = wait_for_clips(project, running, 1)
    (raylet,) = ray_processes(running, "raylet")
    raylet.kill()
    _, errors = running.communicate(timeout=MOST_WAIT_S)
    assert running.returncode == 0, errors.decode()
    with project.instance() as instance:
        (run,) = instance.get_runs()
        retries = list(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))
    assert len(retries) == 1
    clips = load_value(project.pipeline.store(), "rendered_clips", "sample")
    assert isinstance(clips, ChunkManifest)
    assert len(clips.chunks) == 8
    # What was done before is found by the second try, not made again.
    assert clips.n_made <= 8 - len(done)
