"""A cache's size and soundness: what goes first, how far down, what is found damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fsspec
import pytest

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.cache import upkeep
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.cache.layout import READ_SUFFIX, Reads, stem
from s2v_pipeline.cache.upkeep import info_of, prune, prune_now_and_then, size_of, verify
from s2v_pipeline_tests.cache.conftest import content_objects, keep

KIND = "chunk_latents"


def read_at(cache: ChunkCache, key: str, seconds_ago: float) -> None:
    cache.objects.write(stem(KIND, key) + READ_SUFFIX, Reads(time.time() - seconds_ago, 1).to_json())


def is_there(cache: ChunkCache, name: str, folder: Path) -> bool:
    return cache.fetch(KIND, content_key({"name": name}), folder / f"copy of {name}") is not None


def test_the_least_recently_read_make_room(cache: ChunkCache, tmp_path: Path) -> None:
    keys = [keep(cache, tmp_path, str(number), bytes(10_000)) for number in range(10)]
    for number, key in enumerate(keys):
        read_at(cache, key, seconds_ago=1000 - number)
    assert cache.fetch(KIND, keys[0], tmp_path / "copy") is not None  # now the most recently read
    _, size_bytes = size_of(cache)
    pruned = prune(cache, max_bytes=size_bytes // 2)
    n_left, left_bytes = size_of(cache)
    assert left_bytes == pruned.left_bytes <= 0.9 * size_bytes // 2 < left_bytes + 11_000
    assert n_left == 10 - pruned.n_removed
    there = [is_there(cache, str(number), tmp_path) for number in range(10)]
    assert there == [True] + [False] * pruned.n_removed + [True] * (9 - pruned.n_removed)


def test_nothing_goes_while_all_fits(cache: ChunkCache, tmp_path: Path) -> None:
    keep(cache, tmp_path, "a", bytes(1000))
    assert prune(cache).n_removed == prune(cache, max_bytes=100_000).n_removed == 0


def test_the_old_go_whatever_the_size(cache: ChunkCache, tmp_path: Path) -> None:
    old, young = (keep(cache, tmp_path, name, bytes(1000)) for name in ("old", "young"))
    read_at(cache, old, 3000)
    read_at(cache, young, 10)
    assert prune(cache, older_than_s=2000).n_removed == 1
    assert [is_there(cache, name, tmp_path) for name in ("old", "young")] == [False, True]


def test_writers_keep_the_bound_and_look_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ChunkCache(str(tmp_path / "cache"), max_bytes=60_000)
    monkeypatch.setattr(upkeep, "PRUNE_INTERVAL_S", 0.0)
    for number in range(20):
        keep(cache, tmp_path, str(number), bytes(10_000))
        prune_now_and_then(cache)
        assert size_of(cache)[1] <= 60_000
    monkeypatch.setattr(upkeep, "PRUNE_INTERVAL_S", 60.0)
    for number in range(3):
        keep(cache, tmp_path, f"more {number}", bytes(30_000))
        assert prune_now_and_then(cache) is None
    upkeep._looked_at.clear()  # as in another process, which finds in the cache that somebody looked just now
    assert prune_now_and_then(cache) is None
    assert size_of(cache)[1] > 60_000


def test_info_counts(cache: ChunkCache, tmp_path: Path) -> None:
    key = keep(cache, tmp_path, "a", bytes(1000))
    keep(cache, tmp_path, "b", bytes(1000), kind="rendered_clips")
    for number in range(3):
        cache.fetch(KIND, key, tmp_path / f"copy{number}")
    info = info_of(cache)
    assert (info.n_entries, info.n_hits) == ({"chunk_latents": 1, "rendered_clips": 1}, 3)
    assert 2000 < info.size_bytes < 4000
    assert 0 <= info.oldest_read_s < 60


def test_verification_finds_and_removes_what_is_damaged_alone(cache: ChunkCache, tmp_path: Path) -> None:
    keys = [keep(cache, tmp_path, name, name.encode() * 500) for name in ("sound", "damaged")]
    filesystem, _ = fsspec.core.url_to_fs(cache.url)
    (broken,) = (path for path in content_objects(cache) if keys[1] in path)
    filesystem.pipe_file(broken, b"damaged" * 499 + b"DAMAGED")
    faults = {key: fault for _, key, fault in verify(cache)}
    assert faults[keys[0]] == ""
    assert "SHA-256" in faults[keys[1]]
    assert [key for _, key, _ in verify(cache)] == [keys[0]]


def test_what_a_dead_writer_left_goes_after_an_hour(tmp_path: Path) -> None:
    cache = ChunkCache(str(tmp_path / "cache"))
    keep(cache, tmp_path, "a", bytes(1000))
    folder = Path(content_objects(cache)[0]).parent
    young, old = folder / ".tmp-young", folder / ".tmp-old"
    for path in (young, old):
        path.write_bytes(bytes(500))
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    assert prune(cache).removed_bytes == 500
    assert (young.exists(), old.exists()) == (True, False)
    assert size_of(cache)[0] == 1
