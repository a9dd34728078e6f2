import random
from fractions import Fraction

import pytest
import torch

from s2v_pipeline.generation.wan_s2v.clock import (
    DROPPED_FIRST_FRAMES,
    ClipSpan,
    Clock,
    lead_frames,
    official_clips,
    plan_clips,
    tail_frames,
)
from s2v_pipeline.generation.wan_s2v.speech_features import features_for_video
from s2v_pipeline.timebase import FrameSpan, frames_for_samples

_FPS = Fraction(16)
_RATE_HZ = 16_000


def _feature_of_frame(clips: tuple[ClipSpan, ...]) -> list[int]:
    """Feature frame of every shown frame, by walking through what the clips generate, drop and cut."""
    used: list[int] = []
    for clip in clips:
        generated = range(clip.first_feature_frame, clip.first_feature_frame + clip.n_feature_frames)
        used += generated[clip.drop_first_frames :][: len(clip.shown)]
    return used


@pytest.mark.parametrize("clip_frames", [4, 16, 48, 80, 120])
def test_aligned_clips_of_every_length(clip_frames: int) -> None:
    for n_frames in range(1, 2001):
        clips = plan_clips(n_frames, clip_frames=clip_frames, clock="aligned")
        assert [clip.index for clip in clips] == list(range(len(clips)))
        assert [frame for clip in clips for frame in range(clip.shown.start_frame, clip.shown.stop_frame)] == list(
            range(n_frames)
        )
        assert all(clip.generated_frames % 4 == 0 and clip.latent_frames * 4 == clip.generated_frames for clip in clips)
        assert all(4 <= clip.generated_frames <= clip_frames for clip in clips)
        wasted = sum(clip.generated_frames for clip in clips) - DROPPED_FIRST_FRAMES - n_frames
        assert 0 <= wasted < 4
        assert _feature_of_frame(clips) == [frame + lead_frames("aligned") for frame in range(n_frames)]
        assert [clip.drop_first_frames for clip in clips] == [3] + [0] * (len(clips) - 1)


@pytest.mark.parametrize("clip_frames", [4, 16, 80])
def test_official_clips_are_whole_and_three_frames_early(clip_frames: int) -> None:
    for n_clips in range(1, 30):
        clips = official_clips(n_clips, clip_frames=clip_frames)
        assert len(clips) == n_clips
        assert clips[-1].shown.stop_frame == clip_frames * n_clips - 3
        assert all(clip.generated_frames == clip_frames for clip in clips)
        assert [clip.first_feature_frame for clip in clips] == [clip_frames * index for index in range(n_clips)]
        assert _feature_of_frame(clips) == [frame + 3 for frame in range(clip_frames * n_clips - 3)]
    assert (lead_frames("official"), tail_frames("official")) == (
        0,
        0,
    )  # so feature frame n + 3 is audio of 3 frames later, not n's


def test_the_official_clock_cuts_only_what_is_shown() -> None:
    clips = plan_clips(100, clock="official")
    assert [clip.shown for clip in clips] == [FrameSpan(0, 77), FrameSpan(77, 100)]
    assert [clip.generated_frames for clip in clips] == [80, 80]


@pytest.mark.parametrize("clock", ["aligned", "official"])
def test_nothing_is_dropped_and_nothing_early_where_motion_is_kept(clock: Clock) -> None:
    assert lead_frames(clock, init_first_frame=True) == 0
    for n_frames in range(1, 400):
        clips = plan_clips(n_frames, clock=clock, init_first_frame=True)
        assert _feature_of_frame(clips) == list(range(n_frames))
        assert not any(clip.drop_first_frames for clip in clips)
    assert official_clips(3, init_first_frame=True)[-1].shown == FrameSpan(160, 240)


def test_a_longer_audio_leaves_earlier_clips_as_they_are() -> None:
    short, long = plan_clips(200, clock="aligned"), plan_clips(400, clock="aligned")
    assert long[: len(short) - 1] == short[:-1]


def test_twenty_milliseconds_more_cost_four_frames_and_not_a_clip() -> None:
    whole = plan_clips(77, clock="aligned")
    more = plan_clips(78, clock="aligned")
    assert [clip.generated_frames for clip in whole] == [80]
    assert [clip.generated_frames for clip in more] == [80, 4]


