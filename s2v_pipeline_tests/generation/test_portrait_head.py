"""The head: nods on accents, slow drift, no jerk, life in silence, breath before speech."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from s2v_pipeline.generation.portrait.coefficients import FaceMotion
from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline_tests.generation.portrait_speech import READING, PhoneRow, middles_s, requests_for

AXES = ("head_pitch_deg", "head_yaw_deg", "head_roll_deg")
MOST_DEG_PER_S = 25.0
LIVELIEST = "an energetic, expressive, excited man, nodding"


def _again_and_again(turns: int) -> list[PhoneRow]:
    length_s = READING[-1][2]
    return [(name, a + turn * length_s, b + turn * length_s) for turn in range(turns) for name, a, b in READING]


@pytest.fixture(scope="module")
def speaking() -> FaceMotion:
    return make_motion(requests_for(_again_and_again(8), fps=Fraction(50))[0])


@pytest.fixture(scope="module")
def silent() -> FaceMotion:
    return make_motion(requests_for((("SIL", 0.0, 68.0),), fps=Fraction(50))[0])


@pytest.mark.parametrize("prompt", ["", LIVELIEST])
def test_the_head_never_jerks(prompt: str) -> None:
    fps = Fraction(50)
    for seed in range(4):
        motion = make_motion(requests_for(_again_and_again(4), fps=fps, prompt=prompt, input_seed=seed)[0])
        for axis in AXES:
            speed = np.abs(np.diff(motion.column(axis).astype(np.float64))) * float(fps)
            assert speed.max() <= MOST_DEG_PER_S, (axis, seed)
            assert np.abs(np.diff(speed)).max() <= 10.0, (axis, seed)


def test_poses_are_small_but_not_nothing(speaking: FaceMotion) -> None:
    for axis in AXES:
        pose = speaking.column(axis)
        assert 0.4 < pose.std() < 2.5, axis
        assert np.abs(pose).max() < 7.0, axis
        assert abs(pose.mean()) < 1.0, axis


def test_the_video_starts_in_the_portraits_own_pose(speaking: FaceMotion) -> None:
    for axis in AXES:
        assert abs(speaking.column(axis)[0]) < 0.1


def test_the_head_is_quieter_in_silence_but_alive(speaking: FaceMotion, silent: FaceMotion) -> None:
    def unrest(motion: FaceMotion) -> float:
        return float(sum(np.abs(np.diff(motion.column(axis))).sum() for axis in AXES)) / len(motion.frames)

    assert unrest(silent) < 0.7 * unrest(speaking)
    assert unrest(silent) > 0.1 * unrest(speaking)
    # Twelve to eighteen breaths a minute.
    breath = silent.column("breath").astype(np.float64)
    rising = np.diff(breath) > 0
    n_breaths = int((rising[1:] & ~rising[:-1]).sum())
    assert 12 <= n_breaths * 60.0 / 68.0 <= 18


def test_the_head_nods_down_on_an_accent() -> None:
    # The same speech with and without loud high vowels: the difference is the nods.
    phones: tuple[PhoneRow, ...] = (("T", 1.9, 2.0), ("AA", 2.0, 2.2), ("T", 2.2, 2.3), ("SIL", 2.3, 4.0))
    nods = []
    time_s = middles_s(100, Fraction(25))
    for seed in range(12):
        accented = requests_for(phones, input_seed=seed)[0]
        flat_features = accented.features.assign(rms_db=-40.0, f0_hz=100.0, onset=0.0)
        flat = requests_for((("T", 1.9, 2.3), *phones[3:]), input_seed=seed, features=flat_features)[0]
        nods.append(make_motion(accented).column("head_pitch_deg") - make_motion(flat).column("head_pitch_deg"))
    mean_nod = np.mean(nods, axis=0)
    assert 1.0 < mean_nod.max() < 3.0
    assert abs(time_s[int(np.argmax(mean_nod))] - 2.1) < 0.1
    assert np.abs(mean_nod[(time_s < 1.7) | (time_s > 2.9)]).max() < 0.05


def test_a_breath_is_taken_before_speech() -> None:
    phones: tuple[PhoneRow, ...] = (("AA", 0.2, 2.0), ("SIL", 2.0, 4.0), ("AA", 4.0, 6.0))
    motion = make_motion(requests_for(phones)[0])
    time_s = middles_s(len(motion.frames), Fraction(25))
    breath = motion.column("breath")
    assert breath[(time_s > 3.95) & (time_s < 4.1)].min() > 0.98
    assert breath[(time_s > 5.2)].max() < 0.9
