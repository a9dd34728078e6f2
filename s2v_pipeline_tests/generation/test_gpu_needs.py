"""Notes on what chunks took of GPUs: how they add up, their files, and which one counts where."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from s2v_pipeline.generation.gpu_needs import GIB, GpuNote, GpuNotes, needs_on
from s2v_pipeline_tests.conftest import REPOSITORY

H100 = GpuNote("NVIDIA H100 80GB HBM3", "none", 50 * GIB, 51 * GIB, 79 * GIB, s_per_frame=0.5, estimated_bytes=52 * GIB)
L40 = GpuNote("NVIDIA L40", "none", 45 * GIB, 46 * GIB, 44 * GIB, s_per_frame=2.0, estimated_bytes=52 * GIB)


def test_news_add_up(tmp_path: Path) -> None:
    notes = GpuNotes(tmp_path / "needs")
    assert notes.of("a") == ()
    notes.add("a", H100)
    notes.add("a", replace(H100, held_bytes=48 * GIB, took_bytes=49 * GIB, s_per_frame=0.4))
    notes.add("a", L40)
    notes.add("b", replace(H100, way="layers"))
    assert notes.of("a") == (replace(H100, s_per_frame=0.4), L40)
    notes.add("a", GpuNote(L40.gpu, L40.way, short_bytes=45 * GIB, estimated_bytes=52 * GIB))
    assert notes.of("a")[1] == replace(L40, short_bytes=45 * GIB)
    assert [path.suffix for path in (tmp_path / "needs").rglob("*") if path.is_file()] == [".json"] * 3


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    notes = GpuNotes(tmp_path)
    notes.add("a", H100)
    (path,) = tmp_path.rglob("*.json")
    before = path.stat()
    notes.add("a", replace(H100, took_bytes=1, held_bytes=1, s_per_frame=0.499))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_same_kind_counts_before_others() -> None:
    both = (H100, L40)
    assert needs_on(H100.gpu, both)["none"].n_bytes == 51 * GIB
    # It held more than the card has by the sum of both figures: the card was enough all the same.
    assert needs_on(L40.gpu, both)["none"].n_bytes == 44 * GIB
    assert needs_on("NVIDIA A100", both)["none"].n_bytes == 51 * GIB
    assert needs_on("NVIDIA A100", ()) == {}


def test_memory_that_was_not_enough_raises_the_need_everywhere() -> None:
    short = replace(L40, short_bytes=45 * GIB)
    assert needs_on(L40.gpu, (H100, short))["none"].n_bytes == 45 * GIB
    need = needs_on(H100.gpu, (H100, short))["none"]
    assert (need.n_bytes, need.short_bytes) == (51 * GIB, 45 * GIB)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"gpu": "x"}', '{"gpu": "x", "way": "none", "took_bytes": -1}', '{"other": 1}', "\0"]
)
def test_a_damaged_note_is_said_and_replaced(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = GpuNotes(tmp_path)
    notes.add("a", H100)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(content)
    assert notes.of("a") == ()
    assert "is not read" in caplog.text
    notes.add("a", L40)
    notes.add("a", H100)
    assert set(notes.of("a")) == {H100, L40}


def test_a_disk_that_takes_nothing_costs_no_chunk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "needs").write_text("a file where the folder should be")
    notes = GpuNotes(tmp_path / "needs")
    notes.add("a", H100)
    notes.add("a", H100)
    assert notes.of("a") == ()
    assert caplog.text.count("is not noted") == 1


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from s2v_pipeline.generation.gpu_needs import GpuNote, GpuNotes
notes = GpuNotes(Path(sys.argv[1]))
for number in range(40):
    notes.add("a", GpuNote("x", "none", 1, 1000 * number + int(sys.argv[2]), 9))
    assert len(notes.of("a")) == 1, "a reader never meets half a file"
"""


def test_writers_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)], cwd=REPOSITORY)
        for number in range(2)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    (note,) = GpuNotes(tmp_path).of("a")
    assert note.took_bytes >= 39_000
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert json.loads(path.read_text())["gpu"] == "x"
