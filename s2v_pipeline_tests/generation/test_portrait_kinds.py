"""Portraits of many kinds: glasses, beards, dark skin, ages, turned heads, paintings, cartoons, sizes.

`benchmarks/portraits.py` shows the same portraits at length; here they move once, small, measured by landmarks.
"""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.errors import FaceError
from s2v_pipeline.generation.portrait.canvas import FaceFrame
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, COEFFICIENTS
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.outline import LEAST, MOST, head_outline
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.inputs.framing import choose_face, frame_portrait, head_angles
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline_tests.generation.portrait_requests import landmarker

FOLDER = Path(__file__).parents[1] / "data" / "portraits"
REFUSED = "man_turned_45"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jpg") if path.stem != REFUSED)
SPEAKERS = (
    *("grace_hopper", "man_beard", "man_mouth_open", "old_man_white_beard_turned_22", "woman_dark_skin_smiling"),
    *("woman_glasses", "woman_turned_30", "painted_woman", "cartoon_child"),
)
SIZE_PX = 224
UPPER_LIP, LOWER_LIP, EYELIDS = 13, 14, ((159, 145), (386, 374))


def pixels_of(name: str) -> NDArray[np.uint8]:
    with Image.open(FOLDER / f"{name}.jpg") as image:
        return np.array(image.convert("RGB"))


@functools.cache
def model_of(name: str, size_px: int = SIZE_PX) -> FaceModel:
    pixels = pixels_of(name)
    face = choose_face(landmarker().find(pixels), pixels.shape, InputSettings())
    framed = frame_portrait(pixels, face, width_px=size_px, height_px=size_px)
    return FaceModel.from_portrait(framed.pixels, landmarker())


def row(**values: float) -> NDArray[np.float32]:
    coefficients = np.zeros(len(COEFFICIENTS), np.float32)
    for name, value in values.items():
        coefficients[COEFFICIENT_NAMES.index(name)] = value
    return coefficients


def seen(renderer: Renderer, **values: float) -> NDArray[np.float32]:
    """Landmarks in units of the distance between the eyes."""
    (face,) = landmarker().find(renderer.render(row(**values)))
    return FaceFrame.of_landmarks(face.landmarks_px).to_face(face.landmarks_px[:, :2])


def lids_apart(points: NDArray[np.float32]) -> float:
    return float(np.mean([points[lower, 1] - points[upper, 1] for upper, lower in EYELIDS]))


def test_the_set_is_large_enough() -> None:
    assert len(NAMES) >= 15


@pytest.mark.parametrize("name", SPEAKERS)
def test_every_kind_of_face_speaks_and_blinks(name: str) -> None:
    renderer = Renderer(model_of(name))
    shut = seen(renderer, lips_closed=1, smile_relax=0.5)
    opened = seen(renderer, jaw_open=0.8, smile_relax=0.5)
    blinking = seen(renderer, lips_closed=1, smile_relax=0.5, blink=1)
    gap_shut, gap_open = (float(points[LOWER_LIP, 1] - points[UPPER_LIP, 1]) for points in (shut, opened))
    assert gap_shut < 0.09
    assert gap_open > gap_shut + 0.12
    assert lids_apart(blinking) < 0.75 * lids_apart(shut)


@pytest.mark.parametrize("size_px", [160, 512])
def test_an_open_mouth_closes_at_every_size(size_px: int) -> None:
    renderer = Renderer(model_of("man_mouth_open", size_px))
    shut = seen(renderer, lips_closed=1, smile_relax=0.5)
    assert shut[LOWER_LIP, 1] - shut[UPPER_LIP, 1] < 0.09


@pytest.mark.parametrize("size_px", [160, 512])
def test_lips_that_landmarks_hold_apart_are_not_taken_for_teeth(size_px: int) -> None:
    assert not model_of("man_dark_skin", size_px).lips.is_open


def test_pressed_lips_are_seen_to_meet_where_a_light_lower_lip_is_taken_for_an_opening() -> None:
    renderer = Renderer(model_of("man_dark_skin", 512))
    rest, pressed = (seen(renderer, lips_closed=1, lip_press=press, jaw_open=0.12, smile_relax=0.8) for press in (0, 1))
    gap_rest, gap_pressed = (float(points[LOWER_LIP, 1] - points[UPPER_LIP, 1]) for points in (rest, pressed))
    assert gap_pressed < 0.6 * gap_rest


