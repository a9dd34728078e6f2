"""One input as the user gave it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from s2v_pipeline.errors import ManifestError, S2VError, SettingsError
from s2v_pipeline.inputs.source import (
    MAX_PROMPT_BYTES,
    MAX_SETTINGS_BYTES,
    InputSource,
    given_source,
    parse_settings,
    read_settings,
    read_text,
)


@pytest.fixture
def source(tmp_path: Path) -> InputSource:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "a.wav").write_bytes(b"sound")
    return given_source(
        "Ann Lee", image=tmp_path / "a.png", audio=tmp_path / "a.wav", prompt=" smile ", transcript="Hi"
    )


def changed(source: InputSource, **values: Any) -> InputSource:
    return InputSource.from_json({**source.to_json(), **values})


def test_given_source(source: InputSource, tmp_path: Path) -> None:
    assert source.input_id.startswith("ann-lee-")
    assert (source.prompt, source.transcript, source.origin) == ("smile", "Hi", "command")
    with pytest.raises(ManifestError, match="no file"):
        given_source("x", image=tmp_path / "none.png", audio=tmp_path / "a.wav")


def test_json_round_trip(source: InputSource) -> None:
    rich = changed(source, settings={"video": {"fps": "30000/1001"}}, transcript=None, prompt="Grüße \U0001f600")
    assert InputSource.from_json(json.loads(json.dumps(rich.to_json()))) == rich
    assert hash(rich) == hash(InputSource.from_json(rich.to_json()))


@pytest.mark.parametrize(
    "values",
    [
        {"input_id": "../up"},
        {"input_id": "Ann"},
        {"input_id": ""},
        {"image": "relative.png"},
        {"origin": "elsewhere"},
        {"prompt": 5},
        {"transcript": 5},
        {"settings": []},
        {"extra": 1},
        {"prompt": "ä" * (MAX_PROMPT_BYTES // 2 + 1)},
        {"settings": {"paths": {"inputs": "/"}}},
        {"settings": {"video": {"fps": [25]}}},
        {"settings": {"generation": {"quality": ["high"]}}},
        {"settings": {"video": {"a": {"b": {"c": {"d": 1}}}}}},
    ],
)
def test_records_that_do_not_fit_are_refused(source: InputSource, values: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        changed(source, **values)


@pytest.mark.parametrize(
    "settings",
    [{"video": {"fps": 0}}, {"video": {"fps": float("nan")}}, {"video": {"nonsense": 1}}, {"video": 5}],
)
def test_settings_that_break_their_rules_are_refused(source: InputSource, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        changed(source, settings=settings)


def test_prompt_of_just_the_limit_is_taken(source: InputSource) -> None:
    assert len(changed(source, prompt="x" * MAX_PROMPT_BYTES).prompt) == MAX_PROMPT_BYTES


def test_fingerprint_follows_files_and_texts_but_not_the_folder(source: InputSource, tmp_path: Path) -> None:
    before = source.fingerprint()
    assert before == source.fingerprint()
    variants = {
        changed(source, prompt="frown").fingerprint(),
        changed(source, transcript=None).fingerprint(),
        changed(source, transcript="").fingerprint(),
        changed(source, name="Ann  Lee").fingerprint(),
        changed(source, settings={"video": {"fps": 30}}).fingerprint(),
    }
    os.utime(source.audio, ns=(1, 1))
    variants.add(source.fingerprint())
    source.audio.write_bytes(b"longer sound")
    os.utime(source.audio, ns=(1, 1))
    variants.add(source.fingerprint())
    assert len(variants | {before}) == 8

    moved = tmp_path / "moved"
    moved.mkdir()
    image, audio = (path.rename(moved / path.name) for path in (source.image, source.audio))
    assert changed(source, image=str(image), audio=str(audio)).fingerprint() in variants
    with pytest.raises(ManifestError, match="stay where they were found"):
        source.fingerprint()


def test_read_text(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes("\ufeff  Grüße\r\n".encode())
    assert read_text(path, max_bytes=100) == "Grüße"
    path.write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"UTF-8; got byte 0xfc at position 2"):
        read_text(path, max_bytes=100)
    path.write_bytes(b"x" * 101)
    with pytest.raises(ManifestError, match="101 bytes"):
        read_text(path, max_bytes=100)
    with pytest.raises(ManifestError, match="readable"):
        read_text(tmp_path / "none.txt", max_bytes=100)


def test_settings_as_toml_and_as_json(tmp_path: Path) -> None:
    toml = '[video]\nfps = 30\n[generation]\nquality = "low"\n'
    expected = {"video": {"fps": 30}, "generation": {"quality": "low"}}
    assert parse_settings(toml, "here") == expected
    assert parse_settings(json.dumps(expected), "here") == expected
    path = tmp_path / "settings.toml"
    path.write_text(toml, encoding="utf-8")
    assert read_settings(path) == expected
    path.write_bytes(b"#" * (MAX_SETTINGS_BYTES + 1))
    with pytest.raises(ManifestError, match="at most"):
        read_settings(path)


@pytest.mark.parametrize(
    "text",
    [
        "video = ",
        '{"video": ',
        "[1, 2]",
        "x = " + "[" * 20_000,
        '{"a":' * 20_000,
        "seed = 1979-05-27",
        "[video]\nfps = 1979-05-27",
        "[video]\nwidth_px = " + "9" * 5000,
        '{"video": {"fps": NaN}}',
        "[paths]\nartifacts = '/'",
    ],
)
def test_hostile_settings_end_in_our_errors(text: str) -> None:
    with pytest.raises(S2VError):
        parse_settings(text, "settings.toml")
