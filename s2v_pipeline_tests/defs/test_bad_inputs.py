"""Bad and odd inputs from outside: one watched folder full of them, through the real sensor and the real job.

Each bad one is refused once with its message, and every good one in the same folder becomes a video.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
import pytest
from PIL import Image

from s2v_pipeline.api import command_source
from s2v_pipeline.artifacts import atomic_path
from s2v_pipeline.defs.build import ALL_CHECKS, build_definitions
from s2v_pipeline.defs.launch import Project, RunOutcome, register, register_each, run_here
from s2v_pipeline.defs.partitions import PARTITIONS_NAME
from s2v_pipeline.defs.sensors import watch_inputs
from s2v_pipeline.errors import (
    ArtifactError,
    AudioError,
    FaceError,
    ImageError,
    InputError,
    ManifestError,
    S2VError,
    SettingsError,
)
from s2v_pipeline_tests.conftest import REPOSITORY, SAMPLE, SMALL_PROJECT, copy_sample
from s2v_pipeline_tests.defs.bad_files import (
    PLAYLIST,
    RATE_HZ,
    Maker,
    animated_gif,
    bomb,
    cmyk,
    first_part,
    good_png,
    good_wav,
    loud_mp3,
    surround,
    two_faces,
    voice,
    with_nan,
)
from s2v_pipeline_tests.inputs.sound_files import write_silent_film, write_wav

# typer takes names from click that click will drop.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")]

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit codes
IN_PROCESS = SMALL_PROJECT.replace("[cluster]", '[cluster]\nexecutor = "in_process"')


# name of the input -> (file in it, how it is made, error, words of its message). The rest of the input is good.
REFUSED_BY_THE_JOB: dict[str, tuple[str, Maker, type[S2VError], str]] = {
    "text": ("speech.wav", lambda path: path.write_text("no sound"), AudioError, "must be a whole sound or video file"),
    "cut mp3": ("speech.mp3", first_part(loud_mp3, 0.5), AudioError, "speech.mp3 must be as long as it says it is"),
    "no samples": ("speech.wav", lambda path: write_wav(path, voice()[:, :0], RATE_HZ), AudioError, "no sample"),
    "short": ("speech.wav", lambda path: write_wav(path, voice(0.05), RATE_HZ), AudioError, "at least 0.2 s long"),
    "silent": ("speech.wav", lambda path: write_wav(path, 0 * voice(), RATE_HZ), AudioError, "that can be heard"),
    "nan": ("speech.wav", with_nan, AudioError, "must hold numbers as samples"),
    "silent film": ("speech.mp4", write_silent_film, AudioError, "speech.mp4 must have a sound track"),
    "playlist": ("speech.mp4", lambda path: path.write_text(PLAYLIST), AudioError, "must be a whole sound or video"),
    "text as picture": ("portrait.png", lambda path: path.write_text("no picture"), ImageError, "must be PNG, JPEG"),
    "cut jpeg": ("portrait.jpg", first_part(cmyk, 0.5), ImageError, "portrait.jpg must be a complete, undamaged"),
    "no face": ("portrait.png", lambda path: Image.new("RGB", (300, 300), "grey").save(path), FaceError, "show a face"),
    "two faces": ("portrait.png", two_faces, FaceError, "portrait.png: the portrait must show one face"),
    "1x1": ("portrait.png", lambda path: Image.new("RGB", (1, 1)).save(path), ImageError, "at least 60 px"),
    "bomb": ("portrait.png", bomb, ImageError, "at most 64 million pixels; got 900 million"),
    "generator": (
        "settings.toml",
        lambda path: path.write_text("[generation]\ngenerator = 'nope'"),
        SettingsError,
        "must be one of portrait, wan_s2v; got 'nope'",
    ),
}

REFUSED_BY_THE_SCAN: dict[str, tuple[str, Maker, str]] = {
    "empty": ("speech.wav", lambda path: path.touch(), "speech.wav must not be empty"),
    "link out": ("portrait.png", lambda path: path.symlink_to(SAMPLE / "portrait.png"), "must stay inside the watched"),
    "device": ("speech.wav", lambda path: path.symlink_to("/dev/zero"), "must stay inside the watched"),
    "pipe": ("speech.wav", os.mkfifo, "speech.wav must be a file"),
    "width": ("settings.toml", lambda path: path.write_text("[video]\nwidth_px = 513"), "(from settings.toml) must be"),
    "machine": ("settings.toml", lambda path: path.write_text("[paths]\ninputs = '/'"), "may set only video"),
    "prompt": ("prompt.txt", lambda path: path.write_bytes(b"\xff\xfe"), "prompt.txt must be text in UTF-8"),
}

GOOD: dict[str, tuple[str, Maker]] = {
    "8-bit": ("speech.wav", lambda path: write_wav(path, ((voice() >> 8) + 128).astype(np.uint8), RATE_HZ)),
    "192 kHz 5.1": ("speech.wav", surround),
    "animated": ("portrait.gif", animated_gif),
    "cmyk": ("portrait.jpg", cmyk),
    'it\'s "quoted" 😀\n\x1b[31m': ("prompt.txt", lambda path: path.write_text("calm 😀\x00")),
    "-rf": ("transcript.txt", lambda path: path.write_text("What is said is something else entirely.")),
    "up%2F..%2F..": ("settings.toml", lambda path: path.write_text("[video]\nfps = '30000/1001'")),
}


def make_input(folder: Path, file: str, make: Maker) -> None:
    folder.mkdir()
    if not file.lower().startswith("portrait"):
        good_png(folder / "portrait.png")
    if not file.startswith("speech"):
        good_wav(folder / "speech.wav")
    make(folder / file)


@dataclass(frozen=True)
class Evening:
    """What became of a folder of bad inputs: outcomes by the input's name, and what the last tick said."""

    project: Project
    instance: dg.DagsterInstance
    outcomes: dict[str, RunOutcome]
    said: str

    def retries(self, name: str) -> int:
        run_id = self.outcomes[name].run_id
        return len(self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))


