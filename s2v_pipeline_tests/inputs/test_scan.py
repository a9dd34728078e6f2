"""The watched folder."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2v_pipeline.errors import ManifestError, SettingsError
from s2v_pipeline.inputs.scan import Scan, scan_inputs

SETTLE_S = 3.0
NOBODY = 65534


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_folder(folder: Path) -> Path:
    put(folder / "portrait.png")
    put(folder / "speech.wav")
    return folder


def scan(folder: Path, *, later_s: float = 60.0) -> Scan:
    return scan_inputs(folder, settle_s=SETTLE_S, now_s=time.time() + later_s)


def test_folder_with_everything(watched: Path) -> None:
    folder = watched / "obama"
    put(folder / "Portrait.JPG")
    put(folder / "speech.mp4")
    put(folder / "prompt.txt", b"\xef\xbb\xbfa calm man\n")
    put(folder / "transcript.txt", b"Hello there.")
    put(folder / "settings.toml", b"[video]\nfps = 30\n")
    put(folder / "readme.md")
    (source,) = scan(watched).ready
    assert (source.input_id, source.name, source.origin) == ("obama", "obama", "folder")
    assert (source.image.name, source.audio.name) == ("Portrait.JPG", "speech.mp4")
    assert source.image.is_absolute()
    assert (source.prompt, source.transcript, source.settings) == ("a calm man", "Hello there.", {"video": {"fps": 30}})


def test_pairs(watched: Path) -> None:
    put(watched / "ann.png")
    put(watched / "ann.wav")
    put(watched / "ann.txt", b"What Ann says.")
    put(watched / "Bob Ray.webp")
    put(watched / "Bob Ray.OPUS")
    put(watched / "notes.txt")
    put(watched / "table.csv")
    found = scan(watched)
    assert [(each.name, each.transcript, each.origin) for each in found.ready] == [
        ("Bob Ray", None, "pair"),
        ("ann", "What Ann says.", "pair"),
    ]
    assert found.ready[0].input_id.startswith("bob-ray-")
    assert not found.waiting
    assert not found.refused


def test_what_is_missing_is_named(watched: Path) -> None:
    put(watched / "ann.png")
    put(watched / "bob.mp3")
    put(watched / "cat" / "portrait.png")
    (watched / "dog").mkdir()
    reasons = {each.name: each.reason for each in scan(watched, later_s=0.0).waiting}
    assert reasons["ann"] == "waiting for a recording named ann.wav/.mp3/.m4a/.mp4/... beside ann.png"
    assert reasons["bob"].startswith("waiting for a portrait named bob.png/")
    assert reasons["cat"].startswith("waiting for a recording named speech.wav/")
    assert "portrait named portrait.png" in reasons["dog"]
    assert "recording named speech.wav" in reasons["dog"]


def test_unfinished_and_hidden_names_are_nothing(watched: Path) -> None:
    for name in (".ann.wav", "ann.wav~", "ann.wav.part", "ann.wav.crdownload", "ann.wav.tmp", ".DS_Store"):
        put(watched / name)
    put_folder(watched / ".hidden")
    assert scan(watched) == Scan((), (), ())
    put(watched / "ann.png")
    assert "waiting for a recording" in scan(watched).waiting[0].reason


def test_a_copy_is_left_alone_until_it_settles(watched: Path) -> None:
    put(watched / "ann.png")
    put(watched / "ann.wav")
    # As `cp -p` does: the modification time is old, but the change time cannot be.
    for path in watched.iterdir():
        os.utime(path, (1.0, 1.0))
    assert "may still be being copied" in scan(watched, later_s=0.0).waiting[0].reason
    assert scan(watched, later_s=SETTLE_S + 0.5).ready


def test_a_text_or_a_folder_that_still_changes_keeps_the_input_waiting(watched: Path) -> None:
    put_folder(watched / "cat")
    moment = time.time() + 60.0
    os.utime(watched / "cat" / "speech.wav", (moment - 1.0, moment - 1.0))
    (waiting,) = scan_inputs(watched, settle_s=SETTLE_S, now_s=moment).waiting
    assert waiting.reason.startswith("speech.wav was changed 1.0 s ago")
    os.utime(watched / "cat" / "speech.wav", (1.0, 1.0))
    os.utime(watched / "cat", (moment - 1.0, moment - 1.0))
    (waiting,) = scan_inputs(watched, settle_s=SETTLE_S, now_s=moment).waiting
    assert waiting.reason.startswith("the folder 'cat' was changed 1.0 s ago")


def test_a_modification_time_in_the_future_does_not_wait_for_years(watched: Path) -> None:
    put_folder(watched / "cat")
    os.utime(watched / "cat" / "speech.wav", (4e9, 4e9))
    assert scan(watched).ready


def test_a_clock_behind_the_files_is_named(watched: Path) -> None:
    put_folder(watched / "cat")
    assert "clocks" in scan(watched, later_s=-100.0).waiting[0].reason


def test_empty_files_are_refused_once_settled(watched: Path) -> None:
    put(watched / "ann.png")
    put(watched / "ann.wav", b"")
    assert scan(watched, later_s=0.0).waiting
    (refused,) = scan(watched).refused
    assert str(refused.error).startswith("ann.wav must not be empty; got 0 bytes")


def test_several_portraits_or_recordings_are_refused(watched: Path) -> None:
    put(put_folder(watched / "cat") / "portrait.jpg")
    put(watched / "ann.png")
    put(watched / "ann.wav")
    put(watched / "ann.mp3")
    refused = {each.name: str(each.error) for each in scan(watched).refused}
    assert "one portrait; got portrait.jpg, portrait.png" in refused["cat"]
    assert "one recording; got ann.mp3, ann.wav" in refused["ann"]


def test_folder_and_pair_of_one_name_are_both_refused(watched: Path) -> None:
    put_folder(watched / "a")
    put(watched / "a.png")
    put(watched / "a.wav")
    put_folder(watched / "b")
    found = scan(watched)
    assert [each.name for each in found.ready] == ["b"]
    assert [each.name for each in found.refused] == ["a", "a"]
    for each in found.refused:
        assert "the folder 'a' and the files 'a.png' + 'a.wav'" in str(each.error)


def test_links_that_lead_out_are_refused(watched: Path, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.txt", b"secret words")
    outside = put_folder(tmp_path / "outside")
    (watched / "ann.png").symlink_to(outside / "portrait.png")
    put(watched / "ann.wav")
    (watched / "bob").symlink_to(outside)
    (put_folder(watched / "cat") / "transcript.txt").symlink_to(secret)
    (watched / "dot").symlink_to(watched)
    (watched / "eel.png").symlink_to(watched / "eel.png")
    (watched / "fox.wav").symlink_to(watched / "nowhere")
    found = scan(watched)
    assert not found.ready
    refused = {each.name: str(each.error) for each in found.refused}
    assert set(refused) == {"ann", "bob", "cat", "dot", "eel", "fox"}
    for name in ("ann", "bob", "cat", "dot"):
        assert "must stay inside the watched folder" in refused[name]
    for name in ("eel", "fox"):
        assert "must lead to a file" in refused[name]


def test_links_that_stay_inside_are_followed(watched: Path) -> None:
    put_folder(watched / "cat")
    put(watched / "ann.png")
    (watched / "ann.wav").symlink_to("cat/speech.wav")
    (watched / "twin").symlink_to("cat")
    found = scan(watched)
    assert [each.name for each in found.ready] == ["ann", "cat", "twin"]
    assert found.ready[0].audio == watched / "cat" / "speech.wav"


def test_the_watched_folder_may_be_a_link(watched: Path, tmp_path: Path) -> None:
    put_folder(watched / "cat")
    (tmp_path / "link").symlink_to(watched)
    assert scan(tmp_path / "link").ready


def test_pipes_and_folders_in_place_of_files_are_refused(watched: Path) -> None:
    os.mkfifo(watched / "ann.wav")
    put(watched / "ann.png")
    (watched / "cat" / "portrait.png").mkdir(parents=True)
    put(watched / "cat" / "speech.wav")
    assert {each.name for each in scan(watched).refused} == {"ann", "cat"}


def test_bad_texts_and_settings_harm_only_their_own_input(watched: Path) -> None:
    put(put_folder(watched / "bytes") / "prompt.txt", b"\xff\xfe\xfa")
    put(put_folder(watched / "group") / "settings.toml", b"[paths]\ninputs = '/'\n")
    put(put_folder(watched / "large") / "prompt.txt", b"x" * 70_000)
    put(put_folder(watched / "value") / "settings.toml", b"[video]\nfps = -1\n")
    put_folder(watched / "zebra")
    found = scan(watched)
    assert [each.name for each in found.ready] == ["zebra"]
    assert [type(each.error) for each in found.refused] == [ManifestError, ManifestError, ManifestError, SettingsError]


def test_names_that_are_not_utf8_are_refused(watched: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    put(watched / f"{name}.png")
    put(watched / f"{name}.wav")
    (refused,) = scan(watched).refused
    assert refused.name.encode()
    assert "UTF-8" in str(refused.error)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that another user may enter, for tests that run as root, whom permissions do not stop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = os.geteuid()
        yield folder
        os.seteuid(user)


def test_unreadable_folder_harms_only_itself(as_nobody: Path) -> None:
    put_folder(as_nobody / "open")
    put_folder(as_nobody / "shut").chmod(0)
    put_folder(as_nobody / "words")
    put(as_nobody / "words" / "prompt.txt").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    found = scan(as_nobody)
    assert [each.name for each in found.ready] == ["open"]
    refused = {each.name: str(each.error) for each in found.refused}
    assert "the folder 'shut' must be readable" in refused["shut"]
    assert "prompt.txt must be readable" in refused["words"]


def test_a_missing_watched_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="watched folder must exist"):
        scan(tmp_path / "none")


def test_ten_thousand_pairs_in_time(watched: Path) -> None:
    for index in range(10_000):
        (watched / f"take {index}.png").write_bytes(b"x")
        (watched / f"take {index}.wav").write_bytes(b"x")
    start_s = time.perf_counter()
    found = scan(watched)
    spent_s = time.perf_counter() - start_s
    assert len(found.ready) == 10_000
    assert spent_s < 5.0
