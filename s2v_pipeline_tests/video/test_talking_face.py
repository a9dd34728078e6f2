"""All measures of one file together, and the floor of a frozen face that some are held against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.face_shape import RIGID
from s2v_pipeline.video.face_track import face_of_picture, track_face
from s2v_pipeline.video.talking_face import TalkingFace, measure_talking_face
from s2v_pipeline.video.tracker_noise import TrackerNoise, head_moves, measure_tracker_noise
from s2v_pipeline_tests.video.talking import FPS, SETTINGS, Talking, part_of, portrait, with_landmarks


@pytest.fixture(scope="module")
def measured(talking: Talking, landmarker: FaceLandmarker) -> TalkingFace:
    return measure_talking_face(
        talking.path,
        talking.phones,
        landmarker,
        settings=SETTINGS,
        portrait=face_of_picture(portrait(), landmarker),
        track=talking.track,
    )


def test_picture_and_sound_of_the_file_are_together(measured: TalkingFace) -> None:
    assert measured.offset is not None
    assert abs(measured.offset.picture_minus_sound_s) < float(1 / FPS)
    assert measured.identity is not None
    assert measured.identity.against_portrait is not None
    assert measured.identity.against_portrait < 20
    assert measured.faces.without_face == 0
    assert measured.lips.closures is not None
    assert len(measured.colours) == 4


def test_lips_in_pauses_are_held_against_a_frozen_face(
    measured: TalkingFace, talking: Talking, landmarker: FaceLandmarker
) -> None:
    assert measured.noise is not None
    assert measured.noise.frames >= 12
    assert measured.noise.opening_deviation < 0.003
    assert measured.noise.jitter is not None
    assert measured.jitter is not None
    assert measured.noise.jitter.rms < measured.jitter.rms
    silence = pd.DataFrame({"phone": ["SIL"], "start_s": [0.0], "end_s": [8.0]})
    chattering = measure_talking_face(
        talking.path, silence, landmarker, settings=SETTINGS, track=talking.track, sound=measured.sound
    )
    assert measured.silence_over_noise is not None
    assert chattering.silence_over_noise is not None
    assert chattering.silence_over_noise > 10
    assert chattering.silence_over_noise > 5 * measured.silence_over_noise
    assert chattering.offset is None


def test_a_track_can_look_at_every_nth_frame(talking: Talking, landmarker: FaceLandmarker) -> None:
    sparse = track_face(talking.path, landmarker, step=60)
    assert sparse.frames.tolist() == [0, 60, 120]
    assert sparse.rate_hz == pytest.approx(25 / 60)
    assert sparse.end_s == pytest.approx(talking.track.end_s)
    assert sparse.seen.all()
    # Found anew in the first frame of both: the same to the bit.
    assert np.array_equal(sparse.landmarks_px[0], talking.track.landmarks_px[0])
    with pytest.raises(ValueError, match="every frame"):
        measure_tracker_noise(talking.path, sparse, landmarker, settings=SETTINGS)


def test_noise_needs_a_dozen_frames_with_a_face(talking: Talking, landmarker: FaceLandmarker) -> None:
    within = (FrameSpan(3, 10), FrameSpan(20, 31))
    assert measure_tracker_noise(talking.path, talking.track, landmarker, settings=SETTINGS, within=within) is None


def test_noise_of_several_stretches_is_pooled(talking: Talking, landmarker: FaceLandmarker) -> None:
    def noise(*within: FrameSpan) -> TrackerNoise:
        found = measure_tracker_noise(talking.path, talking.track, landmarker, settings=SETTINGS, within=within)
        assert found is not None
        return found

    first, second = noise(FrameSpan(0, 12)), noise(FrameSpan(100, 112))
    both = noise(FrameSpan(0, 12), FrameSpan(50, 61), FrameSpan(100, 112))
    assert (both.stretches, both.frames) == (2, 24)
    mean_square = (first.opening_deviation**2 + second.opening_deviation**2) / 2
    assert both.opening_deviation == pytest.approx(mean_square**0.5, rel=1e-6)


def test_head_moves_are_the_similarity_that_the_points_made(talking: Talking) -> None:
    angle, size, shift_px = np.radians(4.0), 1.05, np.array([7.0, -3.0])
    linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    first = talking.track.landmarks_px[0].astype(np.float64)
    last = first.copy()
    last[:, :2] = first[:, :2] @ linear.T + shift_px
    landmarks_px = np.concatenate([np.repeat(first[None], 30, axis=0), np.repeat(last[None], 30, axis=0)])
    move = head_moves(with_landmarks(talking.track, landmarks_px).landmarks_px, 25.0)[-1]
    samples_px = first[list(RIGID), :2] - 0.5  # as warpAffine counts
    moved_px = samples_px @ move[:, :2].T + move[:, 2] + 0.5
    assert np.abs(moved_px - last[list(RIGID), :2]).max() < 0.05


def test_tracks_check_themselves(talking: Talking) -> None:
    with pytest.raises(ValueError, match="a face track needs"):
        replace(talking.track, frames=talking.track.frames[1:])
    with pytest.raises(ValueError, match="assignment destination"):
        part_of(talking.track, slice(0, 3)).landmarks_px[0, 0, 0] = 1.0
