"""Names of temporary files say whose they are; those of dead processes go, all others stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.temporaries import is_left_over, remove_left_over, temporary_prefix

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from s2v_pipeline.artifacts import ArtifactStore
def write(path):
    path.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
ArtifactStore(Path(sys.argv[1])).write("rendered_clips", "anna", "clip.mp4", write, key="k", made_by="test")
"""


def _write(path: Path) -> None:
    path.write_bytes(b"all of it")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    for input_id in ("anna", "berta"):
        store.write("rendered_clips", input_id, "whole.mp4", _write, key="k", made_by="test")
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path)], check=False)
    assert killed.returncode < 0
    folder = tmp_path / "rendered_clips" / "anna"
    (left,) = folder.glob(".*")
    assert left.read_bytes() == b"half of it"
    dead = left.name.rsplit("-", 1)[0]
    (tmp_path / f"{dead}-frames").mkdir()
    mine = folder / f"{temporary_prefix()}mine.mp4"
    mine.write_bytes(b"still being written")
    foreign = folder / ".someone-elses"
    foreign.touch()

    assert store.remove_left_over("berta") == [tmp_path / f"{dead}-frames"]
    assert store.remove_left_over("anna") == [left]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [mine.name, foreign.name, "whole.mp4", "whole.mp4.provenance.json"]
    )
    assert remove_left_over(tmp_path / "nowhere") == []


@pytest.mark.parametrize("change", ["host", "process", "start"])
def test_only_a_process_of_this_host_can_be_told_dead(change: str) -> None:
    host, process, started_at, rest = f"{temporary_prefix()}x.mp4".split("-")
    assert process == str(os.getpid())
    changed = {
        "host": f".00000000-999999999-{started_at}-{rest}",
        "process": f"{host}-999999999-{started_at}-{rest}",
        "start": f"{host}-{process}-1-{rest}",  # the number was given to another process
    }
    assert not is_left_over("-".join((host, process, started_at, rest)))
    assert is_left_over(changed[change]) is (change != "host")
