"""The artifact store under crashes, damage and several writers at once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s2v_pipeline.artifacts import PROVENANCE_SUFFIX, ArtifactStore, atomic_path, content_key, file_sha256
from s2v_pipeline.errors import ArtifactError

PART = ("rendered_clips", "obama", "0001.mp4")
KEY = "key of everything"


def writer(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def write(store: ArtifactStore, content: bytes, key: str = KEY) -> Path:
    return store.write(*PART, writer(content), key=key, made_by="test 1", sources={"speech": "abc"})


def record_path(store: ArtifactStore) -> Path:
    path = store.path(*PART)
    return path.with_name(path.name + PROVENANCE_SUFFIX)


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".*")]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def test_what_was_removed_is_gone_with_its_record(store: ArtifactStore) -> None:
    path = write(store, b"pixels")
    store.remove(*PART)
    assert list(path.parent.iterdir()) == []
    store.remove(*PART)  # once more does no harm
    store.remove("rendered_clips", "nobody", "0001.mp4")
    with pytest.raises(ArtifactError, match="names in the artifact store"):
        store.remove("rendered_clips", "..", "0001.mp4")


def test_what_was_written_is_read_with_its_record(store: ArtifactStore) -> None:
    path = write(store, b"pixels")
    assert path == store.root / "rendered_clips" / "obama" / "0001.mp4"
    assert store.read_path(*PART).read_bytes() == b"pixels"
    record = store.provenance(*PART)
    assert record is not None
    assert record.sha256 == hashlib.sha256(b"pixels").hexdigest() == file_sha256(path)
    assert (record.size_bytes, record.key, record.made_by) == (6, KEY, "test 1")
    assert record.sources == {"speech": "abc"}
    assert record.made_at.endswith("+00:00")
    assert leftovers(store.root) == []


def test_holds_only_for_its_key(store: ArtifactStore) -> None:
    assert not store.holds(*PART, key=KEY)
    write(store, b"pixels")
    assert store.holds(*PART, key=KEY)
    assert not store.holds(*PART, key="another key")


def test_the_writer_sees_a_hidden_name_with_the_same_suffix(store: ArtifactStore) -> None:
    seen: list[Path] = []

    def write_and_note(path: Path) -> None:
        seen.append(path)
        path.write_bytes(b"x")

    store.write(*PART, write_and_note, key=KEY, made_by="test")
    assert seen[0].suffix == ".mp4"
    assert seen[0].name.startswith(".")
    assert seen[0].parent == store.path(*PART).parent


def test_a_crash_before_the_file_is_whole_leaves_nothing(store: ArtifactStore) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(*PART, fails, key=KEY, made_by="test")
    assert not store.path(*PART).exists()
    assert not record_path(store).exists()
    assert leftovers(store.root) == []


def test_a_failed_rewrite_leaves_the_old_part_usable(store: ArtifactStore) -> None:
    write(store, b"old")

    def fails(path: Path) -> None:
        path.write_bytes(b"half of the new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.write(*PART, fails, key="new key", made_by="test")
    assert store.read_path(*PART).read_bytes() == b"old"
    assert store.holds(*PART, key=KEY)


def test_a_writer_that_writes_nothing_is_an_error(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.write(*PART, lambda _: None, key=KEY, made_by="test")
    assert store.provenance(*PART) is None


def test_a_crash_between_file_and_record_counts_as_absent(store: ArtifactStore) -> None:
    write(store, b"pixels")
    record_path(store).unlink()
    assert store.provenance(*PART) is None
    assert not store.holds(*PART, key=KEY)
    with pytest.raises(ArtifactError, match="must exist with its provenance record"):
        store.read_path(*PART)


def test_a_new_file_under_the_old_record_is_not_the_old_part(store: ArtifactStore) -> None:
    # A crash between file and record of a second write: the first write's record is still there.
    write(store, b"old pixels")
    old_record = record_path(store).read_bytes()
    write(store, b"new pixels", key="new key")
    record_path(store).write_bytes(old_record)
    assert not store.holds(*PART, key=KEY)
    assert not store.holds(*PART, key="new key")
    with pytest.raises(ArtifactError, match="must have the bytes that were written"):
        store.read_path(*PART)


KILLED_WRITER = """
import os, sys, time
from pathlib import Path
from s2v_pipeline.artifacts import ArtifactStore

def slow(path):
    with path.open("wb") as file:
        file.write(b"half")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)

