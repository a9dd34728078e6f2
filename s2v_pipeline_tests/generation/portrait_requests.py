"""Requests and portraits for the generators' tests: the sample portrait, framed; a few syllables of speech."""

from __future__ import annotations

import functools
import hashlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.timebase import FrameSpan

SAMPLE_PORTRAIT = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "portrait.png"
FACE_SHARE = 0.4  # of the frame's height
FPS = Fraction(25)

# "My boat": closed lips, a wide opening, closed lips, rounding, silence.
PHONES = (
    ("SIL", 0.0, 0.2),
    ("M", 0.2, 0.32),
    ("AY", 0.32, 0.6),
    ("B", 0.6, 0.7),
    ("OW", 0.7, 0.95),
    ("T", 0.95, 1.05),
    ("SIL", 1.05, 1.6),
)
SPEECH_S = 1.6


@functools.cache
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@functools.cache
def sample_portrait(width_px: int, height_px: int) -> NDArray[np.uint8]:
    """The sample's face in a frame of this size."""
    with Image.open(SAMPLE_PORTRAIT) as image:
        pixels = np.array(image.convert("RGB"))
    face = landmarker().find(pixels)[0].landmarks_px[:, :2]
    low, high = face.min(axis=0), face.max(axis=0)
    scale = FACE_SHARE * height_px / (high[1] - low[1])
    shift = np.array([width_px, height_px]) / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (width_px, height_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def save_png(pixels: NDArray[np.uint8], path: Path) -> FileRef:
    Image.fromarray(pixels).save(path)
    return FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest())


def request_for(
    portrait: FileRef, frames: FrameSpan, *, width_px: int = 256, height_px: int = 256, index: int = 0
) -> ChunkRequest:
    """A request for frames of the syllables above."""
    phonemes = pd.DataFrame(PHONES, columns=["phone", "start_s", "end_s"])
    n_frames = int(SPEECH_S * FPS)
    time_s = (np.arange(n_frames) + 0.5) / float(FPS)
    speaking = (time_s > 0.2) & (time_s < 1.05)
    features = pd.DataFrame(
        {
            "frame": np.arange(n_frames),
            "time_s": time_s,
            "rms_db": np.where(speaking, -20.0, -60.0),
            "speech_probability": speaking.astype(float),
            "f0_hz": np.where(speaking, 200.0, 0.0),
            "onset": np.zeros(n_frames),
        }
    )
    return ChunkRequest(
        input_id="sample",
        index=index,
        frames=frames,
        fps=FPS,
        width_px=width_px,
        height_px=height_px,
        seed=index + 1,
        input_seed=7,
        prompt="a person talks to the camera",
        portrait=portrait,
        phonemes=phonemes,
        features=features,
        speech_level_db=-20,
        median_f0_hz=200,
    )
