"""Lengths that headers state."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.inputs.sound_header import mp3_states_length, riff_part_present
from s2v_pipeline_tests.inputs.sound_files import cut, encode, noise, write_wav


def part_present(content: bytes) -> float | None:
    return riff_part_present(io.BytesIO(content))


def test_whole_and_cut_wav(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.ones((1, 978), np.int16), 8_000)  # 44 + 1956 = 2000 bytes
    assert part_present(path.read_bytes()) == 1.0
    assert part_present(path.read_bytes()[:1022]) == 0.5
    assert part_present(path.read_bytes() + b"LIST\4\0\0\0abcd") == 1.0


def test_chunks_before_the_sound_are_passed(tmp_path: Path) -> None:
    content = write_wav(tmp_path / "a.wav", np.ones((1, 500), np.int16), 8_000).read_bytes()
    odd = b"junk" + struct.pack("<I", 5) + b"data!" + b"\0"  # padded to an even length
    assert part_present(content[:12] + odd + content[12:-500]) == 0.5


@pytest.mark.parametrize("stated", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_lengths_that_mean_unknown(tmp_path: Path, stated: int) -> None:
    path = write_wav(tmp_path / "a.wav", np.ones((1, 500), np.int16), 8_000, data_bytes=stated)
    assert part_present(path.read_bytes()) is None


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVE" + b"x" * 5000])
def test_headers_without_sound(content: bytes) -> None:
    assert part_present(content) in (None, 1.0)


def test_rf64_and_avi(tmp_path: Path) -> None:
    rf64 = encode(tmp_path / "a.wav", "pcm_s16le", noise(44_100), 44_100, options={"rf64": "always"})
    assert rf64.read_bytes()[:4] == b"RF64"
    assert part_present(rf64.read_bytes()) == 1.0
    assert part_present(cut(rf64, 0.5).read_bytes()) == pytest.approx(0.5, abs=0.01)
    avi = encode(tmp_path / "a.avi", "libmp3lame", noise(44_100), 44_100)
    assert part_present(avi.read_bytes()) == 1.0
    assert part_present(cut(avi, 0.5).read_bytes()) == pytest.approx(0.5, abs=0.01)


def test_mp3_headers(tmp_path: Path) -> None:
    stated = encode(tmp_path / "a.mp3", "libmp3lame", noise(44_100), 44_100).read_bytes()
    assert mp3_states_length(io.BytesIO(stated))
    tag = b"ID3\4\0\0" + bytes([0, 1, 0, 0]) + bytes(1 << 14)  # a picture of 16 KiB, say
    assert mp3_states_length(io.BytesIO(tag + stated[stated.index(b"\xff\xfb") :]))
    plain = encode(tmp_path / "b.mp3", "libmp3lame", noise(44_100), 44_100, options={"write_xing": "0"}).read_bytes()
    assert not mp3_states_length(io.BytesIO(plain))
    assert not mp3_states_length(io.BytesIO(b"ID3"))
