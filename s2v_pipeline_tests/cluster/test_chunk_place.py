"""Chunks and the cache: what is found there is not made again, and a cache that is away stops nobody."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.clip_encoding import ClipEncoding
from s2v_pipeline.cluster.chunk_place import CACHE_SOURCE, NOT_READ, NOT_WRITTEN
from s2v_pipeline.cluster.tasks import GenerateChunk, RenderClip
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline_tests.cache import failing_store
from s2v_pipeline_tests.cache.conftest import content_objects
from s2v_pipeline_tests.cluster.test_tasks import Ramp, chain, chained_tasks

SPEC = GeneratorSpec("ramp")


@pytest.fixture
def cache(tmp_path: Path) -> ChunkCache:
    return ChunkCache(str(tmp_path / "cache"), patience_s=2)


def make(request: ChunkRequest, store: ArtifactStore, cache: ChunkCache | None) -> tuple[ChunkFile, ChunkFile]:
    """Latents and clip of one chunk, as a run makes them."""
    latents = GenerateChunk(SPEC, request, store, cache=cache).run()
    return latents, RenderClip(SPEC, request, latents, ClipEncoding(VideoSettings()), store, cache=cache).run()


def bytes_of(store: ArtifactStore, input_id: str, files: tuple[ChunkFile, ChunkFile]) -> list[bytes]:
    assets = ("chunk_latents", "rendered_clips")
    return [store.read_path(asset, input_id, file.part).read_bytes() for asset, file in zip(assets, files, strict=True)]


def test_lost_artifacts_come_back_from_the_cache(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    first = make(request_, store, cache)
    assert [(file.made, file.cached, file.origin) for file in first] == [(True, False, "made")] * 2
    before = bytes_of(store, "anna", first)
    shutil.rmtree(store.root)
    again = make(request_, store, cache)
    assert [(file.made, file.cached, file.origin) for file in again] == [(False, True, "found in cache")] * 2
    assert bytes_of(store, "anna", again) == before
    assert (ramp.n_generated, ramp.n_decoded) == (1, 1)
    record = store.provenance("rendered_clips", "anna", again[1].part)
    assert record is not None
    assert record.sources == {"chunk_latents": first[0].key, "encoder": "libx264", CACHE_SOURCE: record.sha256}
    found = make(request_, store, cache)
    assert [file.origin for file in found] == ["found"] * 2
    assert sorted(path.name for path in store.root.rglob(".*")) == []


def test_another_input_of_the_same_content_needs_nothing_made(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    make(request_, store, cache)
    files = make(replace(request_, input_id="berta"), store, cache)
    assert [file.origin for file in files] == ["found in cache"] * 2
    assert ramp.n_generated == 1
    files = make(replace(request_, input_id="clara", prompt="smiling"), store, cache)
    assert [file.origin for file in files] == ["made"] * 2


def test_what_a_gang_fetches_counts_as_found_in_the_cache(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    task = GenerateChunk(SPEC, request_, store, cache=cache)
    assert task.find() is None
    task.run()
    shutil.rmtree(store.root)
    # Rank 0 looks before the others are asked; what it found is the result.
    found, again = task.find(), task.find()
    assert found is not None
    assert again is not None
    assert [file.origin for file in (found, again)] == ["found in cache", "found"]
    assert dict(found.timings_s)["cache"] > 0
    assert ramp.n_generated == 1


def test_a_damaged_entry_is_made_again_and_kept(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    first = make(request_, store, cache)
    before = bytes_of(store, "anna", first)
    for path in map(Path, content_objects(cache)):
        path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(store.root)
    again = make(request_, store, cache)
    assert [file.origin for file in again] == ["made"] * 2
    assert bytes_of(store, "anna", again) == before
    shutil.rmtree(store.root)
    assert [file.origin for file in make(request_, store, cache)] == ["found in cache"] * 2


def test_a_longer_chain_takes_its_beginning_from_the_cache(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    for task in chained_tasks(ramp, chain(request_), store):
        replace(task, cache=cache).run()
    shutil.rmtree(store.root)
    files = [replace(task, cache=cache).run() for task in chained_tasks(ramp, chain(request_, 4), store)]
    # The third was the last one, without a carry; it and the new one are made, with the carry that the cache had.
    assert [file.origin for file in files] == ["found in cache", "found in cache", "made", "made"]


@pytest.mark.parametrize("hangs_s", [0.0, 3.0])
def test_a_cache_that_is_away_is_done_without_and_said(
    ramp: Ramp,
    store: ArtifactStore,
    request_: ChunkRequest,
    shaky: ChunkCache,
    hangs_s: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing_store.set_failures(float("inf"), hangs_s=hangs_s)
    with caplog.at_level(logging.WARNING):
        files = make(request_, store, shaky)
    assert [file.made for file in files] == [True, True]
    assert all({NOT_READ, NOT_WRITTEN} <= set(file.notes) for file in files)
    assert NOT_READ in caplog.text
    assert len(set(files[1].notes)) == len(files[1].notes)


def test_without_a_cache_nothing_of_it_is_touched(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    files = make(request_, store, None)
    assert [file.notes for file in files] == [(), ()]
    assert all("cache" not in dict(file.timings_s) for file in files)
    assert fsspec.get_filesystem_class("memory").store == {}
    assert sorted(path.name for path in store.root.parent.iterdir()) == ["artifacts", "framed.png"]


def test_the_time_of_a_task_is_told_by_its_parts(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, cache: ChunkCache
) -> None:
    latents, clip = make(request_, store, cache)
    assert {"generate", "write", "cache", "look_up"} <= set(dict(latents.timings_s))
    assert {"decode", "encode", "write", "cache"} <= set(dict(clip.timings_s))
    for file in (latents, clip):
        assert 0.5 * file.seconds_s < sum(seconds for _, seconds in file.timings_s) <= file.seconds_s + 0.01


def test_tries_without_an_end_are_counted_until_there_is_one(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = GenerateChunk(SPEC, request_, store)
    with monkeypatch.context() as patch:
        patch.setattr(Ramp, "generate", _fails)
        for _ in range(2):
            with pytest.raises(GenerationError):
                task.run()
    assert task.run().retries == 2
    assert task.run().retries == 0
    assert not list(store.root.rglob("*.tries"))


def _fails(*_: object) -> None:
    raise GenerationError("a", got="b", cure="c")
