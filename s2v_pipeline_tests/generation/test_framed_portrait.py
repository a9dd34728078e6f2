"""The framed portrait as every generator reads it: the right pixels, or the rule that was broken."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.framed_portrait import read_portrait
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.portrait_requests import request_for

PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def ask(folder: Path, content: bytes) -> ChunkRequest:
    path = folder / "portrait.png"
    path.write_bytes(content)
    portrait = FileRef(path, hashlib.sha256(content).hexdigest())
    return request_for(portrait, FrameSpan(0, 5), width_px=64, height_px=48)


def test_pixels(tmp_path: Path) -> None:
    found = read_portrait(ask(tmp_path, encoded(Image.fromarray(PIXELS))))
    assert found.dtype == np.uint8
    assert np.array_equal(found, PIXELS)
    assert read_portrait(ask(tmp_path, encoded(Image.fromarray(PIXELS).convert("L")))).shape == (48, 64, 3)


def test_another_size(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="must be 64x48; got 48x64"):
        read_portrait(ask(tmp_path, encoded(Image.fromarray(PIXELS.transpose(1, 0, 2)))))


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    asked = ask(tmp_path, encoded(Image.new("1", (30_000, 30_000))))
    with pytest.raises(GenerationError):
        read_portrait(asked)


def test_other_bytes_than_the_request_names(tmp_path: Path) -> None:
    asked = ask(tmp_path, encoded(Image.fromarray(PIXELS)))
    asked.portrait.path.write_bytes(encoded(Image.fromarray(255 - PIXELS)))
    with pytest.raises(GenerationError, match="bytes that the request names"):
        read_portrait(asked)


@pytest.mark.parametrize("n_kept", [0, 4, 40, 5000])
def test_damaged(n_kept: int, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(PIXELS))
    assert n_kept < len(content)
    with pytest.raises(GenerationError, match="must be a PNG"):
        read_portrait(ask(tmp_path, content[:n_kept]))


def test_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="must be a PNG"):
        read_portrait(ask(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG")))


def test_no_file_and_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(tmp_path, encoded(Image.fromarray(PIXELS)))
    monkeypatch.setattr("s2v_pipeline.generation.framed_portrait.MAX_PORTRAIT_BYTES", 100)
    with pytest.raises(GenerationError, match="at most 100 bytes"):
        read_portrait(asked)
    missing = replace(asked, portrait=FileRef(tmp_path / "none.png", asked.portrait.sha256))
    with pytest.raises(GenerationError, match=r"must be readable.*speech_inputs"):
        read_portrait(missing)
