"""Views, overlaps and the detector's own decoding, on the sample portrait."""

from __future__ import annotations

import importlib.resources
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.faces import detector
from s2v_pipeline.faces.detector import Detection, FaceDetector, overlap

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "portrait.png"
BUNDLE = importlib.resources.files("s2v_pipeline.faces") / "models" / "face_landmarker.task"


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    with Image.open(SAMPLE) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="module")
def models() -> zipfile.ZipFile:
    return zipfile.ZipFile(str(BUNDLE))


def test_anchors_are_the_896_cell_centres() -> None:
    anchors = detector._anchors()
    assert anchors.shape == (896, 2)
    # Two anchors in each of 16 x 16 cells, rows first, then six in each of 8 x 8.
    np.testing.assert_allclose(anchors[[0, 1, 2, 32]], [[1 / 32, 1 / 32]] * 2 + [[3 / 32, 1 / 32], [1 / 32, 3 / 32]])
    np.testing.assert_allclose(
        anchors[[512, 517, 518, 895]], [[1 / 16, 1 / 16]] * 2 + [[3 / 16, 1 / 16], [15 / 16] * 2]
    )


def test_overlap() -> None:
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


@pytest.mark.parametrize(("width_px", "height_px"), [(400, 400), (4096, 4096), (4096, 60), (60, 4096), (1921, 1079)])
def test_every_level_covers_the_image_with_a_bounded_number_of_views(width_px: int, height_px: int) -> None:
    levels = list(detector._levels(width_px, height_px))
    assert sum(len(views) for views in levels) <= 2 + 9 + 49 + 225
    for views in levels:
        columns, rows = np.zeros(width_px, bool), np.zeros(height_px, bool)
        for view in views:
            columns[max(view.x0_px, 0) : view.x0_px + view.side_px] = True
            rows[max(view.y0_px, 0) : view.y0_px + view.side_px] = True
        assert columns.all()
        assert rows.all()


def test_keypoints_lie_on_eyes_nose_and_mouth(pixels: NDArray[np.uint8], models: zipfile.ZipFile) -> None:
    first_level = next(FaceDetector(models.read("face_detector.tflite")).levels(pixels))
    (detection,) = first_level.detections
    # Read off the picture by eye: irises, nose tip, middle of the mouth.
    seen_px = np.array([[179, 101], [222, 103], [199, 126], [200, 145]])
    # The network sees this picture at 128 px, so 7 px are about two of its own.
    assert np.abs(detection.keypoints_px[:4] - seen_px).max() < 7
    assert detection.score > 0.8
    assert first_level.view_side_px == 400


def test_another_model_is_refused(models: zipfile.ZipFile) -> None:
    with pytest.raises(ValueError, match="not the short-range face detector"):
        FaceDetector(models.read("face_blendshapes.tflite"))


def test_a_detection_checks_its_keypoints() -> None:
    with pytest.raises(ValueError, match="keypoints"):
        Detection((0, 0, 1, 1), 1.0, np.zeros((5, 2)))
