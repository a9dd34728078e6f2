"""The undisturbed videos that all chaos tests compare with; each is made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline_tests.chaos import slow_chained
from s2v_pipeline_tests.chaos.runs import Wanted, make_undisturbed


@pytest.fixture(scope="session")
def chained_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return _undisturbed(tmp_path_factory, Wanted("anna", slow_chained.NAME))


@pytest.fixture(scope="session")
def portrait_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return _undisturbed(tmp_path_factory, Wanted("clara", "portrait"))


def _undisturbed(tmp_path_factory: pytest.TempPathFactory, wanted: Wanted) -> ArtifactStore:
    """Made now, or taken from the folder that CHAOS_UNDISTURBED names, where an earlier session made it."""
    kept = os.environ.get("CHAOS_UNDISTURBED")
    if kept is None:
        return make_undisturbed(tmp_path_factory.mktemp("undisturbed"), wanted)
    folder = Path(kept) / wanted.generator
    store = ArtifactStore(folder / "data" / "artifacts")
    return (
        store if store.path("final_videos", wanted.name, "manifest.json").exists() else make_undisturbed(folder, wanted)
    )
