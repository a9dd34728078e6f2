"""Black and frozen pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.picture_checks import FROZEN_LIMIT_S, check_picture
from s2v_pipeline_tests.video.material import picture

FPS = Fraction(25)
SIDE_PX = 128


def _write(path: Path, pixels: NDArray[np.uint8], *, crf: int = 18) -> Path:
    encode_clip(
        iter([FrameBatch(pixels, FPS, 0)]),
        path,
        frames=FrameSpan(0, len(pixels)),
        fps=FPS,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        settings=VideoSettings(crf=crf),
    )
    return path


def _moving(n_frames: int) -> NDArray[np.uint8]:
    return np.stack([picture(frame, SIDE_PX) for frame in range(n_frames)])


def test_a_moving_picture_passes(tmp_path: Path) -> None:
    report = check_picture(_write(tmp_path / "v.mp4", _moving(60)))
    assert report.passed
    assert (report.n_frames, report.n_black, report.first_black_s) == (60, 0, None)
    assert report.frozen_longest_s <= Fraction(3, 25)
    assert 80 < report.mean_luma_min <= report.mean_luma_max < 160
    assert "0 of 60 frames black" in report.summary


def test_black_frames_are_counted_and_dated(tmp_path: Path) -> None:
    pixels = _moving(60)
    pixels[30:33] = 0
    report = check_picture(_write(tmp_path / "v.mp4", pixels))
    assert not report.passed
    assert (report.n_black, report.first_black_s) == (3, Fraction(30, 25))
    assert report.mean_luma_min < 1
    assert "from 1.20 s" in report.summary


@pytest.mark.parametrize("crf", [16, 23, 35])
def test_a_freeze_is_measured_across_key_frames(tmp_path: Path, crf: int) -> None:
    pixels = _moving(120)
    pixels[20:90] = pixels[20]  # key frames lie at 0, 50 and 100
    report = check_picture(_write(tmp_path / "v.mp4", pixels, crf=crf))
    assert not report.passed
    assert abs(report.frozen_longest_s - Fraction(69, 25)) <= Fraction(3, 25)
    assert report.frozen_start_s is not None
    assert abs(report.frozen_start_s - Fraction(20, 25)) <= Fraction(3, 25)


def test_a_short_hold_passes(tmp_path: Path) -> None:
    pixels = _moving(80)
    pixels[20:40] = pixels[20]
    report = check_picture(_write(tmp_path / "v.mp4", pixels))
    assert report.passed
    assert Fraction(1, 2) < report.frozen_longest_s <= FROZEN_LIMIT_S


def test_breathing_alone_is_not_a_freeze(tmp_path: Path) -> None:
    """A textured still that grows and shrinks by half a pixel at its edges within 4 s."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    texture, middle = cv2.GaussianBlur(noise, (0, 0), 1.5), SIDE_PX / 2
    frames = []
    for index in range(120):
        scale = 1 + np.sin(2 * np.pi * index / 100) / SIDE_PX
        zoom = np.array([[scale, 0, middle * (1 - scale)], [0, scale, middle * (1 - scale)]])
        frames.append(cv2.warpAffine(texture, zoom, (SIDE_PX, SIDE_PX), flags=cv2.INTER_CUBIC))
    report = check_picture(_write(tmp_path / "v.mp4", np.stack(frames).astype(np.uint8)))
    assert report.passed, report.summary


def test_a_single_frame_is_neither(tmp_path: Path) -> None:
    report = check_picture(_write(tmp_path / "v.mp4", _moving(1)))
    assert (report.passed, report.frozen_longest_s, report.frozen_start_s) == (True, 0, None)
