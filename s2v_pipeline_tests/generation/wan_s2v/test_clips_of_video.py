"""What a clip starts from and what it hands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.clips_of_video import (
    continued_motion,
    frames_from_pixels,
    motion_from_portrait,
    pixels_from_frames,
    pose_of_clip,
)
from s2v_pipeline.generation.wan_s2v.clock import plan_clips


def test_every_byte_comes_back() -> None:
    frames = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(1, 16, 16, 3)
    assert np.array_equal(frames_from_pixels(pixels_from_frames(frames)), frames)
    assert frames_from_pixels(torch.tensor([-3.0, 3.0, 0.0]).reshape(3, 1, 1, 1)).tolist() == [[[[0, 255, 128]]]]
    for bad in (frames[0], frames.astype(np.float32), frames[:0], frames[..., :2]):
        with pytest.raises(GenerationError, match="uint8 with n > 0"):
            pixels_from_frames(bad)


def test_the_portrait_stands_in_the_last_six_frames() -> None:
    motion = motion_from_portrait(np.full((4, 6, 3), 255, np.uint8), motion_frames=17)
    assert motion.shape == (3, 17, 4, 6)
    assert motion[0, :, 0, 0].tolist() == [0.0] * 11 + [1.0] * 6


def test_the_last_frames_are_continued() -> None:
    before, shown = torch.arange(6.0).reshape(1, 6, 1, 1), torch.arange(6.0, 10.0).reshape(1, 4, 1, 1)
    assert continued_motion(before, shown, motion_frames=6).flatten().tolist() == [4, 5, 6, 7, 8, 9]
    with pytest.raises(GenerationError, match="at least 6 frames"):
        continued_motion(None, shown, motion_frames=6)


def test_pose_of_the_lead_and_after_the_end() -> None:
    frames = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    first, second = plan_clips(9, clip_frames=8, clock="aligned")
    posed = [pose_of_clip(frames, span, 3, (2, 3, 3))[:, 0, 0, 0].tolist() for span in (first, second)]
    assert posed == [[1, 1, 1, 1, 2, 3, 4, 5], [0, 0, 0, 0]]
