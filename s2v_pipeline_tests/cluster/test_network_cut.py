"""A cluster of several hosts whose network is cut while a video is made: Linux namespaces are the hosts."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2v_pipeline_tests.cluster.pods import RAY_IS_UP, Pods, missing_right, pod_environment, twice
from s2v_pipeline_tests.conftest import SAMPLE, WITHOUT_GATE

_log = logging.getLogger(__name__)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

SETTINGS = """
[video]
width_px = 192
height_px = 192
x264_preset = "ultrafast"
[generation]
chunk_s = 0.7
[inputs]
settle_s = 0
"""
N_CHUNKS = 10
HEAD, DRIVER, WORKERS = "head", "driver", ("one", "two")
ADDRESS = "head:6379"
MOST_START_S, MOST_S = 120, 600
COMMAND = (
    f"{sys.executable} -c 'from s2v_pipeline.cli import main; main()' generate --name sample"
    f" --image {SAMPLE / 'portrait.png'} --audio {SAMPLE / 'speech.wav'}"
)
JOIN = f"ray start --address={ADDRESS} --num-gpus=0 --object-store-memory=134217728 --block"
# As in deploy/kuberay/project.yaml, one after the other: the node and the run; whichever ends first ends the host.
RUN = f"""
({twice(f"{JOIN} --num-cpus=0")}) &
until grep -q '{RAY_IS_UP}' driver.log; do sleep 0.5; done
{COMMAND} &
wait -n
"""


def clips(folder: Path) -> dict[str, Path]:
    """Finished ones: what is said of a clip is written after it."""
    said = (folder / "data" / "artifacts" / "rendered_clips" / "sample").glob("[0-9]*.mp4.provenance.json")
    return {
        path.name.removesuffix(".provenance.json"): path.with_name(path.name.removesuffix(".provenance.json"))
        for path in said
    }


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in clips(folder).items()}


def write_project(folder: Path, cluster: str) -> Path:
    folder.mkdir()
    (folder / "s2v.toml").write_text(f"{SETTINGS}{WITHOUT_GATE}[cluster]\n{cluster}\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the clips of a run that nothing has met."""
    folder = write_project(tmp_path_factory.mktemp("undisturbed") / "project", 'executor = "in_process"')
    subprocess.run(["bash", "-ec", COMMAND], check=True, cwd=folder, env=pod_environment(folder), timeout=MOST_S)
    found = hashes(folder)
    assert len(found) == N_CHUNKS
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", f'address = "{ADDRESS}"')


@pytest.fixture
def pods(project: Path) -> Iterator[Pods]:
    """A head without CPUs and two workers with one each."""
    if reason := missing_right():
        pytest.skip(reason)
    with Pods((HEAD, DRIVER, *WORKERS), project, pod_environment(project)) as pods:
        pods.start(HEAD, twice("ray start --head --num-cpus=0 --num-gpus=0 --include-dashboard=false --block"))
        pods.wait_until_said(HEAD, RAY_IS_UP, MOST_START_S)
        for name in WORKERS:
            pods.start(name, twice(f"{JOIN} --num-cpus=1"))
            pods.wait_until_said(name, RAY_IS_UP, MOST_START_S)
        yield pods


def wait_for_clips(folder: Path, run: subprocess.Popen[bytes], n_clips: int, pods: Pods) -> dict[str, int]:
    """Write times of the clips that are there, once there are so many, in the middle of the run."""
    deadline = time.monotonic() + MOST_S
    while len(found := clips(folder)) < n_clips:
        assert run.poll() is None, pods.log(DRIVER)
        assert time.monotonic() < deadline, pods.log(DRIVER)
        time.sleep(0.05)
    assert len(found) < N_CHUNKS - 1
    return {name: path.stat().st_mtime_ns for name, path in found.items()}


def assert_kept(folder: Path, before: dict[str, int]) -> None:
    now = {name: path.stat().st_mtime_ns for name, path in clips(folder).items()}
    assert {name: now[name] for name in before} == before


def test_a_worker_cut_off_costs_its_chunk_and_no_more(pods: Pods, project: Path, undisturbed: dict[str, str]) -> None:
    run = pods.start(DRIVER, RUN)
    done = wait_for_clips(project, run, 2, pods)
    pods.cut(WORKERS[0])
    cut_at = time.monotonic()
    assert pods.wait(run, MOST_S, may_end=WORKERS) == 0, pods.log(DRIVER)
    _log.warning("the run ended %.0f s after the cut", time.monotonic() - cut_at)
    assert hashes(project) == undisturbed
    assert_kept(project, done)
    assert (project / "data" / "artifacts" / "final_videos" / "sample" / "sample.mp4").stat().st_size > 0


def test_a_run_cut_off_from_the_cluster_ends_and_the_next_one_goes_on(
    pods: Pods, project: Path, undisturbed: dict[str, str]
) -> None:
    run = pods.start(DRIVER, RUN)
    done = wait_for_clips(project, run, 2, pods)
    pods.cut(DRIVER)
    cut_at = time.monotonic()
    code = pods.wait(run, MOST_S, may_end=WORKERS)
    _log.warning("the run ended with %d, %.0f s after the cut", code, time.monotonic() - cut_at)
    assert code != 0
    assert len(clips(project)) < N_CHUNKS
    pods.mend(DRIVER)
    (project / "driver.log").rename(project / "driver-first.log")
    again = pods.start(DRIVER, RUN)
    assert pods.wait(again, MOST_S, may_end=(*WORKERS, DRIVER)) == 0, pods.log(DRIVER)
    assert hashes(project) == undisturbed
    assert_kept(project, done)