def tick(project: Project, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    """One evaluation, with its partitions added as the daemon adds them."""
    pipeline = project.pipeline
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=build_definitions(pipeline=pipeline)
    )
    result = watch_inputs(context, pipeline=pipeline)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(PARTITIONS_NAME, list(request.partition_keys))
    return result


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "s2v.toml").write_text(IN_PROCESS)
    watched = folder / "data" / "inputs"
    watched.mkdir(parents=True)
    for name, (file, make, *_) in {**REFUSED_BY_THE_JOB, **REFUSED_BY_THE_SCAN, **GOOD}.items():
        make_input(watched / name, file, make)
    # Flat pairs: one good, one bad, one whose other half is a playlist, which is no sound file.
    for stem, make in (("pair good", good_wav), ("pair bad", lambda path: path.write_text("no sound"))):
        good_png(watched / f"{stem}.png")
        make(watched / f"{stem}.wav")
    good_png(watched / "pair half.png")
    (watched / "pair half.m3u8").write_text(PLAYLIST)

    before = os.environ.pop("DAGSTER_HOME", None)
    project = Project(folder)
    with project.instance() as instance:
        cursor: str | None = None
        outcomes = {}
        while (result := tick(project, instance, cursor)).run_requests:
            cursor = result.cursor
            for request in result.run_requests:
                assert request.partition_key is not None
                outcomes[request.tags["s2v/input_name"]] = run_here(
                    project, instance, request.partition_key, way_in="test"
                )
        yield Evening(project, instance, outcomes, str(result.skip_reason))
    os.environ.pop("DAGSTER_HOME", None)
    if before is not None:
        os.environ["DAGSTER_HOME"] = before


