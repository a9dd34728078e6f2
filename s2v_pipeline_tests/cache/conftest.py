"""Caches of every kind of store that can be had here, each empty."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from s2v_pipeline.artifacts import Provenance, content_key, file_sha256
from s2v_pipeline.cache import patience, upkeep
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline_tests.cache import failing_store

Kept = Callable[[ChunkCache, str, bytes], str]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No memory of failures or prunings of other tests, and no objects in stores that live in this process."""

    def forget() -> None:
        patience.forget_rests()
        upkeep._looked_at.clear()
        failing_store.set_failures()
        for kind in (fsspec.get_filesystem_class("memory"), failing_store.ShakyFileSystem):
            kind.store.clear()
            kind.pseudo_dirs[:] = [""]

    failing_store.register()
    forget()
    yield
    forget()


@pytest.fixture(params=["folder", "file", "memory", pytest.param("s3", marks=pytest.mark.soak)])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> ChunkCache:
    """An empty cache in a folder, under a file:// URL, in an object store, behind S3's protocol."""
    urls = {
        "folder": lambda: str(tmp_path / "cache"),
        "file": lambda: (tmp_path / "cache").as_uri(),
        "memory": lambda: "memory://bucket/cache",
        "s3": lambda: f"s3://{request.getfixturevalue('s3_bucket')}/cache",
    }
    return ChunkCache(urls[request.param](), patience_s=5)


@pytest.fixture
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server on this machine that speaks S3's protocol (`pip install s3fs moto[s3,server]`)."""
    moto = pytest.importorskip("moto.server", reason="a server of S3's protocol is needed: pip install moto[s3,server]")
    s3fs = pytest.importorskip("s3fs", reason="fsspec's client of S3 is needed: pip install s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", host)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"s2v-{uuid.uuid4().hex}"  # the server's buckets outlive it in this process
    s3fs.S3FileSystem().mkdir(bucket)
    yield bucket
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def shaky() -> ChunkCache:
    """A cache in a store that can fail, with little patience."""
    return ChunkCache(f"{failing_store.PROTOCOL}://bucket/cache", patience_s=0.6)


def keep(cache: ChunkCache, folder: Path, name: str, content: bytes, kind: str = "chunk_latents") -> str:
    """Keep a file under a key made of a name; the key."""
    path = folder / f"{name}.bin"
    path.write_bytes(content)
    key = content_key({"name": name})
    cache.keep(
        kind,
        path,
        Provenance(file_sha256(path), len(content), key, "test 1", "2026-01-01T00:00:00+00:00", {"portrait": "aa"}),
    )
    return key


def object_path(cache: ChunkCache, ending: str) -> str:
    """The one object whose name ends so; as fsspec names it."""
    filesystem, root = fsspec.core.url_to_fs(cache.url)
    (path,) = (each for each in filesystem.find(root) if each.endswith(ending))
    return str(path)


def content_objects(cache: ChunkCache) -> list[str]:
    """Objects that hold bytes of entries."""
    filesystem, root = fsspec.core.url_to_fs(cache.url)
    return [each for each in filesystem.find(root) if not each.endswith((".json", ".read", "last_prune"))]
