"""The whole video in one process: the official vector, the aligned clock, and what its arguments do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from s2v_pipeline.errors import GenerationError, ImageError
from s2v_pipeline.generation.wan_s2v.pipeline import VideoClip, WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.sampling import CancelledError, Sampling, make_noise
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.golden import build_pipeline, pipeline_clips

CLIP_FRAMES = 20  # of the tests: longer than the 17 frames of motion that the vector's model takes
FEW = Sampling(steps=1, solver="euler", guidance=1.0)


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Any], dict[str, Tensor]]:
    return load_golden("pipeline")


@pytest.fixture(scope="module")
def pipeline(golden: tuple[dict[str, Any], dict[str, Tensor]]) -> WanSpeechToVideoPipeline:
    return build_pipeline(*golden)


def speech(n_frames: float) -> Waveform:
    rng = np.random.default_rng(7)
    return Waveform((rng.standard_normal(round(n_frames * 1000)) * 0.1).astype(np.float32), 16_000)


def make(pipeline: WanSpeechToVideoPipeline, golden: Any, n_frames: float, **arguments: Any) -> list[VideoClip]:
    _, tensors = golden
    options = {"negative_prompt": tensors["input.negative_text"], "size_px": (64, 64), "sampling": FEW}
    clips: list[VideoClip] = []
    pipeline(
        tensors["input.image"].numpy(),
        speech(n_frames),
        tensors["input.text"],
        on_clip=clips.append,
        **{**options, "clip_frames": CLIP_FRAMES, **arguments},
    )
    return clips


def joined(clips: list[VideoClip]) -> Tensor:
    return torch.cat([clip.pixels for clip in clips], dim=1)


def test_official_video(golden: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
    metadata, tensors = golden
    clips = pipeline_clips(metadata, tensors)
    assert [len(clip.span.shown) for clip in clips] == [13, 16, 16]
    assert (joined(clips) - tensors["output.video"]).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("n_frames", "shown", "generated"),
    [
        (1, [1], [4]),
        (17, [17], [20]),
        (18, [17, 1], [20, 4]),
        (37.4, [17, 20], [20, 20]),
        (42, [17, 20, 5], [20, 20, 8]),
    ],
)
def test_aligned_clock_makes_what_the_audio_needs(
    pipeline: WanSpeechToVideoPipeline, golden: Any, n_frames: float, shown: list[int], generated: list[int]
) -> None:
    clips = make(pipeline, golden, n_frames)
    assert [len(clip.span.shown) for clip in clips] == shown
    assert [clip.span.generated_frames for clip in clips] == generated
    assert clips[0].span.shown.start_frame == 0
    assert joined(clips).shape == (3, round(n_frames), 64, 64)
    assert torch.isfinite(joined(clips)).all()


def test_frames_are_pictures(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    _, tensors = golden
    frames = pipeline(
        tensors["input.image"].numpy(),
        speech(18),
        tensors["input.text"],
        size_px=(64, 64),
        sampling=FEW,
        clip_frames=CLIP_FRAMES,
    )
    assert frames.shape == (18, 64, 64, 3)
    assert frames.dtype == np.uint8
    clips = make(pipeline, golden, 18)
    assert np.array_equal(frames, np.concatenate([clip.frames for clip in clips]))
    exact = (joined(clips).permute(1, 2, 3, 0).numpy() + 1) * 127.5
    assert np.abs(frames - exact).max() <= 0.501


def test_noise_of_a_clip_is_its_own(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    seeded = make(pipeline, golden, 30, seed=40)
    given = [
        make_noise(40 + index, latent_frames=clip.span.latent_frames, height_px=64, width_px=64)
        for index, clip in enumerate(seeded)
    ]
    assert torch.equal(joined(make(pipeline, golden, 30, noise=given)), joined(seeded))
    assert not torch.equal(joined(make(pipeline, golden, 30, seed=41)), joined(seeded))
    assert torch.equal(joined(make(pipeline, golden, 30, seed=40, max_clips=1)), seeded[0].pixels)


def test_pose_is_looked_at(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    without = joined(make(pipeline, golden, 25))
    pose = np.random.default_rng(0).integers(0, 255, (25, 64, 64, 3), dtype=np.uint8)
    posed = joined(make(pipeline, golden, 25, pose_frames=pose))
    assert posed.shape == without.shape
    assert (posed - without).abs().mean() > 1e-4
    # Frames that nobody sees change nothing: the pose of the first clip alone, then black, is what a short pose means.
    short = joined(make(pipeline, golden, 25, pose_frames=pose[:20]))
    padded = np.concatenate([pose[:20], np.zeros_like(pose[:8])])
    assert torch.equal(short, joined(make(pipeline, golden, 25, pose_frames=padded)))
    with pytest.raises(GenerationError, match="pose frames must be 64x64"):
        make(pipeline, golden, 25, pose_frames=pose[:, :32])


def test_beginning_at_the_portrait_drops_nothing(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    clips = make(pipeline, golden, 25, init_first_frame=True)
    assert [clip.span.shown for clip in clips] == [FrameSpan(0, 20), FrameSpan(20, 25)]
    assert [clip.span.drop_first_frames for clip in clips] == [0, 0]
    assert (clips[0].pixels[:, :17] - make(pipeline, golden, 25)[0].pixels).abs().mean() > 1e-4


def test_progress_and_cancelling(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    seen: list[tuple[int, ...]] = []
    sampling = Sampling(steps=2, solver="euler", guidance=1.0)
    make(pipeline, golden, 25, sampling=sampling, on_step=lambda *what: seen.append(what))
    assert seen == [(0, 2, 1, 2), (0, 2, 2, 2), (1, 2, 1, 2), (1, 2, 2, 2)]
    with pytest.raises(CancelledError, match="Finished chunks are kept"):
        make(pipeline, golden, 25, sampling=sampling, on_step=lambda clip, *_: clip < 1)


def test_what_does_not_fit_is_refused(pipeline: WanSpeechToVideoPipeline, golden: Any) -> None:
    _, tensors = golden
    picture, text = tensors["input.image"].numpy(), tensors["input.text"]
    with pytest.raises(GenerationError, match="16000 Hz"):
        pipeline(picture, Waveform(np.ones(44_100, np.float32), 44_100), text, sampling=FEW)
    with pytest.raises(GenerationError, match="needs the text encoder"):
        pipeline(picture, speech(20), "in words", sampling=FEW, size_px=(64, 64))
    with pytest.raises(ImageError, match="64 px"):
        pipeline(picture[:63], speech(20), text, sampling=FEW)
    with pytest.raises(GenerationError, match="multiple of 16"):
        pipeline(picture, speech(20), text, sampling=FEW, size_px=(72, 64))
    for arguments in ({"max_clips": 0}, {"max_clips": -1}, {"noise": []}):
        with pytest.raises(GenerationError, match="at least one clip"):
            make(pipeline, golden, 25, **arguments)
    with pytest.raises(GenerationError, match="uint8"):
        make(pipeline, golden, 25, pose_frames=np.zeros((25, 64, 64, 3), np.float32))