ArtifactStore(Path(sys.argv[1])).write("rendered_clips", "obama", "0001.mp4", slow, key="new key", made_by="killed")
"""


def test_a_killed_process_leaves_the_old_part_usable(store: ArtifactStore) -> None:
    write(store, b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED_WRITER, store.root], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert store.read_path(*PART).read_bytes() == b"old"
    assert all(name.startswith(".") for name in leftovers(store.root))  # hidden from readers and the file server
    write(store, b"new", key="new key")
    assert store.read_path(*PART).read_bytes() == b"new"


@pytest.mark.parametrize("position", [0, 5, 9_999])
def test_one_damaged_byte_is_found(store: ArtifactStore, position: int) -> None:
    path = write(store, bytes(10_000))
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert not store.holds(*PART, key=KEY)
    with pytest.raises(ArtifactError, match="must have the bytes that were written"):
        store.read_path(*PART)
    write(store, bytes(10_000))
    assert store.holds(*PART, key=KEY)


@pytest.mark.parametrize("content", [b"pixel", b"pixels and more", b""])
def test_another_length_is_found(store: ArtifactStore, content: bytes) -> None:
    write(store, b"pixels").write_bytes(content)
    assert not store.holds(*PART, key=KEY)
    with pytest.raises(ArtifactError):
        store.read_path(*PART)


def test_a_missing_file_is_absent_though_its_record_stands(store: ArtifactStore) -> None:
    write(store, b"pixels").unlink()
    assert store.provenance(*PART) is None
    assert not store.holds(*PART, key=KEY)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"sha256": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(
            {"sha256": "a", "size_bytes": 1, "key": "k", "made_by": "", "made_at": "", "sources": {}, "x": 1}
        ).encode(),
        json.dumps({"sha256": 5, "size_bytes": 6, "key": KEY, "made_by": "", "made_at": "", "sources": {}}).encode(),
    ],
)
def test_a_damaged_record_counts_as_none(store: ArtifactStore, record: bytes) -> None:
    write(store, b"pixels")
    record_path(store).write_bytes(record)
    assert store.provenance(*PART) is None
    assert not store.holds(*PART, key=KEY)
    with pytest.raises(ArtifactError):
        store.read_path(*PART)


def test_errors_name_the_part_and_the_cure(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError) as caught:
        store.read_path(*PART)
    assert "rendered_clips/obama/0001.mp4" in caught.value.rule
    assert "Materialise rendered_clips for partition 'obama'" in caught.value.cure


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\\b", "a\0b", "a b", "a\n", "ü", "-x", "~", "a" * 201),
        f"x{PROVENANCE_SUFFIX}",  # would be another part's record
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_names_cannot_leave_the_root_or_meet_a_record(store: ArtifactStore, name: str, position: int) -> None:
    names = ["asset", "input", "part"]
    names[position] = name
    with pytest.raises(ArtifactError, match="names in the artifact store"):
        store.path(*names)


def test_the_longest_name_leaves_room_for_its_record(store: ArtifactStore) -> None:
    store.write("asset", "input", "a" * 200, writer(b"x"), key=KEY, made_by="test")
    assert store.holds("asset", "input", "a" * 200, key=KEY)


def test_many_writers_of_one_part_leave_one_whole_part(store: ArtifactStore) -> None:
    content = os.urandom(200_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write(store, content), range(32)))
    assert store.holds(*PART, key=KEY)
    assert store.read_path(*PART).read_bytes() == content
    assert leftovers(store.root) == []
    assert len(list(store.path(*PART).parent.iterdir())) == 2


def test_a_reader_never_gets_part_of_a_file_while_writers_disagree(store: ArtifactStore) -> None:
    contents = {os.urandom(100_000) for _ in range(4)}
    write(store, next(iter(contents)))
    ends_at = time.monotonic() + 0.5

    def rewrite(content: bytes) -> None:
        while time.monotonic() < ends_at:
            write(store, content)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(rewrite, content) for content in contents]
        while time.monotonic() < ends_at:
            assert store.path(*PART).read_bytes() in contents
        for each in writers:
            each.result()
    assert leftovers(store.root) == []
    # Whoever came last: file and record fit, or the part counts as damaged and is made again. Never a wrong answer.
    try:
        found = store.read_path(*PART)
    except ArtifactError:
        assert not store.holds(*PART, key=KEY)
    else:
        assert found.read_bytes() in contents


def test_an_atomic_path_makes_its_folder_and_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "video.mp4"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"1")
        assert not target.exists()
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"2")
        assert target.read_bytes() == b"1"
    assert target.read_bytes() == b"2"
    assert leftovers(tmp_path) == []


def test_content_keys_depend_on_content_alone() -> None:
    key = content_key({"a": 1, "b": [1, 2], "c": {"x": "ü"}})
    assert key == content_key({"c": {"x": "ü"}, "b": [1, 2], "a": 1})
    assert len(key) == 64
    others = [{"a": 2, "b": [1, 2], "c": {"x": "ü"}}, {"a": 1, "b": [2, 1], "c": {"x": "ü"}}, {"a": 1}, {}]
    assert len({key, *(content_key(other) for other in others)}) == 5


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (b"x", TypeError), (float("nan"), ValueError)])
def test_content_keys_refuse_what_json_cannot_hold(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        content_key({"a": value})
