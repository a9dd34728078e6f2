"""The error hierarchy: as drawn, readable, and whole after a journey between processes."""

from __future__ import annotations

import pickle
import re

import pytest

from s2v_pipeline import errors
from s2v_pipeline.errors import S2VError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, S2VError)]
EVERY_CLASS = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


@EVERY_CLASS
def test_message_says_rule_what_came_and_cure(kind: type[S2VError]) -> None:
    error = kind("a portrait must show one face", got="two faces", cure="Crop it to one person.")
    assert str(error) == "a portrait must show one face; got two faces. Crop it to one person."
    assert (error.rule, error.got, error.cure) == (
        "a portrait must show one face",
        "two faces",
        "Crop it to one person.",
    )


@EVERY_CLASS
def test_survives_pickling_with_its_class_and_words(kind: type[S2VError]) -> None:
    error = kind("rule", got="got", cure="Cure.").about("obama.wav")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 (made two lines above)
    assert type(back) is kind
    assert str(back) == str(error) == "obama.wav: rule; got got. Cure."
    assert (back.rule, back.got, back.cure) == (error.rule, error.got, error.cure)


@EVERY_CLASS
def test_about_leaves_the_first_error_as_it_was(kind: type[S2VError]) -> None:
    error = kind("rule", got="got", cure="Cure.")
    assert type(error.about("x")) is kind
    assert error.rule == "rule"


def test_got_and_cure_cannot_be_left_out_or_mixed_up() -> None:
    with pytest.raises(TypeError):
        S2VError("rule")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        S2VError("rule", "got", "cure")  # type: ignore[misc]


def test_the_drawing_shows_exactly_the_classes_and_their_parents() -> None:
    parents: dict[str, str | None] = {}
    open_branches: list[tuple[int, str]] = []  # (how far to the right, name), outermost first
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error)\b", line)
        if match:
            depth, name = len(match[1]), match[2]
            open_branches = [branch for branch in open_branches if branch[0] < depth]
            parents[name] = open_branches[-1][1] if open_branches else None
            open_branches.append((depth, name))
    assert parents == {kind.__name__: None if kind is S2VError else kind.__mro__[1].__name__ for kind in CLASSES}


def test_what_the_user_gave_is_told_apart_from_what_may_be_tried_again() -> None:
    user = {kind.__name__ for kind in CLASSES if issubclass(kind, errors.InputError)}
    assert user == {"InputError", "ImageError", "FaceError", "AudioError", "ManifestError"}
    assert not issubclass(errors.SettingsError, errors.InputError)
    assert not issubclass(errors.ClusterError, errors.InputError)
