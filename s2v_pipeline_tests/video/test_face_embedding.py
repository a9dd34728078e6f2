"""Whose face it is, by a model that the user brings: here one that knows colours alone, so that the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.video.face_embedding import FACE_PX, FaceEmbedder, cut_face, measure_likeness
from s2v_pipeline.video.face_track import face_of_picture
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline_tests.video.talking import Talking, portrait
from s2v_pipeline_tests.video.tiny_onnx import write_doubler, write_mean_colour


@pytest.fixture
def embedder(tmp_path: Path) -> FaceEmbedder:
    return FaceEmbedder(write_mean_colour(tmp_path / "colour.onnx"))


def test_the_same_face_is_alike_and_another_one_is_found(talking: Talking, embedder: FaceEmbedder) -> None:
    face = face_of_picture(portrait(), FaceLandmarker())
    assert face is not None
    own = measure_likeness(iter_frames(talking.path), talking.track, portrait(), face.landmarks_px, embedder)
    assert own is not None
    assert own.frames == 24
    assert own.worst > 0.999

    # From the middle on somebody green speaks.
    middle = len(talking.track.frames) // 2
    changed = (
        replace(shown, pixels=shown.pixels * np.array([0, 1, 0], np.uint8)) if shown.index >= middle else shown
        for shown in iter_frames(talking.path)
    )
    other = measure_likeness(changed, talking.track, portrait(), face.landmarks_px, embedder)
    assert other is not None
    assert other.worst < 0.7
    assert other.worst_s >= float(talking.track.middles_s[middle])
    assert own.worst > GateSettings().least_identity


def test_a_face_is_cut_upright_whatever_its_size(embedder: FaceEmbedder) -> None:
    picture = portrait()
    face = face_of_picture(picture, FaceLandmarker())
    assert face is not None
    cut = cut_face(picture, face.landmarks_px)
    assert cut.shape == (FACE_PX, FACE_PX, 3)
    turned = np.ascontiguousarray(np.rot90(picture))
    landmarks = face.landmarks_px.copy()
    landmarks[:, 0], landmarks[:, 1] = face.landmarks_px[:, 1], picture.shape[1] - 1 - face.landmarks_px[:, 0]
    difference = np.abs(cut_face(turned, landmarks).astype(int) - cut)
    assert difference.mean() < 2


def test_models_that_take_something_else_are_refused(talking: Talking, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gate\.identity_model must name an ONNX file"):
        FaceEmbedder(tmp_path / "absent.onnx")
    assert FaceEmbedder(write_doubler(tmp_path / "doubler.onnx")).embed(portrait(), talking.track.landmarks_px[0]).size
