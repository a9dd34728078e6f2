"""A sound stays at its time through codecs and containers: some rows of the benchmark, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.decode_offset import CASES, measure

ROWS = {case.name: case for case in CASES}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.wav", None),
        ("alac.caf", None),
        ("a.mp3", "the first 23.0 ms, an encoder's delay"),
        ("plain.mp3", "does not state its encoder's delay"),
        ("aac.m4a", "the first 21.3 ms, an encoder's delay"),
        ("a.aac", "does not state its encoder's delay"),
        ("a.opus", "the first 6.5 ms, an encoder's delay"),
        ("vorbis.ogg", "an encoder's delay"),
        ("edited.m4a", "the first 121.3 ms, an encoder's delay or what an edit list leaves out"),
        ("later.mp4", "after the picture: as much silence stands before it"),
        ("later.mkv", "the sound starts 0.500 s after the picture"),
        ("laterpcm.mov", "the sound starts 0.500 s after the picture"),
    ],
)
def test_sound_stays_at_its_time(tmp_path: Path, name: str, says: str | None) -> None:
    row = measure(ROWS[name], 48_000, ROWS[name].channels[-1], tmp_path)
    assert row.is_kept, row.text()
    assert row.correlation > 0.98
    if says is None:
        assert row.info.notes == ()
    else:
        assert any(says in note for note in row.info.notes), row.info.notes
