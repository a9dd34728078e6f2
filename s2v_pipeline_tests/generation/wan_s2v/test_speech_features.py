from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.speech_features import (
    clips_needed,
    features_for_frames,
    features_for_video,
    n_features_30hz,
    normalise,
    to_30hz,
    video_frame_features,
)
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden

_FPS = Fraction(16)


class _GivenStates:
    """An encoder whose hidden states are given; it keeps which frames were asked for."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden
        self.asked: list[tuple[int, int]] = []

    def n_hidden_frames(self, n_samples: int) -> int:
        return (n_samples - 400) // 320 + 1

    def hidden_states(self, samples: Tensor, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
        n_frames = self.n_hidden_frames(len(samples))
        stop_frame = n_frames if stop_frame is None else stop_frame
        assert 0 <= start_frame < stop_frame <= n_frames <= self.hidden.shape[1]
        self.asked.append((start_frame, stop_frame))
        return self.hidden[:, start_frame:stop_frame]


def _samples_for(n_hidden: int) -> Tensor:
    return torch.zeros((n_hidden - 1) * 320 + 400)


@pytest.mark.parametrize("case", range(4))
def test_official_features(case: int) -> None:
    metadata, golden = load_golden("audio_features")
    made, fps = metadata["cases"][case], Fraction(metadata["cases"][case]["fps"])
    hidden, frames = golden[f"input.{case}.hidden"], golden[f"output.{case}.frames"]
    features = to_30hz(hidden)
    torch.testing.assert_close(features, golden[f"output.{case}.features_30hz"], rtol=0, atol=1e-6)
    assert clips_needed(features.shape[1], fps, made["batch_frames"]) == made["num_clips"]
    assert len(frames) == made["num_clips"] * made["batch_frames"]
    ours = video_frame_features(features, n_frames=len(frames), fps=fps)
    torch.testing.assert_close(ours, frames, rtol=0, atol=1e-6)
    part = video_frame_features(features, n_frames=30, fps=fps, first_frame=41)
    torch.testing.assert_close(part, frames[41:71], rtol=0, atol=1e-6)
    encoder = _GivenStates(hidden)
    at_once = features_for_video(encoder, _samples_for(hidden.shape[1]), n_frames=len(frames), fps=fps, lead_frames=0)
    torch.testing.assert_close(at_once, frames, rtol=0, atol=1e-6)


def test_some_frames_need_only_some_hidden_states() -> None:
    encoder = _GivenStates(torch.randn(3, 2000, 4))
    samples = _samples_for(2000)[: -3 * 1000 - 7000]
    whole = features_for_video(encoder, samples, n_frames=400, fps=_FPS, lead_frames=3, tail_frames=5)
    encoder.asked.clear()
    for first_frame in (0, 80, 160, 320):
        part = features_for_frames(
            encoder, samples, first_frame=first_frame, n_frames=80, fps=_FPS, lead_frames=3, tail_frames=5
        )
        assert torch.equal(part, whole[first_frame : first_frame + 80])
    assert all(stop - start <= 252 for start, stop in encoder.asked)


def test_silence_comes_before_and_after_the_speech() -> None:
    heard: list[Tensor] = []

    class Listener(_GivenStates):
        def hidden_states(self, samples: Tensor, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
            heard.append(samples)
            return super().hidden_states(samples, start_frame, stop_frame)

    speech = torch.randn(20_000)
    encoder = Listener(torch.randn(2, 100, 4))
    features = features_for_video(encoder, speech, n_frames=20, fps=_FPS, lead_frames=3, tail_frames=5)
    assert features.shape == (23, 2, 4)
    assert not heard[0][:3000].any()  # 3/16 s
    assert torch.equal(heard[0][3000:23_000], speech)
    assert not heard[0][23_000:].any()
    assert 0 <= len(heard[0]) - 28_000 < 5 * 320
    assert encoder.n_hidden_frames(len(heard[0])) % 5 == 0
    features_for_video(encoder, speech, n_frames=20, fps=_FPS, lead_frames=0)
    assert torch.equal(heard[1], speech)


def test_frames_past_the_end_are_zero_and_all_others_are_not() -> None:
    encoder = _GivenStates(torch.rand(2, 50, 4) + 1)
    features = features_for_video(encoder, _samples_for(50), n_frames=40, fps=_FPS, lead_frames=0)
    # 30 features: frame 15 uses round(28.125), frame 16 would use 30.
    assert bool((features[:16] >= 1 - 1e-6).all())
    assert not features[16:].any()
    beyond = features_for_frames(encoder, _samples_for(50), first_frame=100, n_frames=4, fps=_FPS, lead_frames=0)
    assert beyond.shape == (4, 2, 4)
    assert not beyond.any()


def test_halves_round_to_even() -> None:
    # Frame 4 lies at feature 7.5 and frame 12 at 22.5.
    ramp = torch.arange(40.0)[None, :, None]
    frames = video_frame_features(ramp, n_frames=13, fps=_FPS)
    assert frames[[4, 12], 0, 0].tolist() == [8, 22]


def test_number_of_features_and_clips() -> None:
    # 5.00 s gives one clip, 5.02 s two (a clip needs 150 features, and a full one asks for the next).
    assert [n_features_30hz((n - 400) // 320 + 1) for n in (80_000, 80_320)] == [149, 150]
    assert [clips_needed(n, _FPS, 80) for n in (1, 149, 150, 299, 300)] == [1, 1, 2, 2, 3]


def test_too_short_speech_is_refused() -> None:
    assert to_30hz(torch.ones(2, 2, 3)).shape == (2, 1, 3)
    with pytest.raises(GenerationError, match="long enough"):
        to_30hz(torch.ones(2, 1, 3))
    with pytest.raises(GenerationError, match="long enough"):
        features_for_video(_GivenStates(torch.ones(1, 9, 1)), torch.zeros(719), n_frames=1, fps=_FPS, lead_frames=0)


def test_bad_numbers_are_refused() -> None:
    encoder, samples = _GivenStates(torch.ones(1, 9, 1)), _samples_for(9)
    with pytest.raises(ValueError, match="n_frames positive"):
        features_for_video(encoder, samples, n_frames=0, fps=_FPS, lead_frames=0)
    with pytest.raises(ValueError, match="lead_frames"):
        features_for_video(encoder, samples, n_frames=1, fps=_FPS, lead_frames=-1)


def test_normalise_is_the_feature_extractors() -> None:
    samples = np.random.default_rng(0).normal(0.1, 0.03, 50_000).astype(np.float32)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values[0]
    ours = normalise(torch.from_numpy(samples), float(samples.mean()), float(samples.std()))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    silence = normalise(torch.zeros(100), 0.0, 0.0)
    assert not silence.any()
    assert silence.dtype == torch.float32