def test_nothing_is_cut_at_200_random_durations() -> None:
    source = random.Random(16)  # noqa: S311
    for _ in range(200):
        rate_hz = source.choice([44_100, 48_000, 16_000])
        n_samples = source.randrange(rate_hz // 5, rate_hz * 120)
        n_frames = frames_for_samples(n_samples, rate_hz, _FPS)
        clips = plan_clips(n_frames, clock="aligned")
        video_s, audio_s = Fraction(sum(len(clip.shown) for clip in clips)) / _FPS, Fraction(n_samples, rate_hz)
        assert abs(video_s - audio_s) <= Fraction(1, 2) / _FPS
        generated_s = Fraction(sum(clip.generated_frames for clip in clips) - DROPPED_FIRST_FRAMES) / _FPS
        assert generated_s >= audio_s - Fraction(1, 2) / _FPS


@pytest.mark.parametrize("clip_frames", [0, -4, 3, 78])
def test_clip_frames_must_be_multiples_of_four(clip_frames: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        plan_clips(10, clip_frames=clip_frames, clock="aligned")
    with pytest.raises(ValueError, match="multiple of 4"):
        official_clips(1, clip_frames=clip_frames)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="n_frames"):
        plan_clips(0, clock="aligned")
    with pytest.raises(ValueError, match="n_clips"):
        official_clips(0)
    with pytest.raises(ValueError, match="'wall'"):
        plan_clips(1, clock="wall")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contradict"):
        ClipSpan(0, FrameSpan(0, 80), 80, 20, 3, 0, 80)


class _LoudnessEncoder:
    """Its only hidden state is the energy of the 400 samples that a frame of wav2vec2 sees, on the same 50 Hz grid."""

    def n_hidden_frames(self, n_samples: int) -> int:
        return (n_samples - 400) // 320 + 1

    def hidden_states(self, samples: torch.Tensor, start_frame: int = 0, stop_frame: int | None = None) -> torch.Tensor:
        return samples.unfold(0, 400, 320).square().sum(dim=1)[None, start_frame:stop_frame, None]


def _shown_features(samples: torch.Tensor, clock: Clock) -> list[float]:
    """The feature that each shown frame is conditioned on."""
    clips = plan_clips(frames_for_samples(len(samples), _RATE_HZ, _FPS), clock=clock)
    lead, tail = lead_frames(clock), tail_frames(clock)
    total = clips[-1].first_feature_frame + clips[-1].n_feature_frames
    features = features_for_video(
        _LoudnessEncoder(), samples, n_frames=total - lead, fps=_FPS, lead_frames=lead, tail_frames=tail
    )
    assert features.shape == (total, 1, 1)
    return [float(features[index, 0, 0]) for index in _feature_of_frame(clips)]


def _click_offsets(clock: Clock) -> torch.Tensor:
    """For 60 clicks: middle of the frame that shows the click, minus the click's time, in frames."""
    source, offsets = random.Random(3), []  # noqa: S311
    for _ in range(60):
        click_s = source.uniform(1.0, 29.0)
        n_samples = round((click_s + source.uniform(0.5, 3.0)) * _RATE_HZ)
        # 0.12 s long, loudest at click_s: features are points 1/30 s apart, of which every second is used, so that a
        # click of one sample would often fall between them.
        from_click_s = torch.arange(n_samples, dtype=torch.float64) / _RATE_HZ - click_s
        shown = _shown_features(torch.cos(from_click_s.clamp(-0.06, 0.06) / 0.12 * torch.pi).float(), clock)
        offsets.append(max(range(len(shown)), key=shown.__getitem__) + 0.5 - click_s * 16)
    return torch.tensor(offsets)


def test_a_click_is_seen_when_it_is_heard() -> None:
    offsets = _click_offsets("aligned")
    assert float(offsets.abs().max()) <= 1
    assert abs(float(offsets.mean())) <= 0.25


def test_the_official_clock_shows_a_click_three_frames_early() -> None:
    offsets = _click_offsets("official")
    assert float((offsets + 3).abs().max()) <= 1
    assert abs(float(offsets.mean()) + 3) <= 0.25


def test_the_last_frame_of_speech_has_a_feature() -> None:
    source = random.Random(5)  # noqa: S311
    for _ in range(60):
        # Silence is zero in the stand-in too, so all of this "speech" is loud.
        shown = _shown_features(torch.ones(source.randrange(_RATE_HZ // 5, 12 * _RATE_HZ)), "aligned")
        # Where half a frame lies beyond the audio, the feature of its start may hear no sound; the one before must.
        assert min(shown[:-1], default=1.0) > 0
