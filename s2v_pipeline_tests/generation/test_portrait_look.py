"""Details that a viewer looks at: light on teeth, the tongue's tip, a round mouth, corners of a closed eye."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats
from s2v_pipeline.generation.portrait.eyelids import Eye
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.lip_cleaning import cleaned_lip
from s2v_pipeline.generation.portrait.lips import luminance_of
from s2v_pipeline.generation.portrait.mouth_shape import MouthCommand, pose_mouth
from s2v_pipeline.generation.portrait.painting import Part
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.generation.portrait.teeth import FaceLight
from s2v_pipeline_tests.generation.portrait_requests import landmarker
from s2v_pipeline_tests.generation.test_portrait_kinds import model_of, row


def between_lips(model: FaceModel, frame: Floats, v0: float, v1: float) -> Floats:
    """Colours of a frame's middle column of the mouth from `v0` to `v1` below the seam."""
    lips = model.lips
    v = float(lips.seam[len(lips.seam) // 2]) + np.linspace(v0, v1, 24)
    points = np.stack([np.full(24, float(lips.u.mean())), v], axis=-1).astype(np.float32)
    at = model.frame.to_px(points)[None]
    return np.asarray(cv2.remap(frame, at, None, cv2.INTER_LINEAR)[0], np.float32)  # type: ignore[call-overload]


@pytest.mark.parametrize("slope", [-0.9, 0.0, 0.9])
def test_light_from_a_side_is_found_and_falls_on_teeth(slope: float) -> None:
    model = model_of("child")
    canvas, lips = model.mouth.canvas, model.lips
    centre_u = float(lips.u[0] + lips.u[-1]) / 2
    lit = 120 * np.exp(slope * (canvas.u - centre_u))
    art = np.ascontiguousarray(np.broadcast_to(lit[None, :, None], (canvas.height, canvas.width, 3)), np.float32)
    light = FaceLight.of(canvas, art, lips, np.array([200, 150, 130], np.float32))
    assert light.slope == pytest.approx(slope, abs=0.05)
    left, right = light.across(np.array([centre_u - 0.2, centre_u + 0.2], np.float32))
    assert np.sign(right - left) == np.sign(slope)


def test_teeth_are_warm_beside_warm_skin_and_dim_beside_dark_skin() -> None:
    light, dark = (model_of(name).mouth.interior.light.enamel for name in ("grace_hopper", "man_dark_skin"))
    assert light[0] > 1.2 * light[2]
    assert luminance_of(dark) < 0.9 * luminance_of(light)


def test_the_tongue_comes_between_the_teeth_for_th_and_stays_behind_them_for_l() -> None:
    model = model_of("woman_glasses")
    renderer = Renderer(model)

    def redness(**values: float) -> Floats:
        colours = between_lips(model, renderer.render(row(**values)), 0.0, 0.13)
        return np.asarray((colours[:, 0] - colours[:, 1]) / luminance_of(colours), np.float32)

    assert redness(jaw_open=0.22, tongue_tip=1).max() > redness(jaw_open=0.22).max() + 0.15
    teeth = slice(0, 8)  # with a wide mouth the upper teeth stand before the tongue
    assert np.allclose(redness(jaw_open=0.45, tongue_tip=1)[teeth], redness(jaw_open=0.45)[teeth], atol=0.03)


def test_a_rounded_mouth_is_no_slit() -> None:
    lips = model_of("man_dark_skin").lips
    command = MouthCommand(0.24, lips_closed=0, lip_press=0, lip_width=-0.85, lip_pucker=0.9, lip_tuck=0, smile_relax=0)
    pose = pose_mouth(lips, command, 0.0)
    gap = pose.lower_edge - pose.upper_edge
    open_u = pose.u[gap > 0.1 * gap.max()]
    assert np.ptp(open_u) < 3.2 * gap.max()
    # The lip around it does not follow it to a point.
    lowered = pose.lower_outer - lips.lower_outer
    middle, quarter = lowered[len(lowered) // 2], lowered[len(lowered) // 4]
    assert quarter > 0.45 * middle


def test_a_grey_portrait_has_a_grey_tongue_and_lip_under_the_teeth() -> None:
    pixels = model_of("woman_glasses").pixels
    grey = np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    renderer = Renderer(FaceModel.from_portrait(grey, landmarker()))
    for values in (row(jaw_open=0.2, tongue_tip=1), row(jaw_open=0.1, lip_tuck=1)):
        assert np.ptp(renderer.render(values).astype(int), axis=-1).max() <= 2


def test_no_white_is_left_at_the_outer_corner_of_a_closed_eye() -> None:
    left_eye = model_of("woman_side_light").eyes[0]  # its landmarks' corner lies inside the eye
    canvas = left_eye.canvas
    outer = int(left_eye.outer_drop.argmax())
    off = np.hypot(canvas.u[None, :] - canvas.u[outer], canvas.v[:, None] - left_eye.upper[outer])
    corner = off < 0.06

    def brightest(eye: Eye, blink: float) -> float:
        return float(np.percentile(luminance_of(eye.compose(blink, 0.0, 0.0)[..., :3])[corner], 99))

    uncorrected = dataclasses.replace(left_eye, corner=np.zeros_like(left_eye.corner))
    assert brightest(left_eye, 1.0) < 0.75 * brightest(uncorrected, 1.0)
    assert brightest(left_eye, 0.0) == brightest(uncorrected, 0.0)


def test_a_tooth_on_a_lip_is_painted_over_and_the_lip_kept() -> None:
    model = model_of("man_dark_skin")
    canvas, lips = model.mouth.canvas, model.lips
    art = canvas.from_portrait(model.frame, model.pixels)
    middle = len(lips.u) // 2
    x, y = canvas.to_canvas(np.array([lips.u[middle], lips.lower_inner[middle] + 0.03], np.float32)).round().astype(int)
    speckled = art.copy()
    speckled[y - 1 : y + 2, x - 2 : x + 3] = (235, 230, 215)
    cleaned = cleaned_lip(canvas, speckled, lips, upper=False)
    assert luminance_of(cleaned[y, x]) < 1.5 * luminance_of(art[y, x]) < 0.6 * luminance_of(speckled[y, x])
    far = lips.lower_outer[middle] + 0.05
    below = canvas.v > far
    assert np.allclose(cleaned[below], speckled[below], atol=0.01)


def test_parts_of_a_part_are_views_and_may_be_empty() -> None:
    canvas = Canvas(0.0, 0.0, 10.0, 20, 30)
    part = Part(canvas, slice(5, 25), slice(2, 18), np.zeros((20, 16, 4), np.float32))
    inner = part.within(0.5, 1.0, 0.9, 1.5)
    assert (inner.rows, inner.columns) == (slice(10, 16), slice(5, 10))
    inner.lay(np.full(inner.pixels.shape, 50, np.float32), np.ones(inner.pixels.shape[:2], np.float32))
    assert part.pixels[5:11, 3:8].min() == pytest.approx(50, abs=0.1)
    assert part.pixels.sum() == pytest.approx(50 * inner.pixels.size, rel=1e-3)
    assert part.within(-np.inf, -np.inf, np.inf, np.inf).pixels.shape == part.pixels.shape
    assert part.within(0.0, 2.9, 2.0, 9.0).is_empty
