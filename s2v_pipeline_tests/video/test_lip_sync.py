"""Lips against phones: a good video passes, and each way of being wrong is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.errors import MediaError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.video.lip_sync import measure_lip_sync
from s2v_pipeline.video.sound_lag import av_offset, measure_sound_lag, read_sound, sound_lag
from s2v_pipeline_tests.video.talking import (
    FPS,
    Talking,
    follow,
    later,
    part_of,
    portrait,
    with_landmarks,
    with_sound,
)

FRAME_S = float(1 / FPS)


def moved(phones: pd.DataFrame, shift_s: float) -> pd.DataFrame:
    """The phones later; what would come before 0 is left out."""
    shifted = phones.assign(start_s=phones["start_s"] + shift_s, end_s=phones["end_s"] + shift_s)
    return shifted[shifted["start_s"] >= 0]


def test_a_good_video_is_found_good(talking: Talking) -> None:
    lips = measure_lip_sync(talking.track, talking.phones)
    assert lips.opening is not None
    assert lips.opening.correlation > 0.75
    assert abs(lips.opening.control) < 0.2
    assert lips.opening.beyond_chance > 3.5
    assert lips.picture_lag_s is not None
    assert abs(lips.picture_lag_s) < 0.03
    assert lips.picture_lag_95_s is not None
    assert 0.001 < lips.picture_lag_95_s < FRAME_S
    assert lips.closures is not None
    assert lips.closures.total == 4
    assert lips.closures.reached == 4
    assert lips.closures.elsewhere is not None
    assert lips.closures.elsewhere < 0.6
    assert lips.closures.missed == ()
    assert lips.silence is not None
    assert lips.silence.share_of_range is not None
    assert lips.silence.share_of_range < 0.03


@pytest.mark.parametrize("shift_ms", [-200, -120, -40, 40, 120, 200])
def test_phones_that_are_moved_are_found_where_they_are(talking: Talking, shift_ms: int) -> None:
    at_rest = measure_lip_sync(talking.track, talking.phones)
    lips = measure_lip_sync(talking.track, moved(talking.phones, shift_ms / 1000))
    assert at_rest.picture_lag_s is not None
    assert lips.picture_lag_s is not None
    assert lips.picture_lag_s == pytest.approx(-shift_ms / 1000, abs=FRAME_S)
    assert lips.picture_lag_s - at_rest.picture_lag_s == pytest.approx(-shift_ms / 1000, abs=0.01)


@pytest.mark.parametrize("shift_ms", [-200, -120, -80, -40, 0, 40, 80, 120, 200])
def test_sound_that_is_moved_is_found_within_a_frame(talking: Talking, shift_ms: int) -> None:
    sound = sound_lag(later(talking.speech, shift_ms / 1000), talking.phones)
    offset = av_offset(measure_lip_sync(talking.track, talking.phones), sound)
    assert offset is not None
    assert offset.picture_minus_sound_s == pytest.approx(-shift_ms / 1000, abs=FRAME_S)
    assert offset.uncertainty_95_s < 2 * FRAME_S


def test_the_sound_of_a_file_is_what_counts(talking: Talking, tmp_path: Path) -> None:
    """120 ms late in the file itself; the phones know nothing of it."""
    clip = talking.path.parent / "clip.mp4"
    path = with_sound(clip, later(talking.speech, 0.12), tmp_path / "late.mp4", n_frames=len(talking.track.frames))
    unmoved, late = (measure_sound_lag(file, talking.phones) for file in (talking.path, path))
    assert unmoved is not None
    assert late is not None
    assert late.lag_s - unmoved.lag_s == pytest.approx(0.12, abs=0.003)
    assert abs(unmoved.lag_s) < 0.03
    assert read_sound(path).samples.size == pytest.approx(talking.speech.samples.size, abs=1024)
    with pytest.raises(MediaError, match="sound"):
        measure_sound_lag(clip, talking.phones)


def test_another_speech_has_no_lag(talking: Talking) -> None:
    noise = np.random.default_rng(3).standard_normal(talking.speech.samples.size).astype(np.float32) * 0.1
    assert sound_lag(type(talking.speech)(noise, 16_000), talking.phones) is None


def test_frozen_lips_close_nothing_and_have_no_offset(talking: Talking, landmarker: FaceLandmarker) -> None:
    frozen = follow([portrait()] * len(talking.track.frames[::4]), landmarker, fps=FPS / 4)
    lips = measure_lip_sync(frozen, talking.phones)
    assert lips.picture_lag_s is None
    assert lips.closures is not None
    assert lips.closures.reached == 0
    assert any("hardly move" in reason for reason in lips.cannot_tell)
    assert av_offset(lips, sound_lag(talking.speech, talking.phones)) is None


def test_lips_of_another_speech_are_no_better_than_chance(talking: Talking) -> None:
    """The frames in another order of seconds: as lively as before, and about other words."""
    order = np.concatenate([np.arange(90, len(talking.track.frames)), np.arange(90)])
    lips = measure_lip_sync(with_landmarks(talking.track, talking.track.landmarks_px[order]), talking.phones)
    own = measure_lip_sync(talking.track, talking.phones).opening
    assert lips.opening is not None
    assert own is not None
    assert lips.opening.correlation_at_zero < own.correlation_at_zero - 0.2
    assert lips.picture_lag_s is None
    assert any("do not follow" in reason for reason in lips.cannot_tell)


def test_lips_that_move_in_silence_are_seen(talking: Talking) -> None:
    silence = pd.DataFrame({"phone": ["SIL"], "start_s": [0.0], "end_s": [8.0]})
    lips = measure_lip_sync(talking.track, silence)
    still = measure_lip_sync(talking.track, talking.phones).silence
    assert lips.silence is not None
    assert still is not None
    assert lips.silence.deviation > 10 * still.deviation
    assert lips.silence.share_of_range is None
    assert (lips.opening, lips.closures, lips.shape, lips.picture_lag_s) == (None, None, None, None)
    assert "lip sync: nobody speaks" in lips.cannot_tell


def test_little_speech_is_no_number(talking: Talking) -> None:
    lips = measure_lip_sync(part_of(talking.track, slice(0, 40)), talking.phones)
    assert (lips.opening, lips.closures, lips.shape, lips.picture_lag_s) == (None, None, None, None)
    assert any("too little speech to tell" in reason for reason in lips.cannot_tell)


def test_a_small_face_is_no_number(talking: Talking) -> None:
    lips = measure_lip_sync(with_landmarks(talking.track, talking.track.landmarks_px * 0.5), talking.phones)
    assert lips.opening is None
    assert any("too small" in reason for reason in lips.cannot_tell)


def test_half_the_frame_rate_gives_the_same_lag(talking: Talking) -> None:
    whole = measure_lip_sync(talking.track, talking.phones)
    half = measure_lip_sync(part_of(talking.track, slice(None, None, 2)), talking.phones)
    assert whole.picture_lag_s is not None
    assert half.picture_lag_s == pytest.approx(whole.picture_lag_s, abs=0.015)


def test_frames_without_a_face_are_left_out(talking: Talking) -> None:
    landmarks_px = talking.track.landmarks_px.copy()
    landmarks_px[30:45] = np.nan
    whole = measure_lip_sync(talking.track, talking.phones)
    lips = measure_lip_sync(with_landmarks(talking.track, landmarks_px), talking.phones)
    assert whole.picture_lag_s is not None
    assert lips.picture_lag_s == pytest.approx(whole.picture_lag_s, abs=0.03)
    landmarks_px[20:160] = np.nan
    lips = measure_lip_sync(with_landmarks(talking.track, landmarks_px), talking.phones)
    assert lips.opening is None
    assert any("a face is seen in" in reason for reason in lips.cannot_tell)


def test_rounding_and_spreading_are_told_apart(talking: Talking) -> None:
    """W UW OW where the mouth is narrow, IY EY S where it is wide; then the other way round."""
    phones = [("W", "UW", "OW", "UW")[i % 4] if i % 2 else ("IY", "EY", "S", "IY")[i // 2 % 4] for i in range(36)]
    table = pd.DataFrame({"phone": phones, "start_s": np.arange(36) * 0.16, "end_s": np.arange(1, 37) * 0.16})
    table.loc[table.index[::3], "phone"] = "K"
    landmarks_px = np.repeat(talking.track.landmarks_px[:1], 160, axis=0)
    times_s = (np.arange(160) + 0.5) / float(FPS)
    said = [table["phone"][min(35, int(time_s / 0.16))] for time_s in times_s]
    narrow = np.isin(said, ["W", "UW", "OW"]) * 6.0 - np.isin(said, ["IY", "EY", "S"]) * 6.0
    for corner, sign in ((61, 1), (291, -1)):
        landmarks_px[:, corner, 0] += sign * narrow
    shape = measure_lip_sync(with_landmarks(talking.track, landmarks_px), table).shape
    assert shape is not None
    assert min(shape.spread_over_round, shape.rounding, shape.spreading) > 1.5
    swapped = table.assign(
        phone=table["phone"].map({"W": "IY", "UW": "EY", "OW": "S", "IY": "UW", "EY": "OW", "S": "W"}).fillna("K")
    )
    shape = measure_lip_sync(with_landmarks(talking.track, landmarks_px), swapped).shape
    assert shape is not None
    assert shape.spread_over_round < -1.5


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pd.DataFrame({"phone": ["AA"], "start_s": [0.0]}), "end_s"),
        (pd.DataFrame({"phone": ["AX"], "start_s": [0.0], "end_s": [1.0]}), "AX"),
        (pd.DataFrame({"phone": ["AA"], "start_s": [1.0], "end_s": [1.0]}), "end after"),
    ],
)
def test_tables_that_are_none_are_refused(talking: Talking, table: pd.DataFrame, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        measure_lip_sync(talking.track, table)
