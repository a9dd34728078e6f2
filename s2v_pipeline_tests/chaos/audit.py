"""What must be true after the faults: same videos, nothing made twice, nothing left.

Belongs here: comparing and looking. Does not belong here: assertions (the tests make them), faults.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.defs.instance import GENERATOR_POOL
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import Project
from s2v_pipeline.video.essence import Essence, read_essence
from s2v_pipeline_tests.chaos.ledger import CHUNK_ASSETS

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def video_of(store: ArtifactStore, name: str) -> Essence:
    """Packets of the delivered video; its file's bytes differ by the signature's time alone."""
    return read_essence(store.read_path("final_videos", name, f"{name}.mp4"))


def chunks_of(store: ArtifactStore, name: str) -> dict[str, list[str]]:
    """SHA-256 of every chunk's content that the manifests name, by asset."""
    found = {}
    for asset in CHUNK_ASSETS:
        manifest = load_value(store, asset, name)
        assert isinstance(manifest, ChunkManifest)
        found[asset] = [file_sha256(store.path(asset, name, chunk.part)) for chunk in manifest.chunks]
    return found


def left_files(root: Path) -> list[str]:
    """Temporary files and folders in the store."""
    return sorted(str(path.relative_to(root)) for path in root.rglob(".*"))


def unfinished_runs(project: Project) -> list[str]:
    """Runs that Dagster believes to be in progress; opening the instance closes those of dead processes."""
    with project.instance() as instance:
        return [f"{run.run_id} {run.status.value}" for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))]


def taken_slots(project: Project) -> int:
    """Slots of the generator's pool that somebody holds."""
    with project.instance() as instance:
        info = instance.event_log_storage.get_concurrency_info(GENERATOR_POOL)
        return info.active_slot_count
