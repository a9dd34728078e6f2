"""An interrupt ends a run wherever it comes, and is not tried again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from s2v_pipeline.api import command_source
from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.defs.io_manager import StoreIOManager
from s2v_pipeline.defs.launch import Project, register, run_here
from s2v_pipeline.defs.running import COUNTING_INTERVAL_S, INTERRUPT_CAME, frames_counted
from s2v_pipeline.progress_bars import PROGRESS_LOGGER


@pytest.fixture
def project(project_dir: Path) -> Iterator[Project]:
    (project_dir / "s2v.toml").write_text(
        '[video]\nwidth_px = 192\nheight_px = 192\n[cluster]\nexecutor = "in_process"\n'
    )
    yield Project(project_dir)
    INTERRUPT_CAME.clear()
    os.environ.pop("DAGSTER_HOME", None)


@pytest.mark.parametrize("is_lost", [False, True])
def test_an_interrupt_while_a_value_is_stored_ends_the_run(
    project: Project, sample: Path, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """Also where Python ignores the exception, as in a destructor: what remains is that it came."""
    stored: list[str] = []
    store = StoreIOManager.handle_output

    def interrupted(self: StoreIOManager, context: dg.OutputContext, obj: object) -> None:
        stored.append(context.asset_key.to_user_string())
        if stored == ["speech_inputs", "audio_features"]:
            if not is_lost:
                raise KeyboardInterrupt
            INTERRUPT_CAME.set()
        store(self, context, obj)

    monkeypatch.setattr(StoreIOManager, "handle_output", interrupted)
    source = command_source(
        sample / "portrait.png", sample / "speech.wav", prompt="", transcript=None, settings={}, name="sample"
    )
    with project.instance() as instance:
        (input_id,) = register(project, instance, [source])
        with pytest.raises(KeyboardInterrupt):
            run_here(project, instance, input_id, way_in="test")
        (run,) = instance.get_runs()
        assert run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    assert stored == ["speech_inputs", "audio_features"]


def test_frames_are_reported_while_workers_count_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = cast("dg.AssetExecutionContext", SimpleNamespace(asset_key=dg.AssetKey("rendered_clips")))
    store = ArtifactStore(tmp_path / "artifacts")
    with caplog.at_level(logging.INFO, PROGRESS_LOGGER), frames_counted(context, store, [3, 2]) as (first, second):
        with first.counting() as on_frame:
            on_frame()
            time.sleep(3 * COUNTING_INTERVAL_S)
            on_frame()
            on_frame()
        second.fill(2)
    reports = [(record.__dict__["n_done"], record.__dict__["n_total"]) for record in caplog.records]
    assert reports[0] == (0, 5)
    assert (1, 5) in reports
    assert reports[-1] == (5, 5)
    assert {record.__dict__["stage"] for record in caplog.records} == {"rendered_clips"}
    assert list(store.root.iterdir()) == []


def test_the_count_ends_with_what_was_counted(tmp_path: Path) -> None:
    context = cast("dg.AssetExecutionContext", SimpleNamespace(asset_key=dg.AssetKey("rendered_clips")))
    store = ArtifactStore(tmp_path / "artifacts")
    with pytest.raises(ValueError, match="a worker failed"), frames_counted(context, store, [3]):
        raise ValueError("a worker failed")
    assert list(store.root.iterdir()) == []
