"""Whose face it is and whether its colours stay: the same person passes, another one and a drift are seen."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.video.face_track import STILL_PARTS, PictureFace, face_of_picture
from s2v_pipeline.video.identity import measure_colours, measure_identity
from s2v_pipeline_tests.generation.portrait_requests import sample_portrait
from s2v_pipeline_tests.video.material import picture
from s2v_pipeline_tests.video.talking import SIZE_PX, Pixels, Talking, follow, other_person, part_of, portrait


@pytest.fixture(scope="module")
def large(landmarker: FaceLandmarker) -> PictureFace:
    """The portrait in another size."""
    face = face_of_picture(sample_portrait(2 * SIZE_PX, 2 * SIZE_PX), landmarker)
    assert face is not None
    return face


@pytest.fixture(scope="module")
def other(landmarker: FaceLandmarker) -> PictureFace:
    face = face_of_picture(other_person(portrait()), landmarker)
    assert face is not None
    return face


def test_the_same_person_is_kept_and_another_is_told(talking: Talking, large: PictureFace, other: PictureFace) -> None:
    same, wrong = (measure_identity(talking.track, face) for face in (large, other))
    assert same is not None
    assert wrong is not None
    assert same.against_portrait is not None
    assert wrong.against_portrait is not None
    assert same.against_portrait < 20
    assert wrong.against_portrait > 2.5 * same.against_portrait
    assert same.drift < 20
    assert same.worst_against_portrait is not None
    assert same.worst_against_portrait >= same.against_portrait * 0.9


def test_a_person_who_changes_midway_is_seen(landmarker: FaceLandmarker) -> None:
    changing = follow([portrait()] * 4 + [other_person(portrait())] * 4, landmarker, fps=Fraction(2))
    staying = follow([portrait()] * 4, landmarker, fps=Fraction(2))
    changed, stayed = measure_identity(changing), measure_identity(staying)
    assert changed is not None
    assert stayed is not None
    assert stayed.drift < 3
    assert changed.drift > 25
    assert changed.against_portrait is None


def warmer(pixels: Pixels, amount: float) -> Pixels:
    return np.clip(pixels + np.array([12.0, 0.0, -12.0]) * amount, 0, 255).astype(np.uint8)


def test_colours_that_drift_are_seen_and_those_that_stay_are_not(talking: Talking, landmarker: FaceLandmarker) -> None:
    drifting = measure_colours(follow([warmer(portrait(), step / 7) for step in range(8)], landmarker, fps=Fraction(2)))
    assert tuple(colour.part for colour in drifting) == STILL_PARTS
    for colour in drifting:
        assert colour.drift > 4
        assert colour.last == colour.drift
        assert colour.drift_at_s == 3.5
    for colour in measure_colours(talking.track):
        assert colour.drift < 4


def test_flicker_is_no_drift(landmarker: FaceLandmarker) -> None:
    flashing = [np.clip(portrait() * (1.0, 0.9)[step % 2], 0, 255).astype(np.uint8) for step in range(12)]
    for colour in measure_colours(follow(flashing, landmarker, fps=Fraction(4))):
        assert colour.flicker > 2
        assert colour.drift < 1


def test_another_picture_has_other_colours(talking: Talking, landmarker: FaceLandmarker, large: PictureFace) -> None:
    rosy = face_of_picture(warmer(portrait(), 2), landmarker)
    assert rosy is not None
    for own, strange in zip(measure_colours(talking.track, large), measure_colours(talking.track, rosy), strict=True):
        assert own.against_portrait is not None
        assert strange.against_portrait is not None
        assert own.against_portrait < 4 < strange.against_portrait


def test_every_nth_frame_will_do(talking: Talking, large: PictureFace) -> None:
    whole, sparse = (
        measure_identity(track, large) for track in (talking.track, part_of(talking.track, slice(None, None, 5)))
    )
    assert whole is not None
    assert sparse is not None
    assert sparse.against_portrait == pytest.approx(whole.against_portrait, rel=0.1)


def test_without_a_face_there_is_no_identity(landmarker: FaceLandmarker) -> None:
    track = follow([picture(0, SIZE_PX)], landmarker)
    assert measure_identity(track) is None
    assert measure_colours(track) == ()
