"""What the cache promises: the same bytes back or nothing, from every kind of store and with several writers."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import fsspec
import pytest

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.cache.chunk_cache import ChunkCache, cache_of
from s2v_pipeline.cache_settings import CacheSettings
from s2v_pipeline.errors import SettingsError
from s2v_pipeline_tests.cache.conftest import content_objects, keep, object_path

KIND = "chunk_latents"
CONTENT = bytes(range(256)) * 300


def test_what_was_kept_comes_back_with_what_made_it(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    copy = tmp_path / "copy"
    entry = pickle.loads(pickle.dumps(cache)).fetch(KIND, key, copy)  # noqa: S301
    assert entry is not None
    assert copy.read_bytes() == CONTENT
    assert (entry.made_by, dict(entry.sources), entry.size_bytes) == ("test 1", {"portrait": "aa"}, len(CONTENT))


def test_what_was_not_kept_is_not_there(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    assert cache.fetch(KIND, content_key({"name": "b"}), tmp_path / "copy") is None
    assert cache.fetch("rendered_clips", key, tmp_path / "copy") is None
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "lost", "record"])
def test_a_damaged_entry_is_removed_and_never_used(
    cache: ChunkCache, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    filesystem, _ = fsspec.core.url_to_fs(cache.url)
    (content,) = content_objects(cache)
    if damage == "flip":
        filesystem.pipe_file(content, CONTENT[:1000] + b"\xff" + CONTENT[1001:])
    elif damage == "cut":
        filesystem.pipe_file(content, CONTENT[:-1])
    elif damage == "lost":
        filesystem.rm_file(content)
    else:
        filesystem.pipe_file(object_path(cache, ".json"), b'{"kind": "chunk_latents"}')
    copy = tmp_path / "copy"
    assert cache.fetch(KIND, key, copy) is None
    assert not copy.exists()
    assert "is damaged" in caplog.text
    assert not [each for each in filesystem.find(fsspec.core.url_to_fs(cache.url)[1]) if each.endswith(".json")]
    keep(cache, tmp_path, "a", CONTENT)
    assert cache.fetch(KIND, key, copy) is not None
    assert copy.read_bytes() == CONTENT


def test_a_record_of_another_entry_is_not_believed(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    filesystem, _ = fsspec.core.url_to_fs(cache.url)
    path = object_path(cache, ".json")
    document = json.loads(filesystem.cat_file(path))
    filesystem.pipe_file(path, json.dumps({**document, "key": "f" * 64}).encode())
    assert cache.fetch(KIND, key, tmp_path / "copy") is None


def test_a_writer_that_died_before_its_record_left_nothing_to_see(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    filesystem, _ = fsspec.core.url_to_fs(cache.url)
    filesystem.rm_file(object_path(cache, ".json"))
    assert cache.fetch(KIND, key, tmp_path / "copy") is None


def test_two_contents_of_one_key_do_not_mix(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", CONTENT)
    keep(cache, tmp_path, "a", CONTENT[::-1])
    assert len(content_objects(cache)) == 2
    assert cache.fetch(KIND, key, tmp_path / "copy") is not None
    assert (tmp_path / "copy").read_bytes() == CONTENT[::-1]


def _write_and_read(url: str, folder: str, number: int) -> str:
    """In a process of its own: keep and fetch one key again and again; what went wrong, '' where nothing did."""
    cache = ChunkCache(url, patience_s=5)
    own = Path(folder) / str(number)
    own.mkdir()
    # Each writer has bytes of its own under the same key, of another length: a mixture would be seen.
    allowed = {bytes([each]) * (50_000 + each) for each in range(4)}
    for turn in range(15):
        key = keep(cache, own, "shared", bytes([number]) * (50_000 + number))
        copy = own / f"copy{turn}"
        if cache.fetch(KIND, key, copy) is None:
            return f"turn {turn}: nothing, or damaged"
        if copy.read_bytes() not in allowed:
            return f"turn {turn}: bytes that nobody wrote"
    return ""


def test_four_processes_keep_and_fetch_one_key_at_once(tmp_path: Path) -> None:
    url = str(tmp_path / "cache")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        outcomes = pool.starmap(_write_and_read, [(url, str(tmp_path), number) for number in range(4)])
    assert outcomes == [""] * 4
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_the_settings_name_the_place(tmp_path: Path) -> None:
    assert cache_of(CacheSettings(), tmp_path) is None
    own = cache_of(CacheSettings(url="data/cache", max_gb=0.5), tmp_path)
    assert own == ChunkCache(str(tmp_path / "data" / "cache"), 500_000_000, 30.0)
    assert cache_of(CacheSettings(url="memory://x"), tmp_path) == ChunkCache("memory://x", 50_000_000_000, 30.0)
    with pytest.raises(SettingsError, match="nothing-opens-this"):
        cache_of(CacheSettings(url="nothing-opens-this://x"), tmp_path)
