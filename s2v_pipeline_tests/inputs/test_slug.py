"""Partition keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.inputs.slug import MAX_SLUG_CHARS, input_slug, is_slug

ANY_TEXT = st.text(alphabet=st.characters(), max_size=200)  # lone surrogates too, as in names that are not UTF-8


@given(ANY_TEXT)
def test_every_name_gives_a_safe_key(name: str) -> None:
    slug = input_slug(name)
    assert 1 <= len(slug) <= MAX_SLUG_CHARS
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slug[0] != "-"
    assert is_slug(slug)
    assert input_slug(slug) == slug


@given(st.lists(ANY_TEXT, unique=True, max_size=50))
def test_different_names_give_different_keys(names: list[str]) -> None:
    changed = [name for name in names if input_slug(name) != name]
    assert len({input_slug(name) for name in changed}) == len(changed)


@pytest.mark.parametrize("name", ["obama", "take-2", "007", "a--b", "a-", "x" * 60])
def test_clean_names_are_kept(name: str) -> None:
    assert input_slug(name) == name


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Obama", "obama-"),
        ("José Müller", "jose-muller-"),
        ("..", "input-"),
        ("", "input-"),
        ("../../etc/passwd", "etc-passwd-"),
        ("-lead", "lead-"),
        ("🎤🎤", "input-"),
        ("obama.v2", "obama-v2-"),
        ("x" * 61, "x" * 51 + "-"),
        ("a\nb", "a-b-"),
        (os.fsdecode(b"caf\xe9"), "caf-"),
    ],
)
def test_changed_names_stay_readable(name: str, start: str) -> None:
    slug = input_slug(name)
    assert slug.startswith(start)
    assert len(slug) == len(start) + 8


def test_case_alone_makes_another_input() -> None:
    assert len({input_slug(name) for name in ("obama", "Obama", "OBAMA", " obama", "obama!")}) == 5


def test_trailing_newline_is_not_clean() -> None:
    assert input_slug("obama\n") != "obama\n"


@given(ANY_TEXT)
def test_the_artifact_store_takes_every_key(name: str) -> None:
    ArtifactStore(Path("artifacts")).path("speech_inputs", input_slug(name), "speech.flac")
