"""Trembling, blinks, lost and several faces: on landmarks that move as told, and on pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.video.face_motion import measure_blinks, measure_faces, measure_jitter
from s2v_pipeline.video.face_shape import eye_distances_px, mouth_opening, mouth_width
from s2v_pipeline.video.face_track import FaceTrack, face_of_picture
from s2v_pipeline_tests.video.material import picture
from s2v_pipeline_tests.video.talking import FPS, SIZE_PX, Talking, follow, part_of, portrait, with_landmarks

N_FRAMES = 300
LIDS = {160: 144, 159: 145, 158: 153, 385: 380, 386: 374, 387: 373}


def still(talking: Talking, n_frames: int = N_FRAMES) -> NDArray[np.float64]:
    """The first frame's landmarks, again and again."""
    return np.repeat(talking.track.landmarks_px[:1].astype(np.float64), n_frames, axis=0)


def swaying(talking: Talking) -> NDArray[np.float64]:
    """A head that shifts by 8 px and turns by 12 degrees, once in two seconds."""
    angle = np.radians(12) * np.sin(np.pi * np.arange(N_FRAMES) / float(FPS))
    return turned(still(talking), angle) + np.stack([8 * np.sin(angle * 15), 0 * angle, 0 * angle], 1)[:, None]


def turned(landmarks_px: NDArray[np.float64], angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the side, about the face's middle."""
    middle = landmarks_px.mean(axis=1, keepdims=True)
    x, y, z = np.moveaxis(landmarks_px - middle, 2, 0)
    cosine, sine = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], axis=2) + middle


def test_a_head_that_sways_does_not_tremble_and_one_that_trembles_does(talking: Talking) -> None:
    smooth = measure_jitter(with_landmarks(talking.track, swaying(talking)))
    shake_px = np.random.default_rng(1).normal(0, 0.5, (N_FRAMES, 1, 3))
    shaking = measure_jitter(with_landmarks(talking.track, swaying(talking) + shake_px))
    assert smooth is not None
    assert shaking is not None
    unit_px = float(np.median(eye_distances_px(talking.track.landmarks_px)))
    assert smooth.rms < 0.5
    assert shaking.rms == pytest.approx(1000 * 0.5 * np.sqrt(2) / unit_px, rel=0.15)


def test_one_jump_is_found_where_it_is(talking: Talking) -> None:
    landmarks_px = swaying(talking)
    landmarks_px[200] += 3.0
    jitter = measure_jitter(with_landmarks(talking.track, landmarks_px))
    assert jitter is not None
    assert jitter.worst_s == pytest.approx(200.5 / float(FPS), abs=0.05)


def test_the_real_video_trembles_little(talking: Talking) -> None:
    jitter = measure_jitter(talking.track)
    assert jitter is not None
    assert 0.5 < jitter.rms < 15
    assert measure_jitter(part_of(talking.track, slice(0, 8))) is None


def test_turning_and_size_leave_mouth_measures_alone(talking: Talking) -> None:
    frames = talking.track.landmarks_px[:60].astype(np.float64)
    moved = turned(frames, np.full(60, np.radians(25))) * 1.7 + 40.0
    plain, other = (values.astype(np.float32) for values in (frames, moved))
    for measure in (mouth_opening, mouth_width):
        before, after = (measure(values, eye_distances_px(values)) for values in (plain, other))
        assert np.abs(after - before).max() < 0.03 * np.ptp(before) + 0.004


def blinking(talking: Talking, spans: list[tuple[int, int]]) -> FaceTrack:
    """Lids shut to a tenth in the frames of each span."""
    landmarks_px = still(talking)
    for first, stop in spans:
        for upper, lower in LIDS.items():
            landmarks_px[first:stop, upper] += 0.9 * (landmarks_px[first:stop, lower] - landmarks_px[first:stop, upper])
    return with_landmarks(talking.track, landmarks_px)


def test_blinks_are_counted_and_timed(talking: Talking) -> None:
    blinks = measure_blinks(blinking(talking, [(40, 44), (120, 123), (200, 230)]))
    assert blinks is not None
    assert blinks.count == 2
    assert blinks.lengths_s == pytest.approx((0.16, 0.12), abs=0.02)
    assert blinks.long_closures == 1
    assert blinks.per_minute == pytest.approx(2 / 12 * 60)
    assert blinks.longest_without_s == pytest.approx((200 - 123) / 25, abs=0.05)


def test_a_stare_has_no_blinks_and_a_short_video_no_rate(talking: Talking) -> None:
    stare = measure_blinks(with_landmarks(talking.track, still(talking)))
    assert stare is not None
    assert (stare.count, stare.per_minute, stare.longest_without_s) == (0, 0.0, 12.0)
    short = measure_blinks(part_of(talking.track, slice(0, 100)))
    assert short is not None
    assert short.per_minute is None


def test_lost_and_several_faces_are_seen(talking: Talking, landmarker: FaceLandmarker) -> None:
    alone = measure_faces(talking.track)
    assert (alone.without_face, alone.most_faces, alone.longest_without_s) == (0, 1, 0.0)
    assert alone.first_without_s is None

    blank = picture(0, SIZE_PX)
    two = np.concatenate([portrait(), portrait()], axis=1)[:, : 2 * SIZE_PX]
    beside = np.concatenate([blank, portrait()], axis=1)
    nobody = np.concatenate([blank, blank], axis=1)
    track = follow([beside, nobody, nobody, beside, two, two], landmarker, fps=FPS / 25)
    faces = measure_faces(track)
    assert (faces.frames, faces.without_face, faces.longest_without_s) == (6, 2, 2.0)
    assert faces.first_without_s == 1.5
    assert faces.most_faces == 2
    assert faces.several_at_s == (4.5, 5.5)
    assert np.isnan(track.colours_lab[1]).all()


def test_a_video_without_any_face_measures_nothing(landmarker: FaceLandmarker) -> None:
    track = follow([picture(index, SIZE_PX) for index in range(3)], landmarker)
    assert not track.seen.any()
    assert measure_blinks(track) is None
    assert measure_jitter(track) is None
    assert measure_faces(track).without_face == 3
    assert face_of_picture(picture(0, SIZE_PX), landmarker) is None
