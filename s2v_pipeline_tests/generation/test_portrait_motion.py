"""The whole motion: independence of chunks, purity, ranges, timing against the phones, refusals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2v_pipeline.alignment.phonemes import ARPABET, PHONE_OPENNESS
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.portrait import eyes, head, mouth
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, FaceMotion
from s2v_pipeline.generation.portrait.motion import CONTEXT_S, make_motion
from s2v_pipeline_tests.generation.portrait_speech import (
    LEVEL_DB,
    READING,
    PhoneRow,
    features_for,
    frames_until,
    middles_s,
    phones_in_a_row,
    requests_for,
    rows_of,
    table_of,
)

FRAME_RATES = (Fraction(16), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60))
MOUTH = ("jaw_open", "lips_apart", "lips_closed", "lip_press", "lip_width", "lip_pucker", "lip_tuck", "tongue_tip")


@pytest.fixture(scope="module")
def reading() -> FaceMotion:
    return make_motion(requests_for(READING)[0])


@pytest.mark.parametrize("fps", FRAME_RATES, ids=str)
@pytest.mark.parametrize("n_chunks", [3, 7, 50])
def test_cutting_a_video_changes_no_byte(fps: Fraction, n_chunks: int) -> None:
    n_frames = frames_until(READING[-1][2], fps)
    cuts = [n_frames * chunk // n_chunks for chunk in range(1, n_chunks)]
    whole = rows_of(requests_for(READING, fps=fps))
    assert rows_of(requests_for(READING, fps=fps, cuts=cuts)).tobytes() == whole.tobytes()


@st.composite
def _speeches(draw: st.DrawFn) -> tuple[PhoneRow, ...]:
    """Up to forty phones of 10 ms to 1.5 s, with gaps that are sometimes rows of silence and sometimes none."""
    phones: list[PhoneRow] = []
    now_s = draw(st.sampled_from([0.0, 0.3, 2.5]))
    for _ in range(draw(st.integers(0, 40))):
        name = draw(st.sampled_from(sorted(ARPABET)))
        length_s = draw(st.sampled_from([0.01, 0.03, 0.05, 0.07, 0.1, 0.15, 0.3, 1.5]))
        phones.append((name, now_s, now_s + length_s))
        now_s += length_s
        gap_s = draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.08, 0.3, 0.55, 2.3]))
        if gap_s and draw(st.booleans()):
            phones.append(("SIL", now_s, now_s + gap_s))
        now_s += gap_s
    phones.append(("SIL", now_s, now_s + draw(st.sampled_from([0.1, 1.0, 3.0]))))
    return tuple(phones)


@settings(max_examples=60, deadline=None, database=None)
@given(
    phones=_speeches(),
    fps=st.sampled_from(FRAME_RATES),
    cut_shares=st.lists(st.floats(0.0, 1.0), max_size=8),
    seed=st.integers(0, 2**64 - 1),
    prompt=st.sampled_from(["", "energetic and expressive", "calm, still"]),
)
def test_any_speech_cut_anywhere_gives_the_same_bytes(
    phones: tuple[PhoneRow, ...], fps: Fraction, cut_shares: list[float], seed: int, prompt: str
) -> None:
    n_frames = frames_until(phones[-1][2], fps)
    cuts = sorted({int(share * n_frames) for share in cut_shares} - {0, n_frames})
    # Features that know nothing of the phones: levels and pitches jump, so that accents fall anywhere.
    random = np.random.default_rng(seed)
    features = features_for(phones, n_frames, fps)
    features["rms_db"] = LEVEL_DB + random.normal(0.0, 8.0, n_frames)
    features["f0_hz"] = np.where(random.random(n_frames) < 0.3, 0.0, random.normal(130.0, 25.0, n_frames))
    whole = requests_for(phones, fps=fps, features=features, input_seed=seed, prompt=prompt)
    parts = requests_for(phones, fps=fps, features=features, input_seed=seed, prompt=prompt, cuts=cuts)
    assert rows_of(parts).tobytes() == rows_of(whole).tobytes()


def test_context_is_needed() -> None:
    # The proof that the tests above can fail: with a shorter context the cuts show.
    cuts = range(25, 200, 25)
    whole = rows_of(requests_for(READING))
    assert rows_of(requests_for(READING, cuts=cuts, context_s=0.2)).tobytes() != whole.tobytes()


def test_parts_look_no_farther_than_the_context() -> None:
    slowest_frame_s = 1.0 / 16.0  # features are interpolated between the middles of two frames
    assert max(mouth.REACH_S, eyes.REACH_S, head.REACH_S) + slowest_frame_s <= CONTEXT_S


def test_motion_is_pure_and_its_index_and_own_seed_change_nothing(reading: FaceMotion) -> None:
    request = requests_for(READING)[0]
    phonemes, features = request.phonemes.copy(), request.features.copy()
    again = make_motion(replace(request, index=5, seed=99))
    assert table_of(again).tobytes() == table_of(reading).tobytes()
    pd.testing.assert_frame_equal(request.phonemes, phonemes)
    pd.testing.assert_frame_equal(request.features, features)


def test_another_input_seed_moves_the_head_but_not_the_mouth(reading: FaceMotion) -> None:
    other = make_motion(requests_for(READING, input_seed=8)[0])
    assert np.abs(other.column("head_yaw_deg") - reading.column("head_yaw_deg")).max() > 0.5
    for name in MOUTH:
        assert np.array_equal(other.column(name), reading.column(name))


def test_every_coefficient_is_used(reading: FaceMotion) -> None:
    for name in COEFFICIENT_NAMES:
        column = reading.column(name)
        assert column.max() - column.min() > 0.1, name


@pytest.mark.parametrize("fps", FRAME_RATES, ids=str)
def test_the_opening_follows_the_phones_in_time(fps: Fraction) -> None:
    motion = make_motion(requests_for(READING, fps=fps)[0])
    opening = (motion.column("jaw_open") + motion.column("lips_apart")) * (1.0 - motion.column("lips_closed"))
    time_s = middles_s(len(motion.frames), fps)
    lags_ms = range(-120, 125, 5)
    fits = [float(np.corrcoef(opening, _openness(time_s - lag_ms / 1000.0))[0, 1]) for lag_ms in lags_ms]
    assert max(fits) >= 0.85
    assert abs(lags_ms[int(np.argmax(fits))]) <= 20
    # The control: a mouth for other words does not fit.
    assert abs(np.corrcoef(opening, _openness(np.mod(time_s - 3.0, READING[-1][2])))[0, 1]) < 0.35


def _openness(
    time_s: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The alignment's own table of openness, as steps."""
    openness = np.zeros(time_s.shape)
    for name, start_s, end_s in READING:
        openness[(time_s >= start_s) & (time_s < end_s)] = PHONE_OPENNESS[name]
    return openness