@pytest.mark.parametrize("name", NAMES)
def test_a_turned_head_is_not_torn_and_the_edge_of_the_picture_rests(name: str) -> None:
    model = model_of(name)
    for pitch_deg, yaw_deg, roll_deg in ((0, 7, 0), (0, -7, 0), (5, 5, -5), (-5, 5, 5)):
        field = model.head.forward(pitch_deg, yaw_deg, roll_deg, 0.5)
        # From a slope of 1 on, places change their order: the picture folds.
        assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.75
    corner = model.head.forward(0, 7, 4, 0)[0, [0, -1]]
    assert np.abs(corner).max() < 0.35


def test_a_head_turned_too_far_is_refused_with_its_angle() -> None:
    pixels = pixels_of(REFUSED)
    with pytest.raises(FaceError, match=r"by about 4\d degrees"):
        choose_face(landmarker().find(pixels), pixels.shape, InputSettings())


@pytest.mark.parametrize(("name", "yaw_deg"), [("man_dark_skin", 0), ("painted_woman", 15), ("woman_turned_30", -30)])
def test_angles_of_rendered_heads_are_known(name: str, yaw_deg: float) -> None:
    (face,) = landmarker().find(pixels_of(name))
    assert head_angles(face).yaw_deg == pytest.approx(yaw_deg, abs=4)


@pytest.mark.parametrize("face_px", [80, 900])
def test_small_and_large_faces(face_px: float) -> None:
    pixels = pixels_of("woman_glasses")
    (face,) = landmarker().find(pixels)
    scale = face_px / float(np.ptp(face.landmarks_px[:, 0]))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)
    chosen = choose_face(landmarker().find(scaled), scaled.shape, InputSettings())
    framed = frame_portrait(scaled, chosen, width_px=SIZE_PX, height_px=SIZE_PX).pixels
    points = seen(Renderer(FaceModel.from_portrait(framed, landmarker())), jaw_open=0.8)
    assert points[LOWER_LIP, 1] - points[UPPER_LIP, 1] > 0.12


class TestOutline:
    """A dark head on a light wall, drawn: its radius is known in every direction."""

    SIZE_PX = 160

    def _ellipse(self) -> NDArray[np.float32]:
        axis = (np.arange(self.SIZE_PX, dtype=np.float32) - self.SIZE_PX / 2) / (self.SIZE_PX / 4)
        x, y = np.meshgrid(axis, axis)
        return np.stack([x, y], axis=-1)

    @pytest.mark.parametrize("radius", [0.8, 1.05])
    def test_finds_where_the_hair_ends(self, radius: float) -> None:
        ellipse = self._ellipse()
        distance = np.hypot(ellipse[..., 0], ellipse[..., 1])
        pixels = np.random.default_rng(0).integers(180, 215, (self.SIZE_PX, self.SIZE_PX, 3), dtype=np.uint8)
        pixels[distance < radius] = (60, 40, 30)
        pixels[distance < 0.55] = (200, 150, 120)
        outline = head_outline(pixels, ellipse, distance < 0.5)
        upwards = outline[9:28]  # from the left over the top to the right: y points down
        assert np.abs(upwards - radius).max() < 0.08

    def test_a_wall_like_the_hair_leaves_the_outline_in_its_bounds(self) -> None:
        pixels = np.full((self.SIZE_PX, self.SIZE_PX, 3), 90, np.uint8)
        ellipse = self._ellipse()
        outline = head_outline(pixels, ellipse, np.hypot(ellipse[..., 0], ellipse[..., 1]) < 0.5)
        assert outline.min() >= LEAST - 1e-6
        assert outline.max() <= MOST + 1e-6

    def test_a_close_up_has_no_background(self) -> None:
        pixels = np.full((self.SIZE_PX, self.SIZE_PX, 3), 90, np.uint8)
        ellipse = self._ellipse() * 0.4
        assert np.all(head_outline(pixels, ellipse, np.hypot(ellipse[..., 0], ellipse[..., 1]) < 0.5) == 1)

    def test_the_same_picture_gives_the_same_outline(self) -> None:
        pixels = np.random.default_rng(1).integers(0, 255, (self.SIZE_PX, self.SIZE_PX, 3), dtype=np.uint8)
        ellipse = self._ellipse()
        face = np.hypot(ellipse[..., 0], ellipse[..., 1]) < 0.5
        first = head_outline(pixels, ellipse, face)
        cv2.setRNGSeed(12345)
        assert first.tobytes() == head_outline(pixels, ellipse, face).tobytes()
