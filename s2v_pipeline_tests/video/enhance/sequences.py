"""A textured picture with a bright square that moves at a known speed, as frames with times."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.enhance.stage import Enhancement
from s2v_pipeline.video.frames import ShownFrame

SIDE_PX = 128
SQUARE_PX = 24
SPEED_PX_S = 48.0
FPS = Fraction(25)


def clean(n_frames: int, fps: Fraction = FPS) -> NDArray[np.uint8]:
    """(n, SIDE_PX, SIDE_PX, 3); the square's left edge lies at 10 + SPEED_PX_S * middle of the frame, to 1/16 px."""
    rng = np.random.default_rng(5)
    ground = cv2.GaussianBlur(rng.uniform(30, 220, (SIDE_PX, SIDE_PX, 3)).astype(np.float32), (0, 0), 4)
    ground = (ground - ground.mean()) * 4 + 120
    frames = []
    for index in range(n_frames):
        left = 10 + SPEED_PX_S * float((index + Fraction(1, 2)) / fps)
        fine = np.zeros((SIDE_PX, SIDE_PX * 16), np.float32)
        fine[50 : 50 + SQUARE_PX, round(left * 16) : round(left * 16) + SQUARE_PX * 16] = 1
        cover = cv2.resize(fine, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)[..., None]
        frames.append(np.rint(np.clip(ground * (1 - cover) + 225 * cover, 0, 255)).astype(np.uint8))
    return np.stack(frames)


def shown(pixels: NDArray[np.uint8], fps: Fraction = FPS) -> list[ShownFrame]:
    return [ShownFrame(index, frame_start_s(index, fps), frame) for index, frame in enumerate(pixels)]


def after(stage: Enhancement, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([frame.pixels for frame in stage.apply(shown(pixels))])


def psnr_db(truth: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((truth.astype(np.float64) - other) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def square_place_px(pixels: NDArray[np.uint8], empty: NDArray[np.uint8]) -> float:
    """Middle of the square in a frame, from where it differs from the ground."""
    row = np.abs(pixels[52:72].astype(np.float64) - empty[52:72]).sum(axis=(0, 2))
    row[row < 0.2 * row.max()] = 0
    return float((row * (np.arange(SIDE_PX) + 0.5)).sum() / row.sum())
