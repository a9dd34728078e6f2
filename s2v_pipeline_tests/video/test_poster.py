"""The poster's frame: open eyes among blinks, the middle where there is no face."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, COEFFICIENTS
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.poster import choose_poster_frame

FPS = Fraction(25)
SIZE_PX = 256
N_FRAMES = 16


def write(path: Path, pictures: list[NDArray[np.uint8]]) -> Path:
    def batches() -> Iterator[FrameBatch]:
        for index, picture in enumerate(pictures):
            yield FrameBatch(picture[None], FPS, index)

    video = VideoSettings(width_px=SIZE_PX, height_px=SIZE_PX)
    span = FrameSpan(0, len(pictures))
    encode_clip(batches(), path, frames=span, fps=FPS, width_px=SIZE_PX, height_px=SIZE_PX, settings=video)
    return path


def test_the_only_candidate_with_open_eyes_is_taken(sample: Path, tmp_path: Path) -> None:
    portrait = cv2.cvtColor(cv2.imread(str(sample / "portrait.png")), cv2.COLOR_BGR2RGB)
    renderer = Renderer(FaceModel.from_portrait(cv2.resize(portrait, (SIZE_PX, SIZE_PX))))
    row = np.zeros(len(COEFFICIENTS), np.float32)
    awake = renderer.render(row)
    row[COEFFICIENT_NAMES.index("blink")] = 1
    asleep = renderer.render(row)
    # Candidates are the odd frames of sixteen.
    pictures = [awake if index == 11 else asleep for index in range(N_FRAMES)]
    assert choose_poster_frame(write(tmp_path / "v.mp4", pictures), n_frames=N_FRAMES, fps=FPS) == 11


def test_without_a_face_it_is_the_middle(tmp_path: Path) -> None:
    pictures = [np.full((SIZE_PX, SIZE_PX, 3), 90, np.uint8)] * N_FRAMES
    assert choose_poster_frame(write(tmp_path / "v.mp4", pictures), n_frames=N_FRAMES, fps=FPS) == N_FRAMES // 2
