"""Which face is chosen or refused, and what frames look like; on the sample portrait and pictures made from it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import Delaunay

from s2v_pipeline.errors import FaceError
from s2v_pipeline.faces.landmarker import Face, FaceLandmarker
from s2v_pipeline.inputs.framing import (
    FramedPortrait,
    choose_face,
    frame_portrait,
    head_angles,
    notes_on_choice,
)
from s2v_pipeline.setting_groups import InputSettings

Pixels = NDArray[np.uint8]

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "portrait.png"
LIMITS = InputSettings()
FOREHEAD, CHIN, RIGHT_EYE, LEFT_EYE = 10, 152, 33, 263


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    with Image.open(SAMPLE) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="module")
def face(landmarker: FaceLandmarker, pixels: Pixels) -> Face:
    return landmarker.find(pixels)[0]


@pytest.fixture(scope="module")
def roomy(pixels: Pixels) -> Pixels:
    """The portrait in the middle of a wide grey room."""
    return np.pad(pixels, ((500, 500), (600, 600), (0, 0)), constant_values=190)


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)


def _beside(first: Pixels, second: Pixels) -> Pixels:
    below = first.shape[0] - second.shape[0]
    return np.concatenate([first, np.pad(second, ((0, below), (0, 0), (0, 0)))], axis=1)


def _turned(pixels: Pixels, face: Face, yaw_deg: float) -> Pixels:
    """The face alone, its mesh turned about the vertical axis and drawn from the back to the front."""
    before = face.landmarks_px[:468].astype(np.float64)
    sine, cosine = np.sin(np.radians(yaw_deg)), np.cos(np.radians(yaw_deg))
    middle = before.mean(axis=0)
    # z grows away from the camera, so that this brings the nose to the picture's right for a positive angle.
    after = (before - middle) @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]).T + middle
    triangles = Delaunay(before[:, :2]).simplices
    drawn = np.full_like(pixels, 160)
    for triangle in triangles[np.argsort(-after[triangles, 2].mean(axis=1))]:
        source = before[triangle, :2].astype(np.float32)
        target = after[triangle, :2].astype(np.float32)
        x, y, width, height = cv2.boundingRect(target)
        to_patch = cv2.getAffineTransform(source, target - np.array([x, y], np.float32))
        patch = cv2.warpAffine(pixels, to_patch, (width, height), borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(target - (x, y)).astype(np.int32), 1)
        drawn[y : y + height, x : x + width][mask > 0] = patch[mask > 0]
    return drawn


def _measured(landmarker: FaceLandmarker, framed: FramedPortrait) -> tuple[float, float, float]:
    """(face's part of the shorter side, eyes' part of the height, face's middle as a part of the width)."""
    points = landmarker.find(framed.pixels)[0].landmarks_px
    height_px, width_px = framed.pixels.shape[:2]
    return (
        float(np.linalg.norm(points[CHIN, :2] - points[FOREHEAD, :2])) / min(height_px, width_px),
        float(points[RIGHT_EYE, 1] + points[LEFT_EYE, 1]) / 2 / height_px,
        float(points[:, 0].min() + points[:, 0].max()) / 2 / width_px,
    )


def test_the_only_face_is_chosen(pixels: Pixels, face: Face) -> None:
    assert choose_face([face], pixels.shape, LIMITS) is face
    assert notes_on_choice([face], face) == ()


def test_no_face(pixels: Pixels) -> None:
    with pytest.raises(FaceError, match="must show a face"):
        choose_face([], pixels.shape, LIMITS)


@pytest.mark.parametrize(("second_scale", "refused"), [(1.0, True), (0.6, True), (0.4, False)])
def test_a_second_face(landmarker: FaceLandmarker, pixels: Pixels, second_scale: float, refused: bool) -> None:
    both = _beside(pixels, _scaled(pixels, second_scale))
    faces = landmarker.find(both)
    assert len(faces) == 2
    if refused:
        with pytest.raises(FaceError, match="2 faces of similar size") as caught:
            choose_face(faces, both.shape, LIMITS)
        assert "Crop" in caught.value.cure
    else:
        chosen = choose_face(faces, both.shape, LIMITS)
        assert chosen.landmarks_px[:, 0].max() < 400
        (note,) = notes_on_choice(faces, chosen)
        assert note.startswith("a smaller face is ignored")


def test_a_small_face(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    small = _scaled(pixels, 0.5)
    faces = landmarker.find(small)
    with pytest.raises(FaceError, match="at least 60 px wide"):
        choose_face(faces, small.shape, LIMITS)
    assert choose_face(faces, small.shape, InputSettings(min_face_px=40)) is faces[0]


@pytest.mark.parametrize("yaw_deg", [-30, -20, -10, 0, 10, 20, 30])
def test_yaw_is_measured(landmarker: FaceLandmarker, pixels: Pixels, face: Face, yaw_deg: float) -> None:
    turned = _turned(_scaled(pixels, 2), landmarker.find(_scaled(pixels, 2))[0], yaw_deg)
    found = landmarker.find(turned)[0]
    assert head_angles(found).yaw_deg == pytest.approx(yaw_deg, abs=4)
    assert choose_face([found], turned.shape, LIMITS) is found


@pytest.mark.parametrize("yaw_deg", [-58, 58])
def test_a_face_turned_too_far(landmarker: FaceLandmarker, pixels: Pixels, yaw_deg: float) -> None:
    large = _scaled(pixels, 2)
    turned = _turned(large, landmarker.find(large)[0], yaw_deg)
    # Whether it is still found or not: it is refused.
    with pytest.raises(FaceError, match=r"look towards the camera|must show a face"):
        choose_face(landmarker.find(turned), turned.shape, LIMITS)


def test_yaw_beyond_the_limit_says_the_angle(pixels: Pixels, face: Face) -> None:
    points = face.landmarks_px.copy()
    points[1, 0] += 0.6 * np.ptp(points[:, 0])
    with pytest.raises(FaceError, match="within 36 degrees") as caught:
        choose_face([Face(face.box_px, 1, points, face.blendshapes, 1)], pixels.shape, LIMITS)
    assert "turned to the side by about 4" in caught.value.got


@pytest.mark.parametrize(("turns", "roll_deg"), [(1, -90), (3, 90)])
def test_a_picture_on_its_side(landmarker: FaceLandmarker, pixels: Pixels, turns: int, roll_deg: float) -> None:
    on_side = np.ascontiguousarray(np.rot90(pixels, turns))
    faces = landmarker.find(on_side)
    assert head_angles(faces[0]).roll_deg == pytest.approx(roll_deg, abs=8)
    with pytest.raises(FaceError, match="upright"):
        choose_face(faces, on_side.shape, LIMITS)


@pytest.mark.parametrize(
    ("rows", "columns", "where"),
    [
        (slice(0, 160), slice(0, 400), "below"),
        (slice(102, 400), slice(0, 400), "above"),
        (slice(0, 400), slice(170, 400), "on the left"),
        (slice(0, 400), slice(0, 232), "on the right"),
    ],
)
def test_a_face_cut_by_the_edge(
    landmarker: FaceLandmarker, pixels: Pixels, rows: slice, columns: slice, where: str
) -> None:
    cut = np.ascontiguousarray(pixels[rows, columns])
    faces = landmarker.find(cut)
    assert faces
    with pytest.raises(FaceError, match="whole face") as caught:
        choose_face(faces, cut.shape, LIMITS)
    assert where in caught.value.got


def test_a_cut_forehead_is_accepted(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    cut = np.ascontiguousarray(pixels[82:])
    (found,) = landmarker.find(cut)
    assert choose_face([found], cut.shape, LIMITS) is found


@pytest.mark.parametrize(("width_px", "height_px"), [(512, 512), (480, 854), (1280, 720), (256, 256), (1080, 1080)])
def test_a_roomy_portrait_is_framed_as_wished(
    landmarker: FaceLandmarker, roomy: Pixels, width_px: int, height_px: int
) -> None:
    framed = frame_portrait(roomy, landmarker.find(roomy)[0], width_px=width_px, height_px=height_px)
    assert framed.pixels.shape == (height_px, width_px, 3)
    part, eyes, middle = _measured(landmarker, framed)
    assert part == pytest.approx(0.48, abs=0.025)
    assert eyes == pytest.approx(0.42, abs=0.02)
    assert middle == pytest.approx(0.50, abs=0.02)
    x0, y0, x1, y1 = framed.crop_px
    assert 0 <= x0 < x1 <= roomy.shape[1]
    assert 0 <= y0 < y1 <= roomy.shape[0]
    assert (x1 - x0) / (y1 - y0) == pytest.approx(width_px / height_px, rel=0.01)


@pytest.mark.parametrize(("width_px", "height_px"), [(512, 512), (480, 854), (1280, 720)])
def test_the_sample_is_framed_inside_its_borders(
    landmarker: FaceLandmarker, pixels: Pixels, face: Face, width_px: int, height_px: int
) -> None:
    framed = frame_portrait(pixels, face, width_px=width_px, height_px=height_px)
    x0, y0, x1, y1 = framed.crop_px
    assert 0 <= x0 < x1 <= 400
    assert 0 <= y0 < y1 <= 400
    assert not any("extended" in note for note in framed.notes)
    part, _, middle = _measured(landmarker, framed)
    assert 0.38 < part < 0.52
    assert middle == pytest.approx(0.5, abs=0.03)


def test_a_tight_portrait_takes_the_largest_crop(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    tight = np.ascontiguousarray(pixels[40:215, 120:280])
    framed = frame_portrait(tight, landmarker.find(tight)[0], width_px=512, height_px=512)
    assert framed.crop_px[0] == 0
    assert framed.crop_px[2] == 160
    assert any("tight" in note for note in framed.notes)
    assert any("enlarged" in note for note in framed.notes)


@pytest.mark.parametrize(("width_px", "height_px"), [(480, 854), (1280, 720), (64, 512), (1024, 64)])
def test_borders_are_extended_rather_than_the_face_cut(
    landmarker: FaceLandmarker, pixels: Pixels, width_px: int, height_px: int
) -> None:
    tight = np.ascontiguousarray(pixels[62:186, 146:256])
    found = landmarker.find(tight)[0]
    framed = frame_portrait(tight, found, width_px=width_px, height_px=height_px)
    assert framed.pixels.shape == (height_px, width_px, 3)
    assert any("extended" in note for note in framed.notes)
    x0, y0, x1, y1 = framed.crop_px
    points = found.landmarks_px
    assert x0 <= points[:, 0].min()
    assert points[:, 0].max() <= x1
    assert y0 <= points[:, 1].min()
    assert points[:, 1].max() <= y1


def test_an_extended_border_is_smooth_and_leaves_the_picture_alone(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    tight = np.ascontiguousarray(pixels[62:186, 146:256])
    framed = frame_portrait(tight, landmarker.find(tight)[0], width_px=1280, height_px=720)
    x0, y0, x1, y1 = framed.crop_px
    left_px = round(-x0 * 1280 / (x1 - x0))
    bottom_px = 720 - round((124 - y0) * 720 / (y1 - y0))
    assert left_px > 100
    far_left = framed.pixels[: 720 - bottom_px, : left_px // 2].astype(int)
    assert np.abs(np.diff(far_left, axis=0)).max() <= 8
    assert np.abs(np.diff(far_left, axis=1)).max() <= 2
    resampled = cv2.resize(framed.pixels[:, left_px : left_px + round(110 * 1280 / (x1 - x0))], (110, 127))
    assert np.abs(resampled[5:120, 5:-5].astype(int) - tight[5:120, 5:-5]).mean() < 6


def test_reducing_does_not_alias(landmarker: FaceLandmarker, pixels: Pixels) -> None:
    large = _scaled(pixels, 6)
    found = landmarker.find(large)[0]
    # Stripes of one pixel: by area they become even grey, sampled they would flicker between black and white.
    stripes = np.repeat(np.repeat((np.arange(2400) % 2 * 255).astype(np.uint8)[None, :, None], 2400, 0), 3, 2)
    framed = frame_portrait(stripes, found, width_px=256, height_px=256)
    assert framed.pixels.std() < 12


def test_the_same_portrait_gives_the_same_frame(pixels: Pixels, face: Face) -> None:
    first = frame_portrait(pixels, face, width_px=480, height_px=854)
    second = frame_portrait(pixels.copy(), face, width_px=480, height_px=854)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert not first.pixels.flags.writeable


def test_values_that_cannot_be(pixels: Pixels, face: Face) -> None:
    with pytest.raises(ValueError, match="positive"):
        frame_portrait(pixels, face, width_px=0, height_px=10)
    with pytest.raises(ValueError, match="hold pixels"):
        FramedPortrait(np.zeros((2, 2, 3), np.uint8), (5, 0, 5, 9), ())
    with pytest.raises(ValueError, match="uint8"):
        FramedPortrait(np.zeros((2, 2), np.uint8), (0, 0, 5, 9), ())
