"""Chunk files in the artifacts that no video needs any more: those of earlier settings, transcripts and sounds.

Belongs here: telling them from files that something may still need. Does not belong here: the chunk cache (cache).

A file goes when the manifest of its input and asset was written after it and does not name it. What is younger than its
manifest belongs to a run that has not come to its end, or failed and will go on from it. Inputs with a run that waits
or works are left alone, as are those without a readable manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from s2v_pipeline.artifacts import PROVENANCE_SUFFIX, ArtifactStore
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.tasks import CLIPS_ASSET, LATENTS_ASSET
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.resources import PARTITION_TAG
from s2v_pipeline.defs.values import MANIFEST_PART
from s2v_pipeline.errors import ArtifactError

CHUNK_SUFFIXES = (".safetensors", ".mp4")
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class UnusedFile:
    """A chunk's file that no manifest names."""

    asset: str
    input_id: str
    part: str
    size_bytes: int


@dataclass(frozen=True)
class UnusedChunks:
    """What may go, and input -> why nothing of it may."""

    files: tuple[UnusedFile, ...]
    left_alone: dict[str, str]


def unused_chunks(store: ArtifactStore, instance: dg.DagsterInstance) -> UnusedChunks:
    """Files of chunk_latents and rendered_clips that nothing needs.

    Raises:
        ArtifactError: an artifact's disk cannot be read.
    """
    busy = {run.tags.get(PARTITION_TAG, "") for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))}
    files: list[UnusedFile] = []
    left_alone: dict[str, str] = {}
    for asset in (LATENTS_ASSET, CLIPS_ASSET):
        for folder in sorted(path for path in (store.root / asset).glob("*") if path.is_dir()):
            input_id = folder.name
            if input_id in busy:
                left_alone[input_id] = "a run of it waits or works"
                continue
            try:
                manifest = load_value(store, asset, input_id)
            except ArtifactError as error:
                left_alone[input_id] = f"{asset} has no manifest that can be read: {error.got}"
                continue
            if not isinstance(manifest, ChunkManifest):
                raise TypeError(f"{asset} holds a ChunkManifest; got {type(manifest).__name__}")
            named = {chunk.part for chunk in manifest.chunks}
            written_ns = store.path(asset, input_id, MANIFEST_PART).stat().st_mtime_ns
            for path in sorted(folder.iterdir()):
                status = path.stat()
                is_chunk = path.suffix in CHUNK_SUFFIXES and not path.name.startswith(".")
                if is_chunk and path.name not in named and status.st_mtime_ns < written_ns:
                    record = path.with_name(path.name + PROVENANCE_SUFFIX)
                    record_bytes = record.stat().st_size if record.is_file() else 0
                    files.append(UnusedFile(asset, input_id, path.name, status.st_size + record_bytes))
    return UnusedChunks(tuple(files), left_alone)


def remove_unused(store: ArtifactStore, files: Sequence[UnusedFile]) -> None:
    """Delete files and their records.

    Raises:
        ArtifactError: the disk may not be written.
    """
    for each in files:
        store.remove(each.asset, each.input_id, each.part)
