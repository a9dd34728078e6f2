"""The asset graph end to end: a real portrait and a real voice in, a checked video out."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from s2v_pipeline.api import command_source
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.chunks.request import FEATURE_COLUMNS
from s2v_pipeline.defs.build import ALL_CHECKS, build_definitions
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import register, run_here
from s2v_pipeline.defs.partitions import PARTITIONS_NAME
from s2v_pipeline.errors import InputError
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline_tests.defs.conftest import MadeSample

pytestmark = pytest.mark.slow

ASSETS = ("speech_inputs", "audio_features", "phoneme_alignments", "chunk_latents", "rendered_clips", "final_videos")


def test_the_sample_becomes_a_video(made_sample: MadeSample) -> None:
    outcome = made_sample.outcome
    assert outcome.error is None
    assert outcome.video is not None
    store = made_sample.project.pipeline.store()
    assert store.read_path("final_videos", made_sample.input_id, outcome.video.video_part).stat().st_size > 10_000
    assert (outcome.video.width_px, outcome.video.height_px, outcome.video.fps) == (192, 192, 25)
    assert abs(outcome.video.video_s - outcome.video.audio_s) <= Fraction(1, 50)
    assert set(ASSETS) <= set(outcome.step_s)


def test_the_run_is_in_the_instance_s_history(made_sample: MadeSample) -> None:
    run = made_sample.instance.get_run_by_id(made_sample.outcome.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.job_name == "make_video"
    assert run.tags["dagster/partition"] == made_sample.input_id
    assert run.tags["s2v/way_in"] == "test"


def test_every_check_ran_and_passed(made_sample: MadeSample) -> None:
    logs = made_sample.instance.all_logs(made_sample.outcome.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluations = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    assert len(evaluations) == sum(len(list(check.check_keys)) for check in ALL_CHECKS)
    assert {evaluation.check_name: evaluation.passed for evaluation in evaluations} == {
        key.name: True for check in ALL_CHECKS for key in check.check_keys
    }


def test_tables_load_as_in_a_notebook(made_sample: MadeSample) -> None:
    defs = build_definitions(pipeline=made_sample.project.pipeline)
    phonemes = defs.load_asset_value(
        "phoneme_alignments", partition_key=made_sample.input_id, instance=made_sample.instance
    )
    assert isinstance(phonemes, pd.DataFrame)
    assert {"phone", "start_s", "end_s", "word"} <= set(phonemes.columns)
    assert phonemes.attrs["method"]
    features = defs.load_asset_value(
        "audio_features", partition_key=made_sample.input_id, instance=made_sample.instance
    )
    assert isinstance(features, pd.DataFrame)
    assert set(FEATURE_COLUMNS) <= set(features.columns)
    assert made_sample.outcome.video is not None
    assert len(features) == made_sample.outcome.video.n_frames


def test_captions_have_the_transcript_s_own_words(made_sample: MadeSample) -> None:
    store = made_sample.project.pipeline.store()
    video = made_sample.outcome.video
    speech = load_value(store, "speech_inputs", made_sample.input_id)
    assert isinstance(speech, SpeechInput)
    assert video is not None
    assert video.delivered_parts == ("sample.mp4", "sample.srt", "sample.vtt")
    text = store.read_path("final_videos", made_sample.input_id, "sample.srt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and "-->" not in line and not line.isdigit()]
    assert " ".join(lines) == speech.transcript
    document = json.loads(store.read_path("final_videos", made_sample.input_id, video.metadata_part).read_text())
    assert document["captions"] == {"files": ["sample.srt", "sample.vtt"], "none_because": None, "notes": []}


def test_metadata_says_what_made_it(made_sample: MadeSample) -> None:
    store = made_sample.project.pipeline.store()
    path = store.read_path("final_videos", made_sample.input_id, "generation_metadata.json")
    document = json.loads(path.read_text())
    assert document["dagster_run_id"] == made_sample.outcome.run_id
    assert document["generator"]["name"] == "portrait"
    assert document["alignment"]["fallbacks"] == []
    assert document["settings"]["video"]["width_px"] == 192
    assert sum(b - a for a, b in (chunk["frames"] for chunk in document["chunks"])) == document["video"]["frames"]


def test_a_second_run_makes_no_chunk_again_and_the_same_bytes(made_sample: MadeSample) -> None:
    store = made_sample.project.pipeline.store()
    first = made_sample.outcome.video
    assert first is not None
    again = run_here(made_sample.project, made_sample.instance, made_sample.input_id, way_in="test")
    assert again.video is not None
    assert again.video.sha256 == first.sha256
    for asset in ("chunk_latents", "rendered_clips"):
        manifest = load_value(store, asset, made_sample.input_id)
        assert isinstance(manifest, ChunkManifest)
        assert len(manifest.chunks) >= 3
        assert manifest.n_made == 0


def test_a_lost_and_a_damaged_chunk_are_made_again_and_no_other(made_sample: MadeSample) -> None:
    store = made_sample.project.pipeline.store()
    first = made_sample.outcome.video
    clips = load_value(store, "rendered_clips", made_sample.input_id)
    assert isinstance(clips, ChunkManifest)
    assert first is not None
    store.path("rendered_clips", made_sample.input_id, clips.chunks[0].part).unlink()
    damaged = store.path("rendered_clips", made_sample.input_id, clips.chunks[1].part)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    again = run_here(made_sample.project, made_sample.instance, made_sample.input_id, way_in="test")
    clips = load_value(store, "rendered_clips", made_sample.input_id)
    assert isinstance(clips, ChunkManifest)
    assert [clip.index for clip in clips.chunks if clip.made] == [0, 1]
    assert again.video is not None
    assert again.video.sha256 == first.sha256


def test_bad_input_fails_once_with_its_message_and_harms_no_other(made_sample: MadeSample, tmp_path: Path) -> None:
    audio = tmp_path / "speech.wav"
    audio.write_text("this is not sound")
    portrait = made_sample.project.pipeline.catalogue().get(made_sample.input_id).image
    source = command_source(portrait, audio, prompt="", transcript=None, settings={}, name="bad one")
    (input_id,) = register(made_sample.project, made_sample.instance, [source])
    outcome = run_here(made_sample.project, made_sample.instance, input_id, way_in="test")
    assert outcome.video is None
    assert isinstance(outcome.error, InputError)
    assert "speech.wav" in str(outcome.error)
    retries = made_sample.instance.all_logs(outcome.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert list(retries) == []
    assert load_value(made_sample.project.pipeline.store(), "speech_inputs", made_sample.input_id) is not None


def test_partitions_are_the_registered_inputs(made_sample: MadeSample) -> None:
    assert made_sample.input_id in made_sample.instance.get_dynamic_partitions(PARTITIONS_NAME)
    value = load_value(made_sample.project.pipeline.store(), "speech_inputs", made_sample.input_id)
    assert isinstance(value, SpeechInput)
    assert value.input_id == made_sample.input_id
