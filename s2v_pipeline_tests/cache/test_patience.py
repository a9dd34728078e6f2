"""A store that fails: asked again for a while, then left alone, and no answer taken for a miss."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from s2v_pipeline.cache import patience
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.cache.objects import shown_url
from s2v_pipeline.errors import CacheError
from s2v_pipeline_tests.cache import failing_store
from s2v_pipeline_tests.cache.conftest import keep


def test_a_hiccup_is_waited_for(shaky: ChunkCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.02)
    key = keep(shaky, tmp_path, "a", b"content")
    failing_store.set_failures(3)
    assert shaky.fetch("chunk_latents", key, tmp_path / "copy") is not None
    assert (tmp_path / "copy").read_bytes() == b"content"


@pytest.mark.parametrize("hangs_s", [0.0, 5.0])
def test_a_store_that_stays_away_is_left_alone_after_a_while(shaky: ChunkCache, tmp_path: Path, hangs_s: float) -> None:
    key = keep(shaky, tmp_path, "a", b"content")
    failing_store.set_failures(float("inf"), hangs_s=hangs_s)
    started_at = time.monotonic()
    with pytest.raises(CacheError, match="must answer"):
        shaky.fetch("chunk_latents", key, tmp_path / "copy")
    assert time.monotonic() - started_at < 1.5
    failing_store.set_failures()
    with pytest.raises(CacheError, match="left alone"):  # though it would answer now
        shaky.fetch("chunk_latents", key, tmp_path / "copy")
    assert failing_store.ShakyFileSystem.n_calls == 0
    patience.forget_rests()
    assert shaky.fetch("chunk_latents", key, tmp_path / "copy") is not None


def test_no_password_stands_in_a_message() -> None:
    assert shown_url("ftp://anna:secret@host/cache") == "ftp://…@host/cache"
    assert shown_url("s3://bucket/a@b") == "s3://bucket/a@b"


def test_what_asking_again_cannot_mend_is_not_asked_again(shaky: ChunkCache, tmp_path: Path) -> None:
    failing_store.set_failures(float("inf"), error=PermissionError)
    for _ in range(2):  # and the store is asked the next time: others may be allowed
        with pytest.raises(CacheError, match="PermissionError"):
            keep(shaky, tmp_path, "a", b"content")
    assert failing_store.ShakyFileSystem.n_calls == 2
