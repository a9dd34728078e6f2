"""Eyes and brows: how often and how fast lids close, where they look, when brows rise."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from s2v_pipeline.generation.portrait.coefficients import FaceMotion
from s2v_pipeline.generation.portrait.eyes import BLINK_AFTER_PHRASE_S, blinks_between
from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline.generation.portrait.speech_events import Pause, SpokenPhone
from s2v_pipeline.generation.portrait.style import MotionStyle
from s2v_pipeline_tests.generation.portrait_speech import (
    READING,
    PhoneRow,
    features_for,
    frames_until,
    middles_s,
    requests_for,
)

TEN_MINUTES_S = 600.0
NO_PAUSE: tuple[Pause, ...] = ()


@pytest.fixture(scope="module")
def reading() -> FaceMotion:
    """A minute and a half of the reading, over and over."""
    phones: list[PhoneRow] = []
    for turn in range(11):
        shift_s = turn * READING[-1][2]
        phones += [(name, start_s + shift_s, end_s + shift_s) for name, start_s, end_s in READING]
    return make_motion(requests_for(phones)[0])


@pytest.mark.parametrize("seed", range(5))
def test_blinks_are_as_frequent_as_a_speakers_and_lie_apart(seed: int) -> None:
    blinks = blinks_between(seed, NO_PAUSE, 0.0, TEN_MINUTES_S, MotionStyle())
    starts_s = np.array([blink.start_s for blink in blinks])
    starts_s = starts_s[starts_s < TEN_MINUTES_S]
    assert 14 <= len(starts_s) / 10 <= 21
    gaps_s = np.diff(starts_s)
    assert gaps_s.min() > 0.4
    doubles = (gaps_s < 0.5).mean()
    assert 0.02 < doubles < 0.2
    # Not a metronome.
    assert gaps_s.std() > 0.8


def test_a_blink_closes_faster_than_it_opens() -> None:
    for blink in blinks_between(3, NO_PAUSE, 0.0, 60.0, MotionStyle()):
        assert 0.08 <= blink.closing_s <= 0.1
        assert 0.15 <= blink.opening_s <= 0.2
        down, up = blink.gesture.at(np.array([blink.start_s, blink.closed_middle_s]))
        assert (down, up) == (0.0, 1.0)


@pytest.mark.parametrize("fps", [Fraction(16), Fraction(25), Fraction(60)], ids=str)
def test_the_lids_meet_in_some_frame_of_every_blink(fps: Fraction) -> None:
    motion = make_motion(requests_for((("SIL", 0.0, 60.0),), fps=fps)[0])
    blinks = blinks_between(7, NO_PAUSE, 0.0, 60.0, MotionStyle())
    seen = motion.column("blink")
    inside = [blink for blink in blinks if blink.closed_middle_s < 60.0]
    assert len(inside) > 8
    for blink in inside:
        assert seen[int(blink.closed_middle_s * fps)] == 1
    open_share = (seen == 0).mean()
    assert 0.85 < open_share < 0.95


def test_the_end_of_a_phrase_draws_a_blink() -> None:
    planned = blinks_between(1, NO_PAUSE, 0.0, 30.0, MotionStyle())
    end_s = planned[2].start_s + 0.3
    phone = SpokenPhone("AA", end_s - 0.1, end_s)
    drawn = blinks_between(1, (Pause(end_s, end_s + 0.5, phone, None),), 0.0, 30.0, MotionStyle())
    assert drawn[2].start_s == pytest.approx(end_s + BLINK_AFTER_PHRASE_S)
    assert [blink for index, blink in enumerate(drawn) if index != 2] == [
        blink for index, blink in enumerate(planned) if index != 2
    ]
    too_short = blinks_between(1, (Pause(end_s, end_s + 0.05, phone, None),), 0.0, 30.0, MotionStyle())
    assert too_short == planned


def test_the_eyes_rest_near_the_camera_and_jump_from_place_to_place(reading: FaceMotion) -> None:
    # What is left when the reflex that holds the camera is taken off.
    held = reading.column("gaze_x") + 0.8 / 18.0 * reading.column("head_yaw_deg")
    assert np.median(np.abs(held)) < 0.1
    assert np.abs(held).max() <= 0.36
    moves = np.abs(np.diff(held)) > 1e-4
    assert moves.mean() < 0.15
    assert moves.sum() > 20


def test_the_eyes_turn_against_the_head(reading: FaceMotion) -> None:
    still = np.abs(np.diff(reading.column("gaze_x"))) < 0.02
    turns = np.diff(reading.column("head_yaw_deg"))[still]
    assert np.corrcoef(turns, np.diff(reading.column("gaze_x"))[still])[0, 1] < -0.8


def test_brows_rise_on_a_loud_high_syllable_and_not_on_a_flat_one() -> None:
    phones: tuple[PhoneRow, ...] = (("T", 1.9, 2.0), ("AA", 2.0, 2.2), ("T", 2.2, 2.3), ("SIL", 2.3, 4.0))
    n_frames = frames_until(4.0, Fraction(25))
    high = features_for(phones, n_frames, Fraction(25))
    flat = high.assign(rms_db=np.minimum(high["rms_db"], -24.0), f0_hz=np.minimum(high["f0_hz"], 115.0))
    time_s = middles_s(n_frames, Fraction(25))
    around = (time_s > 2.0) & (time_s < 2.3)
    raised = make_motion(requests_for(phones, features=high)[0]).column("brow_raise")
    assert raised[around].max() > 0.3
    assert np.abs(raised[time_s > 3.0]).max() < 0.1
    assert np.abs(make_motion(requests_for(phones, features=flat)[0]).column("brow_raise")).max() < 0.1
