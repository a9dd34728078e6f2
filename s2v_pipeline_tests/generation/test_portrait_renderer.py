"""What rendered faces look like, measured by the face landmarker on the rendered frames."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.errors import FaceError
from s2v_pipeline.faces.landmarker import BLENDSHAPE_NAMES, Face
from s2v_pipeline.generation.portrait.canvas import FaceFrame
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, COEFFICIENTS
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline_tests.generation.portrait_requests import landmarker, sample_portrait

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
SIZE_PX = 512
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER, NOSE_TIP, CHIN, NOSE_BASE = 13, 14, 61, 291, 1, 152, 2


def row(**values: float) -> NDArray[np.float32]:
    coefficients = np.zeros(len(COEFFICIENTS), np.float32)
    for name, value in values.items():
        coefficients[COEFFICIENT_NAMES.index(name)] = value
    return coefficients


@functools.cache
def smiling() -> Renderer:
    return Renderer(FaceModel.from_portrait(sample_portrait(SIZE_PX, SIZE_PX), landmarker()))


@functools.cache
def closed_portrait() -> NDArray[np.uint8]:
    return smiling().render(row(lips_closed=1, smile_relax=1))


@functools.cache
def closed() -> Renderer:
    return Renderer(FaceModel.from_portrait(closed_portrait(), landmarker()))


def face_of(pixels: NDArray[np.uint8]) -> Face:
    return landmarker().find(pixels)[0]


def seen(renderer: Renderer, **values: float) -> Face:
    return face_of(renderer.render(row(**values)))


def in_iod(face: Face) -> NDArray[np.float32]:
    """Landmarks about the eyes, in units of their distance."""
    return FaceFrame.of_landmarks(face.landmarks_px).to_face(face.landmarks_px[:, :2])


def lip_gap(face: Face) -> float:
    points = in_iod(face)
    return float(points[LOWER_LIP, 1] - points[UPPER_LIP, 1])


def mouth_width(face: Face) -> float:
    points = in_iod(face)
    return float(points[RIGHT_CORNER, 0] - points[LEFT_CORNER, 0])


def blendshape(face: Face, name: str) -> float:
    return float(face.blendshapes[BLENDSHAPE_NAMES.index(name)])


class TestNeutral:
    def test_shows_the_portrait(self) -> None:
        portrait = sample_portrait(SIZE_PX, SIZE_PX).astype(int)
        difference = np.abs(smiling().render(row()).astype(int) - portrait)
        assert difference.mean() < 0.2
        # The mouth is composed anew even at rest: its edges may differ, its teeth and lips not.
        assert np.percentile(difference, 99.9) < 25

    def test_does_not_change_the_model(self) -> None:
        model = FaceModel.from_portrait(sample_portrait(256, 256), landmarker())
        with pytest.raises(ValueError, match="read-only"):
            model.pixels[0, 0] = 0


class TestDeterminism:
    ROWS = (
        row(),
        row(jaw_open=0.7, blink=0.4, head_yaw_deg=5, breath=0.3),
        row(lips_closed=1, lip_press=0.5, smile_relax=0.7, gaze_x=0.5),
        row(lip_pucker=1, lip_width=-0.9, jaw_open=0.2, head_roll_deg=-4),
        row(tongue_tip=1, jaw_open=0.3, brow_raise=0.5, gaze_y=0.4, head_pitch_deg=3),
        row(lip_tuck=1, jaw_open=0.2),
    )

    def test_order_and_instance_change_no_byte(self) -> None:
        portrait = sample_portrait(256, 256)
        first = Renderer(FaceModel.from_portrait(portrait, landmarker()))
        second = Renderer(FaceModel.from_portrait(portrait, landmarker()))
        forwards = [first.render(values).tobytes() for values in self.ROWS]
        backwards = [second.render(values).tobytes() for values in reversed(self.ROWS)]
        assert forwards == backwards[::-1]
        assert len(set(forwards)) == len(self.ROWS)


class TestMouth:
    def test_lips_close_over_a_toothy_smile(self) -> None:
        assert lip_gap(seen(smiling())) > 0.08
        assert lip_gap(seen(smiling(), lips_closed=1)) < 0.03
        assert lip_gap(seen(smiling(), lips_closed=1, jaw_open=0.5)) < 0.04

    def test_closed_lips_show_no_tooth(self) -> None:
        """No pixel on the seam is as bright and as colourless as teeth (a little below, the lip's own highlight is)."""

        def teeth(pixels: NDArray[np.uint8]) -> int:
            contour = face_of(pixels).landmarks_px
            u0, u1 = (int(contour[i, 0]) for i in (LEFT_CORNER, RIGHT_CORNER))
            v0, v1 = int(contour[UPPER_LIP, 1]) - 2, int(contour[LOWER_LIP, 1]) + 2
            part = pixels[v0:v1, u0:u1].astype(int)
            return int(((part.min(axis=-1) > 185) & (np.ptp(part, axis=-1) < 45)).sum())

        assert teeth(sample_portrait(SIZE_PX, SIZE_PX)) > 200
        for relax in (0.0, 0.5, 1.0):
            assert teeth(smiling().render(row(lips_closed=1, smile_relax=relax))) == 0

    @pytest.mark.parametrize("renderer", [smiling, closed])
    def test_jaw_opens_steadily_and_takes_the_chin_along(self, renderer: object) -> None:
        assert callable(renderer)
        faces = [seen(renderer(), jaw_open=jaw, smile_relax=0.8) for jaw in (0, 0.35, 0.7, 1)]
        gaps = [lip_gap(face) for face in faces]
        chins = [float(in_iod(face)[CHIN, 1]) for face in faces]
        assert gaps == sorted(gaps)
        assert gaps[-1] > 0.22
        assert chins[-1] - chins[0] > 0.10
        assert blendshape(faces[0], "jawOpen") < 0.05
        assert blendshape(faces[-1], "jawOpen") > 0.25

    def test_the_opening_is_proportional_to_the_jaw(self) -> None:
        """What viewers and trackers see of a vowel must not depend on where in the jaw's range it lies."""
        jaws = np.linspace(0.2, 1, 5)
        gaps = np.array([lip_gap(seen(smiling(), jaw_open=jaw, smile_relax=0.8)) for jaw in jaws])
        # At the widest, the tracker itself sets the lower lip too low: seen on the frames.
        assert np.abs(gaps / gaps[-1] - jaws).max() < 0.16

    def test_lips_open_beyond_the_jaw_and_the_chin_stays(self) -> None:
        jaw_alone, with_lips = (
            seen(smiling(), jaw_open=0.3, lips_apart=apart, smile_relax=0.8) for apart in (0.0, 0.3)
        )
        assert lip_gap(with_lips) > lip_gap(jaw_alone) + 0.05
        assert abs(in_iod(with_lips)[CHIN, 1] - in_iod(jaw_alone)[CHIN, 1]) < 0.04

    def test_a_lighter_lower_lip_is_not_taken_for_teeth(self) -> None:
        """Landmarks leave a gap between full lips that touch; what lies in it is lip, however light."""
        with Image.open(PORTRAITS / "man_dark_skin.jpg") as image:
            lips = FaceModel.from_portrait(np.array(image.convert("RGB")), landmarker()).lips
        assert not lips.is_open
        assert not lips.shows_teeth

    def test_rounded_lips_hide_the_teeth(self) -> None:
        def bright_in_mouth(pixels: NDArray[np.uint8]) -> float:
            contour = face_of(pixels).landmarks_px
            x, top, bottom = (int(contour[UPPER_LIP, 0]), int(contour[UPPER_LIP, 1]), int(contour[LOWER_LIP, 1]))
            return float(pixels[top + 2 : bottom - 1, x - 3 : x + 4].min(axis=-1).max())

        assert bright_in_mouth(smiling().render(row(jaw_open=0.8, smile_relax=0.8))) > 170
        rounded = row(jaw_open=0.5, lip_pucker=0.9, lip_width=-0.8, smile_relax=0.8)
        assert bright_in_mouth(smiling().render(rounded)) < 110

    def test_a_grey_portrait_has_a_grey_mouth(self) -> None:
        grey = np.asarray(cv2.cvtColor(cv2.cvtColor(sample_portrait(256, 256), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
        renderer = Renderer(FaceModel.from_portrait(grey.astype(np.uint8), landmarker()))
        for values in (row(jaw_open=1), row(lips_closed=1), row(jaw_open=0.4, tongue_tip=1), row(blink=1)):
            assert np.ptp(renderer.render(values).astype(int), axis=-1).max() <= 2

    @pytest.mark.parametrize("renderer", [smiling, closed])
    def test_rounding_narrows_and_spreading_widens(self, renderer: object) -> None:
        assert callable(renderer)
        rounded = seen(renderer(), lip_width=-0.9, lip_pucker=1, jaw_open=0.2)
        rest, spread = seen(renderer()), seen(renderer(), lip_width=1)
        assert mouth_width(rounded) < 0.75 * mouth_width(rest)
        assert mouth_width(spread) > 1.04 * mouth_width(rest)
        # The chin keeps its place: only lips and cheeks are drawn in.
        chin_px = np.linalg.norm(in_iod(rounded)[CHIN] - in_iod(seen(renderer(), jaw_open=0.2))[CHIN])
        assert chin_px < 0.08

    def test_smile_relaxes(self) -> None:
        smile = [blendshape(seen(smiling(), smile_relax=relax), "mouthSmileLeft") for relax in (0, 1)]
        assert smile[1] < 0.6 * smile[0]
        widths = [mouth_width(seen(smiling(), smile_relax=relax)) for relax in (0, 1)]
        assert widths[1] < 0.95 * widths[0]

    def test_tuck_press_and_tongue_are_visible(self) -> None:
        for renderer in (smiling(), closed()):
            base = renderer.render(row(jaw_open=0.25)).astype(int)
            for name in ("lip_tuck", "tongue_tip"):
                changed = np.abs(renderer.render(row(jaw_open=0.25, **{name: 1})).astype(int) - base).max(axis=-1)
                assert (changed > 15).sum() > 45, name
        shut, pressed = smiling().render(row(lips_closed=1)), smiling().render(row(lips_closed=1, lip_press=1))
        assert (np.abs(shut.astype(int) - pressed).max(axis=-1) > 15).sum() > 60

    def test_closed_portrait_gets_teeth(self) -> None:
        model = FaceModel.from_portrait(closed_portrait(), landmarker())
        assert not model.lips.is_open
        opened, shut = closed().render(row(jaw_open=0.8)), closed().render(row())
        contour = face_of(opened).landmarks_px
        x = int(contour[UPPER_LIP, 0])
        column = opened[int(contour[UPPER_LIP, 1]) + 1 : int(contour[LOWER_LIP, 1]) - 1, x - 3 : x + 4].astype(int)
        brightness = column.min(axis=-1).mean(axis=1)
        assert brightness.max() > 110  # teeth
        assert brightness.min() < 60  # and the dark behind them
        assert lip_gap(face_of(shut)) < 0.03

    def test_no_opening_is_torn_at_the_patch_border(self) -> None:
        """A frame's mouth patch joins the frame around it: no step that the portrait does not have."""
        for values in (row(jaw_open=1), row(lip_pucker=1, lip_width=-1), row(lips_closed=1, head_roll_deg=6)):
            frame = smiling().render(values)
            points = face_of(frame).landmarks_px[:, :2]
            x0, x1 = int(points[LEFT_CORNER, 0]) - 25, int(points[RIGHT_CORNER, 0]) + 25
            cheeks = np.concatenate(
                [frame[int(points[NOSE_BASE, 1]) : int(points[CHIN, 1]) - 12, x] for x in (x0, x1)]
            ).astype(int)
            assert np.abs(np.diff(cheeks, axis=0)).mean() < 6


class TestEyes:
    def test_blink_closes_both_eyes_alike(self) -> None:
        blinks = [
            (blendshape(face, "eyeBlinkLeft"), blendshape(face, "eyeBlinkRight"))
            for face in (seen(smiling(), blink=amount) for amount in (0.0, 0.5, 1.0))
        ]
        left, right = zip(*blinks, strict=True)
        assert left[0] < 0.3
        assert right[0] < 0.3
        assert left[2] > 0.5
        assert right[2] > 0.5
        assert list(left) == sorted(left)
        assert list(right) == sorted(right)
        assert abs(left[2] - right[2]) < 0.2

    def test_closed_lids_hide_the_eyeball(self) -> None:
        portrait = sample_portrait(SIZE_PX, SIZE_PX)
        frame = smiling().render(row(blink=1))
        for iris in (468, 473):
            x, y = face_of(portrait).landmarks_px[iris, :2].round().astype(int)
            assert portrait[y - 2 : y + 3, x - 2 : x + 3].mean() < 110
            assert frame[y - 3 : y, x - 2 : x + 3].mean() > 120

    def test_gaze_moves_the_irises(self) -> None:
        def irises(face: Face) -> NDArray[np.float32]:
            return in_iod(face)[[468, 473]].mean(axis=0)

        rest = irises(seen(smiling()))
        assert irises(seen(smiling(), gaze_x=1))[0] - rest[0] > 0.02
        assert irises(seen(smiling(), gaze_x=-1))[0] - rest[0] < -0.02
        assert irises(seen(smiling(), gaze_y=1))[1] > rest[1]

    def test_brows_rise(self) -> None:
        brows = [in_iod(seen(smiling(), brow_raise=amount))[[105, 334], 1].mean() for amount in (-1, 0, 1)]
        assert brows[0] > brows[1] > brows[2]


class TestHead:
    def test_signs(self) -> None:
        rest = seen(smiling()).landmarks_px
        assert seen(smiling(), head_yaw_deg=6).landmarks_px[NOSE_TIP, 0] - rest[NOSE_TIP, 0] > 4
        assert seen(smiling(), head_pitch_deg=5).landmarks_px[NOSE_TIP, 1] - rest[NOSE_TIP, 1] > 4
        rolled = seen(smiling(), head_roll_deg=5).landmarks_px
        slope = np.rad2deg(np.arctan2(*(rolled[263, :2] - rolled[33, :2])[::-1]))
        slope_at_rest = np.rad2deg(np.arctan2(*(rest[263, :2] - rest[33, :2])[::-1]))
        assert slope - slope_at_rest == pytest.approx(5, abs=1.5)

    def test_far_background_rests(self) -> None:
        rest = smiling().render(row())
        for values in (row(head_yaw_deg=8), row(head_pitch_deg=-6), row(head_roll_deg=8), row(jaw_open=1)):
            frame = smiling().render(values)
            for corner in (np.s_[:40, :40], np.s_[:40, -40:]):
                assert np.array_equal(frame[corner], rest[corner])
        shoulder = np.s_[-30:, :30]
        assert np.array_equal(smiling().render(row(jaw_open=1))[shoulder], rest[shoulder])
        assert not np.array_equal(smiling().render(row(head_roll_deg=8))[shoulder], rest[shoulder])

    def test_breath_lifts_the_shoulders_by_about_a_pixel(self) -> None:
        body = np.s_[430:500, 60:440]
        out, breathed_in = (
            cv2.cvtColor(smiling().render(row(breath=amount)), cv2.COLOR_RGB2GRAY)[body].astype(np.float32)
            for amount in (0, 1)
        )
        (_, rise_px), _ = cv2.phaseCorrelate(out, breathed_in)
        assert -3 < rise_px < -0.7


@pytest.mark.parametrize(("width_px", "height_px"), [(256, 256), (720, 1280), (1280, 720)])
def test_sizes(width_px: int, height_px: int) -> None:
    renderer = Renderer(FaceModel.from_portrait(sample_portrait(width_px, height_px), landmarker()))
    frame = renderer.render(row(jaw_open=0.8, head_yaw_deg=4, blink=0.3))
    assert frame.shape == (height_px, width_px, 3)
    assert frame.dtype == np.uint8
    assert lip_gap(face_of(frame)) > 0.15
    assert lip_gap(seen(renderer, lips_closed=1)) < 0.04


def test_extreme_rows_stay_in_range() -> None:
    for side in (-1, 1):
        values = np.array([c.least if side < 0 else c.most for c in COEFFICIENTS], np.float32)
        assert smiling().render(values).shape == (SIZE_PX, SIZE_PX, 3)


def test_no_face_is_an_error() -> None:
    with pytest.raises(FaceError, match="must show a face"):
        FaceModel.from_portrait(np.full((256, 256, 3), 128, np.uint8), landmarker())


def test_a_tiny_face_is_an_error() -> None:
    landmarks = face_of(sample_portrait(256, 256)).landmarks_px / 8
    with pytest.raises(FaceError, match="pixels apart"):
        FaceModel.from_landmarks(np.zeros((256, 256, 3), np.uint8), landmarks)
