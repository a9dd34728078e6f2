"""Credentials of a video that went through the graph: stored, served, copied; and switched off."""

from __future__ import annotations

import json
import urllib.request
import wave
from fractions import Fraction
from pathlib import Path

import dagster as dg
import pytest

from s2v_pipeline.api import command_source, copy_files
from s2v_pipeline.clips.label import make_stamp
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import Project, RunOutcome, register, run_here
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.fileserver import FileServer, artifact_url
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import not_for_inputs
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import trusted_signers
from s2v_pipeline.video.frames import grab_frames
from s2v_pipeline.video.verification import TrustedSigners, Verification, verify_file
from s2v_pipeline_tests.conftest import SMALL_PROJECT
from s2v_pipeline_tests.defs.conftest import MadeSample
from s2v_pipeline_tests.video.certificates import write_chain

CHECK = "credentials_verify"
IN_PROCESS = SMALL_PROJECT.replace("[cluster]", '[cluster]\nexecutor = "in_process"')


def verified(made: MadeSample, path: Path) -> Verification:
    pipeline = made.project.pipeline
    return verify_file(path, trusted_signers(credentials_at(pipeline.settings(), pipeline.folder())))


def evaluation(made: MadeSample, run_id: str) -> dg.AssetCheckEvaluation:
    logs = made.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    (check,) = (each for each in found if each.check_name == CHECK)
    return check


def test_the_stored_the_served_and_the_copied_file_verify(made_sample: MadeSample, tmp_path: Path) -> None:
    store, video = made_sample.project.pipeline.store(), made_sample.outcome.video
    assert video is not None
    stored = store.read_path("final_videos", video.input_id, video.video_part)
    with FileServer(store.root, 0) as server:
        url = artifact_url(server.port, "final_videos", video.input_id, video.video_part)
        with urllib.request.urlopen(url) as response:  # noqa: S310 - the server above
            (tmp_path / "served.mp4").write_bytes(response.read())
    (copied, *_) = copy_files([stored], tmp_path / "copied.mp4")
    speech = load_value(store, "speech_inputs", video.input_id)
    assert isinstance(speech, SpeechInput)
    for path in (stored, tmp_path / "served.mp4", copied):
        found = verified(made_sample, path)
        assert (found.status, found.trust) == ("valid", "project")
        assert found.claims is not None
        assert found.claims.portrait_sha256 == speech.portrait.sha256
        assert found.claims.speech_sha256 == speech.speech.sha256
        assert found.claims.title == video.video_part


def test_the_metadata_says_who_signed_and_what_was_signed(made_sample: MadeSample) -> None:
    store, video = made_sample.project.pipeline.store(), made_sample.outcome.video
    assert video is not None
    assert video.credentials == "signed"
    document = json.loads(store.read_path("final_videos", video.input_id, video.metadata_part).read_text())
    found = verified(made_sample, store.read_path("final_videos", video.input_id, video.video_part))
    assert found.claims is not None
    assert document["credentials"]["status"] == "signed"
    assert document["credentials"]["unsigned_sha256"] == found.claims.unsigned_sha256
    assert document["video"]["sha256"] == video.sha256
    assert document["video"]["size_bytes"] == video.size_bytes
    assert (made_sample.project.folder / "data" / "credentials" / "test_signer.pem").is_file()


def test_the_check_passed_on_the_sample(made_sample: MadeSample) -> None:
    check = evaluation(made_sample, made_sample.outcome.run_id)
    assert check.passed
    assert check.metadata["trust"].value == "project"


@pytest.fixture
def short_speech(sample: Path, tmp_path: Path) -> Path:
    """A second of the sample."""
    path = tmp_path / "speech.wav"
    with wave.open(str(sample / "speech.wav")) as whole, wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(whole.getframerate()))
    return path


def run_in(project: Project, image: Path, speech: Path) -> tuple[RunOutcome, list[tuple[bool, str, str]]]:
    """One run without Ray, and of its check of credentials: passed, severity, what it says."""
    source = command_source(image, speech, prompt="", transcript=None, settings={}, name="short")
    with project.instance() as instance:
        (input_id,) = register(project, instance, [source])
        outcome = run_here(project, instance, input_id, way_in="test")
        logs = instance.all_logs(outcome.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        checks = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    said = [
        (each.passed, each.severity.value, str(each.metadata["credentials"].value))
        for each in checks
        if each.check_name == CHECK
    ]
    return outcome, said


def test_switched_off_and_labelled_it_is_made_and_both_are_seen(
    project_dir: Path, sample: Path, short_speech: Path
) -> None:
    (project_dir / "s2v.toml").write_text(
        f'{IN_PROCESS}\n[credentials]\nenabled = false\nlabel = "AI"\nlabel_corner = "top_left"\n'
    )
    project = Project(project_dir)
    outcome, said = run_in(project, sample / "portrait.png", short_speech)
    video, store = outcome.video, project.pipeline.store()
    assert video is not None, outcome.error
    assert said == [(False, "WARN", "off: credentials.enabled = false")]
    assert video.credentials == "off: credentials.enabled = false"
    path = store.read_path("final_videos", video.input_id, video.video_part)
    found = verify_file(path, TrustedSigners())
    assert (found.status, found.xmp_source_type) == ("absent", None)
    document = json.loads(store.read_path("final_videos", video.input_id, video.metadata_part).read_text())
    assert document["credentials"] == {"status": "off", "because": "credentials.enabled = false"}
    # The label, in every frame that was delivered: where the stamp is white the picture is, too.
    stamp = make_stamp("AI", corner="top_left", font=None, width_px=192, height_px=192)
    height_px, width_px = stamp.gray.shape
    letters = (stamp.gray.astype(int) * stamp.opacity // 255) > 200
    for time_s in (Fraction(1, 50), Fraction(49, 50)):
        (frame,) = grab_frames(path, [time_s])
        shown = frame.pixels[stamp.top_px :, stamp.left_px :][:height_px, :width_px].mean(axis=2)
        assert shown[letters].mean() > shown[~letters].mean() + 60


def test_a_certificate_that_cannot_sign_stops_the_run_before_anything_is_made(
    project_dir: Path, sample: Path, short_speech: Path
) -> None:
    given = write_chain(project_dir / "mine", valid_days=(-30, -1))
    (project_dir / "s2v.toml").write_text(
        f'{IN_PROCESS}\n[credentials]\ncertificate = "mine/{given.certificate.name}"\n'
        f'private_key = "mine/{given.private_key.name}"\n'
    )
    outcome, said = run_in(Project(project_dir), sample / "portrait.png", short_speech)
    assert outcome.video is None
    assert isinstance(outcome.error, SettingsError)
    assert "valid now" in str(outcome.error)
    assert said == []
    assert not (Project(project_dir).pipeline.store().root / "speech_inputs").exists()


def test_an_input_cannot_switch_them_off() -> None:
    assert not_for_inputs({"credentials": {"enabled": False}}) == ("credentials",)
