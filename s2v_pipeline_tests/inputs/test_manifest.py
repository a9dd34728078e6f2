"""Inputs listed in a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.errors import ManifestError, SettingsError
from s2v_pipeline.inputs import manifest
from s2v_pipeline.inputs.manifest import read_manifest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "media").mkdir(parents=True)
    for name in ("a.png", "a.wav", "b.png", "b.wav"):
        (folder / "media" / name).write_bytes(b"x")
    return folder


def row(**values: Any) -> dict[str, Any]:
    return {"id": "a", "image": "media/a.png", "audio": "media/a.wav", **values}


def write(folder: Path, rows: list[dict[str, Any]], kind: str = "csv") -> Path:
    path = folder / f"manifest.{kind}"
    table = pd.DataFrame(rows)
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_become_sources(dataset: Path, kind: str) -> None:
    settings = {"video": {"fps": 30}}
    rows = [
        row(prompt="calm", transcript='He said "yes",\nthen left.', settings=json.dumps(settings)),
        row(id="Bé", image=str(dataset / "media" / "b.png"), settings="[generation]\nseed = 7"),
    ]
    found = read_manifest(write(dataset, rows, kind))
    assert not found.refused
    first, second = found.sources
    assert (first.input_id, first.prompt, first.transcript) == ("a", "calm", 'He said "yes",\nthen left.')
    assert first.settings == settings
    assert first.image == dataset / "media" / "a.png"
    assert (second.name, second.prompt, second.transcript) == ("Bé", "", None)
    assert second.input_id.startswith("be-")
    assert second.settings == {"generation": {"seed": 7}}
    assert second.origin == "manifest"


def test_ids_and_words_stay_text(dataset: Path) -> None:
    found = read_manifest(write(dataset, [row(id="007", prompt="NA"), row(id="NA", prompt="None")]))
    assert [(each.name, each.prompt) for each in found.sources] == [("007", "NA"), ("NA", "None")]


def test_empty_cells_count_as_absent(dataset: Path) -> None:
    rows = [row(prompt=np.nan, transcript=None, settings="  ")]
    for kind in ("csv", "parquet"):
        (source,) = read_manifest(write(dataset, rows, kind)).sources
        assert (source.prompt, source.transcript, source.settings) == ("", None, {})


def test_number_ids_of_a_parquet_file(dataset: Path) -> None:
    assert read_manifest(write(dataset, [row(id=12)], "parquet")).sources[0].input_id == "12"


def test_bad_rows_harm_no_others(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(b"x")
    rows = [
        row(id="gone", image="media/none.png"),
        row(id="up", image="../outside.png"),
        row(id="up2", image="media/../../outside.png"),
        row(id="folder", image="media"),
        row(id="zero", image="media/\0.png"),
        row(id="", prompt="no id"),
        row(id="machine", settings='{"paths": {}}'),
        row(id="value", settings='{"video": {"fps": 0}}'),
        row(id="text", settings="nonsense"),
        row(id="long", prompt="x" * 70_000),
        row(id="inside", image="media/../media/b.png"),
        row(id="fine"),
    ]
    found = read_manifest(write(dataset, rows, "parquet"))
    assert [each.name for each in found.sources] == ["inside", "fine"]
    assert [each.row for each in found.refused] == list(range(1, 11))
    messages = {each.id: str(each.error) for each in found.refused}
    assert "no file media/none.png" in messages["gone"]
    assert "must stay inside the manifest's folder" in messages["up"]
    assert "must stay inside the manifest's folder" in messages["up2"]
    assert "nothing in id" in messages[""]
    assert isinstance(found.refused[7].error, SettingsError)


def test_repeated_ids_are_all_refused(dataset: Path) -> None:
    found = read_manifest(write(dataset, [row(), row(id="b"), row(prompt="again")]))
    assert [each.name for each in found.sources] == ["b"]
    assert [(each.row, each.id) for each in found.refused] == [(1, "a"), (3, "a")]
    assert "in rows 1, 3" in str(found.refused[0].error)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_other_columns_are_named(dataset: Path, kind: str) -> None:
    with pytest.raises(ManifestError, match="got id, image, audio, transcipt"):
        read_manifest(write(dataset, [row(transcipt="Hi")], kind))
    with pytest.raises(ManifestError, match=r"must have the columns id, image, audio .*got id, picture"):
        read_manifest(write(dataset, [{"id": "a", "picture": "a.png"}], kind))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", b""),
        ("m.csv", b"id,image,audio\n\xff\xfe,b,c\n"),
        ("m.csv", b"id,image,audio\na,b,c,d,e\nf,g,h,i,j,k,l\n"),
        ("m.csv", b'id,image,audio\n"a,b,c\n'),
        ("m.csv", b"PAR1" * 20),
        ("m.parquet", b"id,image,audio\n"),
        ("m.parquet", b"PAR1" + b"\0" * 100 + b"PAR1"),
        ("m.parquet", b""),
        ("m.xlsx", b""),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError):
        read_manifest(tmp_path / name)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="must be readable"):
        read_manifest(tmp_path / "none.csv")


def test_byte_order_mark_and_semicolons(dataset: Path) -> None:
    path = dataset / "manifest.csv"
    path.write_bytes(b"\xef\xbb\xbfid,image,audio\r\na,media/a.png,media/a.wav\r\n")
    assert read_manifest(path).sources[0].input_id == "a"
    path.write_bytes(b"id;image;audio\na;media/a.png;media/a.wav\n")
    with pytest.raises(ManifestError, match="got id;image;audio"):
        read_manifest(path)


def test_too_large(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(id=str(index)) for index in range(50)]
    csv, parquet = write(dataset, rows), write(dataset, rows, "parquet")
    monkeypatch.setattr(manifest, "MAX_ROWS", 49)
    for path in (csv, parquet):
        with pytest.raises(ManifestError, match="at most 49 rows"):
            read_manifest(path)
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(ManifestError, match="at most"):
        read_manifest(csv)


def test_relative_manifest_path(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, [row()])
    monkeypatch.chdir(dataset)
    assert read_manifest(Path("manifest.csv")).sources[0].image == (dataset / "media" / "a.png").resolve()
