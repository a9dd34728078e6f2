"""One real video, made once through the real graph on a real instance with a real local Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from s2v_pipeline.api import command_source
from s2v_pipeline.defs.launch import Project, RunOutcome, register, run_here

SOAK = (
    "test_a_killed_run_goes_on_from_its_last_chunk[wan_s2v-in_process]",
    "test_a_killed_run_goes_on_from_its_last_chunk[wan_s2v-ray]",
    "test_a_killed_run_goes_on_from_its_last_chunk[small-in_process]",
    "test_a_killed_worker_is_replaced_and_goes_on_with_the_carry[wan_s2v]",
    "test_on_ray_one_worker_makes_the_same_bytes[wan_s2v]",
)
"""Most take a minute or two, for processes that import torch; the small chained generator on Ray shows the same each
time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `scripts/run_marked_tests soak` runs in place of the full run."""
    for item in items:
        if item.name in SOAK:
            item.add_marker(pytest.mark.soak)


@dataclass(frozen=True)
class MadeSample:
    """The sample's video and how to look at it again."""

    project: Project
    instance: dg.DagsterInstance
    input_id: str
    outcome: RunOutcome


@pytest.fixture(scope="session")
def made_sample(session_project_dir: Path, sample: Path) -> Iterator[MadeSample]:
    """The committed sample, made once for all tests of this folder."""
    before = os.environ.pop("DAGSTER_HOME", None)
    project = Project(session_project_dir)
    with project.instance() as instance:
        source = command_source(
            sample / "portrait.png",
            sample / "speech.wav",
            prompt="calm",
            transcript=(sample / "transcript.txt").read_text(),
            settings={},
            name="sample",
        )
        (input_id,) = register(project, instance, [source])
        yield MadeSample(project, instance, input_id, run_here(project, instance, input_id, way_in="test"))
    os.environ.pop("DAGSTER_HOME", None)
    if before is not None:
        os.environ["DAGSTER_HOME"] = before
