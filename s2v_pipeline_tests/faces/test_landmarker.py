"""Landmarks and blendshapes of the sample portrait, of pictures made from it, and of pictures without a face."""

from __future__ import annotations

import hashlib
import importlib.resources
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.faces import landmarker as landmarker_module
from s2v_pipeline.faces.landmarker import BLENDSHAPE_NAMES, PACKAGED_SHA256, Face, FaceLandmarker

Pixels = NDArray[np.uint8]

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "portrait.png"
BUNDLE = Path(str(importlib.resources.files("s2v_pipeline.faces") / "models" / "face_landmarker.task"))


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    with Image.open(SAMPLE) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="module")
def face(landmarker: FaceLandmarker, pixels: Pixels) -> Face:
    (only,) = landmarker.find(pixels)
    return only


def _width_px(face: Face) -> float:
    return float(np.ptp(face.landmarks_px[:, 0]))


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)


def _on_grey(pixels: Pixels, height_px: int, width_px: int, top_px: int, left_px: int) -> Pixels:
    canvas = np.full((height_px, width_px, 3), 127, np.uint8)
    canvas[top_px : top_px + pixels.shape[0], left_px : left_px + pixels.shape[1]] = pixels
    return canvas


def _mean_error(found: Face, expected_px: NDArray[np.float64]) -> float:
    """Mean distance of landmarks, as a part of the face's width."""
    distances_px = np.linalg.norm(found.landmarks_px[:, :2] - expected_px, axis=1)
    return float(distances_px.mean() / np.ptp(expected_px[:, 0]))


def test_names() -> None:
    assert len(BLENDSHAPE_NAMES) == len(set(BLENDSHAPE_NAMES)) == 52
    assert [BLENDSHAPE_NAMES[i] for i in (0, 1, 9, 25, 51)] == [
        *("_neutral", "browDownLeft", "eyeBlinkLeft", "jawOpen", "noseSneerRight"),
    ]


@pytest.mark.parametrize(
    ("landmark", "seen_px"),
    [
        (468, (179, 101)),  # iris of the right eye, which is on the left of the picture
        (473, (222, 103)),  # iris of the left eye
        (61, (178, 140)),  # right mouth corner
        (291, (222, 141)),  # left mouth corner
        (152, (199, 178)),  # chin
    ],
)
def test_landmarks_lie_where_the_eye_sees_them(face: Face, landmark: int, seen_px: tuple[float, float]) -> None:
    assert np.linalg.norm(face.landmarks_px[landmark, :2] - seen_px) < 3.5


def test_depth_is_negative_towards_the_camera(face: Face) -> None:
    nose_tip, right_edge, left_edge = face.landmarks_px[[1, 234, 454], 2]
    assert nose_tip < 0 < min(right_edge, left_edge)


def test_a_smile_with_open_eyes(face: Face) -> None:
    shapes = dict(zip(BLENDSHAPE_NAMES, face.blendshapes.tolist(), strict=True))
    assert min(shapes["mouthSmileLeft"], shapes["mouthSmileRight"]) > 0.7
    assert max(shapes[name] for name in ("jawOpen", "mouthPucker", "eyeBlinkLeft", "eyeBlinkRight")) < 0.2
    assert face.presence > 0.99
    assert face.score > 0.8


def test_the_same_picture_gives_the_same_bytes(landmarker: FaceLandmarker, pixels: Pixels, face: Face) -> None:
    again = landmarker.find(pixels)[0]
    fresh = FaceLandmarker().find(pixels)[0]
    assert again.landmarks_px.tobytes() == fresh.landmarks_px.tobytes() == face.landmarks_px.tobytes()
    assert again.blendshapes.tobytes() == fresh.blendshapes.tobytes() == face.blendshapes.tobytes()


@pytest.mark.parametrize("scale", [0.6, 2.5, 8.0])
def test_size_does_not_matter(landmarker: FaceLandmarker, pixels: Pixels, face: Face, scale: float) -> None:
    (found,) = landmarker.find(_scaled(pixels, scale))
    expected_px = (face.landmarks_px[:, :2].astype(float) + 0.5) * scale - 0.5
    assert _mean_error(found, expected_px) < 0.012
    assert np.abs(found.blendshapes - face.blendshapes).max() < 0.2


@pytest.mark.parametrize("angle_deg", [-40, -20, 20, 40])
def test_a_leaning_head(landmarker: FaceLandmarker, pixels: Pixels, face: Face, angle_deg: float) -> None:
    turn = cv2.getRotationMatrix2D((200, 130), angle_deg, 1.0)
    (found,) = landmarker.find(np.asarray(cv2.warpAffine(pixels, turn, (400, 400)), np.uint8))
    assert _mean_error(found, face.landmarks_px[:, :2] @ turn[:, :2].T + turn[:, 2]) < 0.01


def test_a_mirrored_face_has_mirrored_landmarks(landmarker: FaceLandmarker, pixels: Pixels, face: Face) -> None:
    (found,) = landmarker.find(np.ascontiguousarray(pixels[:, ::-1]))
    for right, left in ((33, 263), (61, 291), (468, 473), (234, 454)):
        expected_px = face.landmarks_px[right, :2] * (-1, 1) + (399, 0)
        assert np.linalg.norm(found.landmarks_px[left, :2] - expected_px) < 0.03 * _width_px(face)


