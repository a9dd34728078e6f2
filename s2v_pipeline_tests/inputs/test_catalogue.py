"""The record of what each partition key means."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from s2v_pipeline.errors import ArtifactError, ManifestError
from s2v_pipeline.inputs.catalogue import InputCatalogue
from s2v_pipeline.inputs.source import InputSource, given_source


@pytest.fixture
def catalogue(tmp_path: Path) -> InputCatalogue:
    return InputCatalogue(tmp_path / "catalogue")


@pytest.fixture
def source(tmp_path: Path) -> InputSource:
    return make_source(tmp_path)


def make_source(folder: Path, name: str = "ann", prompt: str = "") -> InputSource:
    (folder / "a.png").write_bytes(b"picture")
    (folder / "a.wav").write_bytes(b"sound")
    return given_source(name, image=folder / "a.png", audio=folder / "a.wav", prompt=prompt)


def test_add_get_list(catalogue: InputCatalogue, source: InputSource, tmp_path: Path) -> None:
    assert catalogue.list() == ()
    assert catalogue.fingerprints() == {}
    other = make_source(tmp_path, "Bob Ray")
    assert catalogue.add(source)
    assert catalogue.add(other)
    assert not catalogue.add(other)
    assert catalogue.get("ann") == source
    assert catalogue.list() == (source, other)
    assert catalogue.fingerprints() == {each.input_id: each.fingerprint() for each in (source, other)}


def test_changed_content_is_new_and_a_moved_folder_is_not(
    catalogue: InputCatalogue, source: InputSource, tmp_path: Path
) -> None:
    catalogue.add(source)
    known = catalogue.fingerprints()["ann"]
    os.utime(source.audio, (5, 5))
    assert catalogue.fingerprints()["ann"] == known
    assert catalogue.add(source)
    assert catalogue.fingerprints()["ann"] == source.fingerprint() != known

    moved = tmp_path / "moved"
    moved.mkdir()
    image, audio = (path.rename(moved / path.name) for path in (source.image, source.audio))
    elsewhere = InputSource.from_json({**source.to_json(), "image": str(image), "audio": str(audio)})
    assert not catalogue.add(elsewhere)
    assert catalogue.get("ann").image == image


def test_a_catalogue_that_is_away_is_no_unknown_input(tmp_path: Path) -> None:
    # The second is not tried again, the first is.
    with pytest.raises(ArtifactError, match="see that it is mounted"):
        InputCatalogue(tmp_path / "not mounted").get("ann")


@pytest.mark.parametrize("input_id", ["unknown", "../catalogue/ann", "", "ANN", "/etc/passwd"])
def test_unknown_inputs(catalogue: InputCatalogue, source: InputSource, input_id: str) -> None:
    catalogue.add(source)
    with pytest.raises(ManifestError, match=r"must be known.*s2v inputs list"):
        catalogue.get(input_id)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fingerprint": 1}', b'{"fingerprint": "x", "source": {}}'])
def test_damaged_record_counts_as_absent(
    catalogue: InputCatalogue, source: InputSource, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue.add(source)
    (catalogue.root / "ann.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert catalogue.fingerprints() == {}
    assert "counts as absent" in caplog.text
    with pytest.raises(ManifestError):
        catalogue.get("ann")
    assert catalogue.add(source)
    assert catalogue.get("ann") == source


def test_a_copied_record_does_not_speak_for_another_key(catalogue: InputCatalogue, source: InputSource) -> None:
    catalogue.add(source)
    (catalogue.root / "bob.json").write_bytes((catalogue.root / "ann.json").read_bytes())
    assert list(catalogue.fingerprints()) == ["ann"]


def test_foreign_and_temporary_files_are_passed_over(catalogue: InputCatalogue, source: InputSource) -> None:
    catalogue.add(source)
    (catalogue.root / ".0123.json").write_text("{", encoding="utf-8")
    (catalogue.root / "notes.txt").write_text("x", encoding="utf-8")
    assert catalogue.list() == (source,)


def test_files_that_are_gone_cannot_be_added(catalogue: InputCatalogue, source: InputSource) -> None:
    source.audio.unlink()
    with pytest.raises(ManifestError):
        catalogue.add(source)
    assert catalogue.list() == ()


def _add_often(root: Path, folder: Path, writer: int) -> int:
    catalogue = InputCatalogue(root)
    n_read = 0
    for turn in range(30):
        source = given_source("ann", image=folder / "a.png", audio=folder / "a.wav", prompt=f"{writer} {turn}")
        catalogue.add(source)
        n_read += catalogue.get("ann").name == "ann"
    return n_read


def test_concurrent_writers_never_show_half_a_record(catalogue: InputCatalogue, tmp_path: Path) -> None:
    make_source(tmp_path)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        counts = list(pool.map(_add_often, [catalogue.root] * 2, [tmp_path] * 2, range(2)))
    assert counts == [30, 30]
    assert [path.name for path in catalogue.root.iterdir()] == ["ann.json"]


def test_fingerprints_of_ten_thousand_in_time(catalogue: InputCatalogue, source: InputSource) -> None:
    catalogue.add(source)
    record = (catalogue.root / "ann.json").read_text(encoding="utf-8")
    for index in range(9_999):
        text = record.replace('"input_id": "ann"', f'"input_id": "ann-{index}"')
        (catalogue.root / f"ann-{index}.json").write_text(text, encoding="utf-8")
    start_s = time.perf_counter()
    assert len(catalogue.fingerprints()) == 10_000
    assert time.perf_counter() - start_s < 5.0
