"""The portrait moved by a field: what rests is the portrait to the bit, what moves is sharp."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import feathered_mask
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, COEFFICIENTS
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.frame_warp import FrameWarp, mask_of, to_rgb
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline_tests.generation.portrait_requests import landmarker, sample_portrait

STEP_PX = 6
CELLS_Y, CELLS_X = 17, 22
HEIGHT, WIDTH = 100, 131  # the last cells are not whole


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.2), np.uint8)


@pytest.fixture(scope="module")
def warp(picture: NDArray[np.uint8]) -> FrameWarp:
    return FrameWarp(picture, STEP_PX)


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_what_rests_is_the_portrait_to_the_bit(warp: FrameWarp, picture: NDArray[np.uint8]) -> None:
    field = np.zeros((CELLS_Y, CELLS_X, 2), np.float32)
    assert np.array_equal(to_rgb(warp.moved(field)), picture)
    field[9, 12] = (0.4, -0.3)
    moved = to_rgb(warp.moved(field))
    changed_y, changed_x = (moved != picture).any(axis=-1).nonzero()
    assert changed_y.size
    # A cell's movement ends at the middles of its neighbours.
    assert changed_y.min() >= 8 * STEP_PX + STEP_PX // 2 - 1
    assert changed_y.max() <= 10 * STEP_PX + STEP_PX // 2
    assert changed_x.min() >= 11 * STEP_PX + STEP_PX // 2 - 1
    assert changed_x.max() <= 13 * STEP_PX + STEP_PX // 2


def test_a_move_by_whole_pixels_copies_them(warp: FrameWarp, picture: NDArray[np.uint8]) -> None:
    field = np.broadcast_to(np.array([2 / STEP_PX, -1 / STEP_PX], np.float32), (CELLS_Y, CELLS_X, 2)).copy()
    moved = to_rgb(warp.moved(field))
    assert np.array_equal(moved[1:, :-2], picture[:-1, 2:])


def test_a_move_between_pixels_is_as_sharp_as_cubic_sampling(warp: FrameWarp, picture: NDArray[np.uint8]) -> None:
    for shift in (0.25, 0.5, 0.75):
        field = np.full((CELLS_Y, CELLS_X, 2), shift / STEP_PX, np.float32)
        matrix = np.array([[1, 0, shift], [0, 1, shift]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        cubic = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        moved = to_rgb(warp.moved(field))
        error = moved.astype(float) - cubic
        assert np.sqrt((error**2).mean()) < 1.0
        steps = [float(np.abs(np.diff(each.astype(float), axis=1)).mean()) for each in (moved, cubic)]
        assert steps[0] > 0.93 * steps[1]


def test_a_patch_lies_where_its_canvas_does_and_ends_without_a_step(warp: FrameWarp) -> None:
    field = np.zeros((CELLS_Y, CELLS_X, 2), np.float32)
    rest = warp.moved(field)
    height, width = 40, 60
    # Canvas pixel (x, y) lies at (30 + x, 20 + y) of the portrait.
    matrix = np.array([[1, 0, -30], [0, 1, -20]], np.float32)
    patch = rest[20 : 20 + height, 30 : 30 + width].copy()
    mask = mask_of(feathered_mask(height, width, 8.0))
    same = rest.copy()
    warp.paste(same, patch, mask, warp.positions(field), matrix)
    assert np.array_equal(to_rgb(same), to_rgb(rest))

    drawn = rest.copy()
    lighter = cv2.add(patch, (100, 100, 100, 0))
    warp.paste(drawn, lighter, mask, warp.positions(field), matrix)
    assert np.array_equal(to_rgb(drawn)[35:45, 50:70], lighter[15:25, 20:40, :3])
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[21 : 19 + height, 31 : 29 + width] = False
    assert np.array_equal(to_rgb(drawn)[outside], to_rgb(rest)[outside])
    beyond = rest.copy()
    warp.paste(beyond, patch, mask, warp.positions(field), np.array([[1, 0, 500], [0, 1, 0]], np.float32))
    assert np.array_equal(beyond, rest)


def test_threads_change_no_byte(threads: None) -> None:
    row = np.zeros(len(COEFFICIENTS), np.float32)
    for name, value in {"jaw_open": 0.6, "blink": 0.5, "head_yaw_deg": 5, "gaze_x": 0.4, "breath": 1}.items():
        row[COEFFICIENT_NAMES.index(name)] = value
    renderer = Renderer(FaceModel.from_portrait(sample_portrait(256, 256), landmarker()))
    frames = []
    for n_threads in (1, 2, 4):
        cv2.setNumThreads(n_threads)
        frames.append(renderer.render(row).tobytes())
    assert frames[0] == frames[1] == frames[2]
