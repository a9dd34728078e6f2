"""The watched folder, evaluated as the daemon does it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import dagster as dg
import pytest

from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.partitions import PARTITIONS_NAME
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.sensors import watch_inputs
from s2v_pipeline_tests.conftest import SAMPLE, copy_sample


@pytest.fixture
def folder(project_dir: Path) -> Path:
    """The watched folder."""
    inputs = project_dir / "data" / "inputs"
    inputs.mkdir(parents=True)
    return inputs


@pytest.fixture
def pipeline(project_dir: Path) -> PipelineResource:
    return PipelineResource(project_dir=str(project_dir))


def evaluate(pipeline: PipelineResource, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    """One tick, with its partitions added as the daemon adds them."""
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=build_definitions(pipeline=pipeline)
    )
    result = watch_inputs(context, pipeline=pipeline)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(PARTITIONS_NAME, list(request.partition_keys))
    return result


def test_a_whole_input_is_taken_up_once(pipeline: PipelineResource, folder: Path) -> None:
    copy_sample(folder / "First lesson")
    with dg.DagsterInstance.ephemeral() as instance:
        first = evaluate(pipeline, instance, None)
        (request,) = first.run_requests or []
        assert request.partition_key is not None
        assert request.partition_key.startswith("first-lesson-")
        assert instance.get_dynamic_partitions(PARTITIONS_NAME) == [request.partition_key]
        assert pipeline.catalogue().get(request.partition_key).name == "First lesson"
        second = evaluate(pipeline, instance, first.cursor)
        assert not second.run_requests
        assert "1 inputs known" in str(second.skip_reason)


def test_a_changed_input_is_made_anew(pipeline: PipelineResource, folder: Path) -> None:
    copy_sample(folder / "lesson")
    with dg.DagsterInstance.ephemeral() as instance:
        first = evaluate(pipeline, instance, None)
        (folder / "lesson" / "transcript.txt").write_text("other words")
        second = evaluate(pipeline, instance, first.cursor)
    (before,), (after,) = first.run_requests or [], second.run_requests or []
    assert before.partition_key == after.partition_key == "lesson"
    assert before.run_key != after.run_key


def test_half_an_input_waits_and_says_for_what(pipeline: PipelineResource, folder: Path) -> None:
    shutil.copy(SAMPLE / "portrait.png", folder / "anna.png")
    with dg.DagsterInstance.ephemeral() as instance:
        alone = evaluate(pipeline, instance, None)
        assert not alone.run_requests
        assert "anna" in str(alone.skip_reason)
        shutil.copy(SAMPLE / "speech.wav", folder / "anna.wav")
        both = evaluate(pipeline, instance, alone.cursor)
    assert [request.partition_key for request in both.run_requests or []] == ["anna"]


def test_a_file_that_still_changes_is_left_alone(pipeline: PipelineResource, folder: Path, project_dir: Path) -> None:
    settings = (project_dir / "s2v.toml").read_text().replace("settle_s = 0", "settle_s = 1.5")
    (project_dir / "s2v.toml").write_text(settings)
    # cp -p sets the old modification time back: only the change time tells that the file is new.
    copy_sample(folder / "lesson")
    with dg.DagsterInstance.ephemeral() as instance:
        early = evaluate(pipeline, instance, None)
        assert not early.run_requests
        time.sleep(1.6)
        late = evaluate(pipeline, instance, early.cursor)
    assert [request.partition_key for request in late.run_requests or []] == ["lesson"]


def test_one_tick_asks_for_a_bounded_number_of_runs_and_loses_none(pipeline: PipelineResource, folder: Path) -> None:
    n_inputs = 45
    for index in range(n_inputs):
        shutil.copy(SAMPLE / "portrait.png", folder / f"p{index:03d}.png")
        shutil.copy(SAMPLE / "speech.wav", folder / f"p{index:03d}.wav")
    cursor, seen = None, []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            result = evaluate(pipeline, instance, cursor)
            assert len(result.run_requests or []) <= 20
            seen += [request.partition_key for request in result.run_requests or []]
            cursor = result.cursor
    assert sorted(seen) == [f"p{index:03d}" for index in range(n_inputs)]
    assert len(json.loads(cursor or "{}")) == n_inputs


def test_a_bad_neighbour_harms_nobody(pipeline: PipelineResource, folder: Path) -> None:
    copy_sample(folder / "good")
    (folder / "bad").mkdir()
    (folder / "bad" / "portrait.png").symlink_to("/etc/hostname")
    (folder / "bad" / "speech.wav").touch()
    with dg.DagsterInstance.ephemeral() as instance:
        result = evaluate(pipeline, instance, None)
    assert [request.partition_key for request in result.run_requests or []] == ["good"]


@pytest.mark.slow
def test_ten_thousand_inputs_fit_one_tick(pipeline: PipelineResource, folder: Path) -> None:
    n_inputs, most_s = 10_000, 30.0  # half of the time that Dagster gives a sensor
    for index in range(n_inputs):
        (folder / f"{index:05d}.png").write_bytes(b"x")
        (folder / f"{index:05d}.wav").write_bytes(b"x")
    with dg.DagsterInstance.ephemeral() as instance:
        started_at = time.monotonic()
        result = evaluate(pipeline, instance, None)
        took_s = time.monotonic() - started_at
    assert len(result.run_requests or []) == 20
    assert took_s < most_s