@pytest.mark.parametrize("name", [*GOOD, "pair good"])
def test_what_is_good_becomes_a_video_beside_what_is_bad(evening: Evening, name: str) -> None:
    outcome = evening.outcomes[name]
    assert outcome.error is None
    logs = evening.instance.all_logs(outcome.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    assert [check.check_name for check in checks if not check.passed] == []
    assert len(checks) == sum(len(list(check.check_keys)) for check in ALL_CHECKS)


@pytest.mark.parametrize("name", REFUSED_BY_THE_JOB)
def test_the_job_refuses_once_with_its_message(evening: Evening, name: str) -> None:
    _, _, kind, words = REFUSED_BY_THE_JOB[name]
    outcome = evening.outcomes[name]
    assert outcome.video is None
    assert type(outcome.error) is kind
    assert words in str(outcome.error)
    assert outcome.error.cure
    if kind is not SettingsError:
        assert name in str(outcome.error)
    assert evening.retries(name) == 0


def test_a_bad_pair_is_named_by_its_own_file(evening: Evening) -> None:
    error = evening.outcomes["pair bad"].error
    assert isinstance(error, AudioError)
    assert "pair bad.wav must be a whole sound" in str(error)


@pytest.mark.parametrize("name", REFUSED_BY_THE_SCAN)
def test_the_scan_refuses_and_the_tick_says_so(evening: Evening, name: str) -> None:
    assert name not in evening.outcomes
    assert f"{name} refused: " in evening.said
    assert REFUSED_BY_THE_SCAN[name][2] in evening.said


def test_half_a_pair_waits(evening: Evening) -> None:
    assert "pair half: waiting for a recording" in evening.said


def test_nothing_was_written_outside_the_project(evening: Evening) -> None:
    made = {path.name for path in (evening.project.folder / "data" / "artifacts" / "speech_inputs").iterdir()}
    assert made <= set(evening.instance.get_dynamic_partitions(PARTITIONS_NAME))
    assert {path.name for path in evening.project.folder.iterdir()} == {"s2v.toml", "data"}
    own = {"inputs", "artifacts", "dagster", "credentials"}
    assert {path.name for path in (evening.project.folder / "data").iterdir()} == own


def test_a_name_that_is_taken_is_refused_by_every_way_in(evening: Evening, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    write_wav(other, voice(0.9), RATE_HZ)
    image = SAMPLE / "portrait.png"
    source = command_source(image, other, prompt="", transcript=None, settings={}, name="-rf")
    with pytest.raises(ManifestError, match="is taken"):
        register(evening.project, evening.instance, [source])
    free = command_source(image, other, prompt="", transcript=None, settings={}, name="free name")
    keys, refused = register_each(evening.project, evening.instance, [source, free])
    assert keys == (free.input_id,)
    assert list(refused) == ["-rf"]

    copy_sample(evening.project.folder / "data" / "inputs" / "free name")
    result = tick(evening.project, evening.instance, None)
    assert free.input_id not in [request.partition_key for request in result.run_requests or []]
    assert evening.project.pipeline.catalogue().get(free.input_id).audio == other
    shutil.rmtree(evening.project.folder / "data" / "inputs" / "free name")


def test_the_same_files_may_come_another_way(project_dir: Path) -> None:
    (project_dir / "s2v.toml").write_text(IN_PROCESS)
    project = Project(project_dir)
    copy_sample(project_dir / "data" / "inputs" / "astronaut")
    with dg.DagsterInstance.ephemeral() as instance:
        source = command_source(
            SAMPLE / "portrait.png", SAMPLE / "speech.wav", prompt="", transcript=None, settings={}, name="astronaut"
        )
        project.pipeline.catalogue().add(source)
        (request,) = tick(project, instance, None).run_requests or []
        assert request.partition_key == "astronaut"
        assert project.pipeline.catalogue().get("astronaut").origin == "folder"


def test_a_disk_that_takes_nothing_is_named_with_the_cure(project_dir: Path) -> None:
    (project_dir / "s2v.toml").write_text(IN_PROCESS)
    project = Project(project_dir)
    artifacts = project_dir / "data" / "artifacts"
    copy_sample(project_dir / "data" / "inputs" / "lesson")
    with project.instance() as instance:
        (request,) = tick(project, instance, None).run_requests or []
        (artifacts / "speech_inputs").touch()  # a file where a folder must be: what root's rights cannot mend
        outcome = run_here(project, instance, request.partition_key or "", way_in="test")
        assert f"{artifacts}/speech_inputs must take and give files" in str(outcome.error)
        assert "paths.artifacts" in str(outcome.error)
        shutil.rmtree(artifacts)
        artifacts.touch()
        with pytest.raises(ArtifactError, match="artifacts must take and give files"):
            tick(project, instance, None)
        artifacts.unlink()
        assert run_here(project, instance, request.partition_key or "", way_in="test").error is not None
        again = tick(project, instance, None)  # the cursor was not committed: nothing is lost
        assert [each.partition_key for each in again.run_requests or []] == ["lesson"]


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with (
        pytest.raises(ArtifactError, match="must be the name of a file"),
        atomic_path(tmp_path / "pipe.mp4") as temporary,
    ):
        temporary.write_bytes(b"video")
    assert (tmp_path / "pipe.mp4").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


# The command line


def ran(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `s2v` with these arguments."""
    from s2v_pipeline import cli

    monkeypatch.setattr(sys, "argv", ["s2v", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code if isinstance(end.value.code, int) else -1


IMAGE, AUDIO = str(SAMPLE / "portrait.png"), str(SAMPLE / "speech.wav")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image", "nowhere.png", "--audio", AUDIO), "no file nowhere.png"),
        (("--image", IMAGE, "--audio", AUDIO, "--transcript", "."), "no file ."),
        (("--image", IMAGE), "--audio"),
        (("--image", IMAGE, "--audio", AUDIO, "--width", "513"), "video.width_px (from flags) must be even; got 513"),
        (("--image", IMAGE, "--audio", AUDIO, "--fps", "0"), "video.fps (from flags) must lie between 1 and 120"),
        (("--image", IMAGE, "--audio", AUDIO, "--fps", "10000001/400000"), "numerator of at most 1000000"),
        (("--image", IMAGE, "--audio", AUDIO, "--quality", "best"), "'best' is not one of"),
        (("--image", IMAGE, "--audio", AUDIO, "--gpus", "1"), "No such option"),
        (("--image", IMAGE, "--audio", AUDIO, "--output", "."), "must name a file"),
        (("--image", IMAGE, "--audio", AUDIO, "--output", "s2v.toml/x.mp4"), "in a folder that can be written"),
        (("--image", IMAGE, "--audio", IMAGE), "must be"),
    ],
)
def test_bad_flags_and_files_end_with_one_message(
    arguments: tuple[str, ...],
    words: str,
    project_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project_dir / "s2v.toml").write_text(IN_PROCESS)
    assert ran(monkeypatch, "generate", *arguments) in (FAILED, MISUSED)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("S2V_WIDTH", "setting width (from environment) must be one that there is"),
        ("S2V_VIDEO__WIDHT_PX", "Did you mean video.width_px?"),
        ("S2V_GENERATION__QUALITY", "must be 'low', 'medium', 'high' or 'ultra'; got '1'"),
        ("S2V_PATHS__DAGSTER_HOME", "must take and give files"),
    ],
)
def test_variables_that_are_no_settings_end_with_one_message(
    variable: str,
    words: str,
    project_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project_dir / "1").touch()
    monkeypatch.setenv(variable, "1")
    assert ran(monkeypatch, "generate", "--image", IMAGE, "--audio", AUDIO) == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_bad_rows_of_a_dataset_harm_no_other(
    project_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_sample(project_dir / "set")
    rows = {
        "good": "portrait.png,speech.wav,",
        "missing": "portrait.png,nowhere.wav,",
        "out": "../../../../etc/passwd,speech.wav,",
        "odd": "portrait.png,speech.wav,[video]\\nwidth_px = 513",
        "twice": "portrait.png,speech.wav,",
        "-rf": "portrait.png,speech.wav,",
    }
    lines = ["id,image,audio,settings", *(f"{name},{row}" for name, row in rows.items()), f"twice,{rows['twice']}"]
    (project_dir / "set" / "all.csv").write_text("\n".join(lines))
    assert ran(monkeypatch, "inputs", "register-dataset", "set/all.csv") == FAILED
    output = capsys.readouterr()
    assert "registered 2 inputs, refused 5 rows" in output.out
    for row in ("row 2 (missing)", "row 3 (out)", "row 4 (odd)", "row 5 (twice)", "row 7 (twice)"):
        assert row in output.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.wav", b"x", "must be a .csv or a .parquet file; got a.wav"),
        ("a.csv", b"", "a.csv must be a table, as CSV in UTF-8"),
        ("b.csv", b"id,picture,audio\n", "got id, picture, audio"),
        ("c.csv", b"id,image,audio\na,b,c,d,e\n", "as many cells as there are columns"),
        ("d.csv", b"\0" * 1000, "d.csv must have the columns"),
        ("a.parquet", b"PAR1" + bytes(100) + b"PAR1", "a.parquet must be a table, as Parquet"),
    ],
)
def test_what_is_no_dataset_ends_with_one_message(
    name: str,
    content: bytes,
    words: str,
    project_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project_dir / name).write_bytes(content)
    assert ran(monkeypatch, "inputs", "register-dataset", name) == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert line.isprintable()
    assert len(line) < 1500


def test_ctrl_c_ends_all_processes_with_one_message(project_dir: Path) -> None:
    sound = np.tile(voice(7.0), 4)
    write_wav(project_dir / "long.wav", sound, RATE_HZ)
    command = [sys.executable, "-c", "from s2v_pipeline.cli import main; main()", "generate"]
    with subprocess.Popen(
        [*command, "--image", IMAGE, "--audio", "long.wav"],
        cwd=project_dir,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to a whole group of processes
    ) as process:
        family: dict[int, psutil.Process] = {}
        deadline = time.monotonic() + 60
        # Until the run's own helpers are there: the event log is open and Ray is starting.
        while len(family) < 5 and process.poll() is None and time.monotonic() < deadline:
            family.update({child.pid: child for child in psutil.Process(process.pid).children(recursive=True)})
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert len(family) >= 5
    assert process.returncode == INTERRUPTED
    assert "s2v: interrupted; finished chunks are kept" in said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(list(family.values()), timeout=10)
    assert alive == []


def test_an_input_error_is_one(evening: Evening) -> None:
    errors = [outcome.error for outcome in evening.outcomes.values() if outcome.error is not None]
    assert errors
    assert all(isinstance(error, InputError | SettingsError) for error in errors)