@pytest.mark.parametrize(("width_px", "height_px", "scale"), [(2048, 1152, 1.0), (4096, 2304, 0.9), (4096, 600, 1.0)])
def test_a_small_face_in_a_large_picture(
    landmarker: FaceLandmarker, pixels: Pixels, face: Face, width_px: int, height_px: int, scale: float
) -> None:
    # The picture's right part, where the whole picture's only detection is the bust, which is no face.
    small = _scaled(pixels, scale)
    left_px, top_px = width_px - small.shape[1] - 100, height_px - small.shape[0]
    (found,) = landmarker.find(_on_grey(small, height_px, width_px, top_px, left_px))
    expected_px = (face.landmarks_px[:, :2].astype(float) + 0.5) * scale - 0.5 + (left_px, top_px)
    assert _mean_error(found, expected_px) < 0.012


def test_a_face_that_fills_the_picture(landmarker: FaceLandmarker, pixels: Pixels, face: Face) -> None:
    (found,) = landmarker.find(np.ascontiguousarray(pixels[68:182, 150:250]))
    assert _mean_error(found, face.landmarks_px[:, :2] - (150, 68)) < 0.02


def test_two_faces_widest_first(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    half = _scaled(pixels, 0.55)
    both = _on_grey(pixels, 400, 400 + half.shape[1], 0, half.shape[1])
    both[: half.shape[0], : half.shape[1]] = half
    wide, narrow = landmarker.find(both)
    assert _width_px(narrow) == pytest.approx(0.55 * _width_px(wide), rel=0.05)
    assert wide.box_px[0] > narrow.box_px[2]


def test_pictures_without_a_face(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    suit_and_flag = np.ascontiguousarray(pixels[190:])
    for picture in (noise, suit_and_flag, np.zeros((700, 60, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)):
        assert landmarker.find(picture) == ()


def test_tracking_follows_a_moved_face(landmarker: FaceLandmarker, pixels: Pixels, face: Face) -> None:
    moved = np.roll(pixels, (6, -9), axis=(0, 1))
    found = landmarker.track(moved, face)
    assert found is not None
    assert _mean_error(found, face.landmarks_px[:, :2] + (-9, 6)) < 0.02
    assert found.score == found.presence
    x0, y0, x1, y1 = found.box_px
    assert (x0, y0) == tuple(found.landmarks_px[:, :2].min(axis=0))
    assert (x1, y1) == tuple(found.landmarks_px[:, :2].max(axis=0))


def test_tracking_ends_where_the_face_is_gone(landmarker: FaceLandmarker, pixels: Pixels, face: Face) -> None:
    assert landmarker.track(np.full_like(pixels, 127), face) is None
    assert landmarker.track(np.roll(pixels, 200, axis=1), face) is None


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 10, 3)])
def test_arrays_that_are_no_picture(landmarker: FaceLandmarker, face: Face, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        landmarker.find(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        landmarker.track(np.zeros((10, 10, 3), np.float32), face)  # type: ignore[arg-type]


def test_a_face_checks_its_arrays(face: Face) -> None:
    with pytest.raises(ValueError, match="478"):
        Face(face.box_px, 1.0, face.landmarks_px[:468], face.blendshapes, 1.0)
    with pytest.raises(ValueError, match="float32"):
        Face(face.box_px, 1.0, face.landmarks_px, face.blendshapes.astype(np.float64), 1.0)  # type: ignore[arg-type]
    assert not face.landmarks_px.flags.writeable


def test_the_packaged_model_is_the_one_that_is_named(landmarker: FaceLandmarker) -> None:
    assert landmarker.model_sha256 == PACKAGED_SHA256 == hashlib.sha256(BUNDLE.read_bytes()).hexdigest()


def test_another_copy_of_the_model(tmp_path: Path, pixels: Pixels, face: Face) -> None:
    copy = tmp_path / "copy.task"
    copy.write_bytes(BUNDLE.read_bytes())
    assert FaceLandmarker(copy).find(pixels)[0].landmarks_px.tobytes() == face.landmarks_px.tobytes()


def test_a_changed_packaged_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarker_module, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ArtifactError, match="unchanged"):
        FaceLandmarker()


def _bundle_with(path: Path, **replaced: bytes | None) -> Path:
    """The packaged bundle with members replaced, or left out where None."""
    with zipfile.ZipFile(BUNDLE) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = replaced.get(name.removesuffix(".tflite"), source.read(name))
            if content is not None:
                target.writestr(name, content)
    return path


def test_wrong_model_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(BUNDLE) as bundle:
        detector = bundle.read("face_detector.tflite")
    text, empty = tmp_path / "text.task", tmp_path / "empty.task"
    text.write_text("no archive")
    empty.write_bytes(b"")
    wrong = (
        *(tmp_path / "missing.task", tmp_path, text, empty),
        _bundle_with(tmp_path / "lacking.task", face_blendshapes=None),
        _bundle_with(tmp_path / "junk.task", face_detector=b"junk" * 100),
        _bundle_with(tmp_path / "swapped.task", face_landmarks_detector=detector),
        _bundle_with(tmp_path / "cut.task", face_blendshapes=detector[:5000]),
    )
    for path in wrong:
        with pytest.raises(ArtifactError) as caught:
            FaceLandmarker(path)
        assert "paths.face_model" in caught.value.cure