def test_a_video_of_one_frame_and_one_without_phones() -> None:
    one = make_motion(requests_for((("AA", 0.0, 0.04),))[0])
    assert table_of(one).shape == (1, len(COEFFICIENT_NAMES))
    silent = make_motion(requests_for((("SIL", 0.0, 4.0),))[0])
    for name in MOUTH:
        assert np.ptp(silent.column(name)) == 0, name
    assert silent.column("lips_closed")[0] == 1


def test_noise_and_music_in_pauses_do_not_move_the_lips() -> None:
    phones = phones_in_a_row("AA T UW _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ IY", phone_s=0.1)
    n_frames = frames_until(phones[-1][2], Fraction(25))
    features = features_for(phones, n_frames, Fraction(25))
    quiet = features["rms_db"] < -60
    # A loud tune between the words: notes with onsets and a pitch, louder than the speech.
    time_s = features["time_s"]
    features.loc[quiet, "rms_db"] = -12.0 + 4.0 * np.sin(20.0 * time_s[quiet])
    features.loc[quiet, "f0_hz"] = 330.0
    features.loc[quiet, "onset"] = (np.arange(int(quiet.sum())) % 5 == 0).astype(float)
    motion = make_motion(requests_for(phones, features=features)[0])
    middles = middles_s(n_frames, Fraction(25))
    for still in (middles < 0.3, (middles > 1.2) & (middles < 2.2)):
        for name in MOUTH:
            assert np.ptp(motion.column(name)[still]) == 0, name
        assert (motion.column("lips_closed")[still] == 1).all()


def test_digital_silence_and_missing_pitch_are_no_trouble() -> None:
    request = requests_for(READING)[0]
    features = request.features.assign(rms_db=-np.inf, f0_hz=np.nan, onset=np.nan)
    assert np.isfinite(table_of(make_motion(replace(request, features=features, median_f0_hz=0)))).all()


@pytest.mark.parametrize(
    ("phones", "rule"),
    [
        ([("AA1", 0.0, 0.1)], "ARPABET"),
        ([("AA", 0.1, 0.0)], "end at or after"),
        ([("AA", 0.0, np.nan)], "end at or after"),
        ([("AA", 0.2, 0.3), ("T", 0.0, 0.2)], "sorted"),
    ],
)
def test_phones_that_make_no_sense_are_refused(phones: list[PhoneRow], rule: str) -> None:
    request = requests_for(phones_in_a_row("AA"))[0]
    table = pd.DataFrame(phones, columns=["phone", "start_s", "end_s"])
    with pytest.raises(GenerationError, match=rule):
        make_motion(replace(request, phonemes=table))


def test_features_with_holes_or_too_few_rows_are_refused() -> None:
    request = requests_for(READING, cuts=[100])[1]
    for features in (
        request.features.drop(index=70),
        request.features[60:],
        request.features[:60],
        request.features[:0],
    ):
        with pytest.raises(GenerationError, match="one row a frame"):
            make_motion(replace(request, features=features))
