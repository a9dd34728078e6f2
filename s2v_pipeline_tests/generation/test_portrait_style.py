"""The words that steer the motion."""

from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline.generation.portrait.style import MotionStyle, style_from_prompt, words_ignored
from s2v_pipeline_tests.generation.portrait_speech import READING, requests_for


@pytest.mark.parametrize(
    "prompt", ["", "A person in a red shirt.", "a warmonger in a smilodon museum", "日本語のプロンプト"]
)
def test_what_is_not_understood_changes_nothing(prompt: str) -> None:
    assert style_from_prompt(prompt) == MotionStyle()


@pytest.mark.parametrize(
    ("prompt", "understood"),
    [
        ("A calm woman", ("calm",)),
        ("Energetic!", ("energetic",)),
        ("He speaks seriously.", ("serious",)),
        ("smiling, friendly", ("smiling", "friendly")),
        ("friendly and SMILING", ("smiling", "friendly")),
        ("sitting very still", ("still",)),
        ("he keeps his head still", ("still",)),
        ("Still, looking at the camera", ("still", "looking at camera")),
        ("she is still talking", ()),
        ("a person talks to the camera", ("looking at camera",)),
        ("looking straight into the lens", ("looking at camera",)),
        ("expressive", ("expressive",)),
        ("looking away", ("looking away",)),
        ("not smiling", ("serious",)),
        ("without a smile", ("serious",)),
        ("doesn\u2019t nod", ("not nodding",)),
        ("not looking at the camera", ("looking away",)),
        ("never motionless", ()),
        ("calm calm calm", ("calm",)),
    ],
)
def test_words_and_their_negations(prompt: str, understood: tuple[str, ...]) -> None:
    assert style_from_prompt(prompt).understood == understood


@pytest.mark.parametrize(
    ("prompt", "ignored"),
    [
        ("", ()),
        ("a person talks to the camera", ("person",)),
        ("A calm pirate in a red, red shirt", ("pirate", "red", "shirt")),
        ("without a smile, doesn\u2019t nod", ()),
        ("never motionless", ("never", "motionless")),
        ("\u65e5\u672c\u8a9e calm", ("\u65e5\u672c\u8a9e",)),
    ],
)
def test_words_that_change_nothing_are_named(prompt: str, ignored: tuple[str, ...]) -> None:
    assert words_ignored(prompt) == ignored


def test_styles_multiply_and_stay_in_range() -> None:
    everything = style_from_prompt("energetic expressive excited dramatic nodding shouting looking around")
    assert everything.nods == 2.0
    assert everything.mouth > 1.2
    mixed = style_from_prompt("serious but smiling")
    assert mixed.smile_talking_relax == pytest.approx((1.0 + 0.45) / 2)


def test_a_style_checks_itself() -> None:
    with pytest.raises(ValueError, match="amplitudes"):
        MotionStyle(head=-1.0)
    with pytest.raises(ValueError, match="smiles"):
        MotionStyle(smile_resting_relax=1.5)


def test_a_very_long_prompt_is_read_quickly() -> None:
    assert style_from_prompt("calm " + "looking looks talk to " * 200_000).understood[0] == "calm"


def test_the_style_reaches_the_motion() -> None:
    def spread(prompt: str, name: str) -> float:
        return float(np.std(make_motion(requests_for(READING, prompt=prompt)[0]).column(name)))

    assert spread("still", "head_yaw_deg") < 0.3 * spread("", "head_yaw_deg")
    assert spread("energetic", "head_pitch_deg") > 1.15 * spread("", "head_pitch_deg")
    assert spread("expressive", "brow_raise") > 1.2 * spread("calm", "brow_raise")
    assert spread("shouting", "jaw_open") > spread("whispering", "jaw_open")
