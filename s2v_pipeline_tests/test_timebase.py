"""The clock: exact for every length of audio and every rate."""

from __future__ import annotations

import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline import timebase
from s2v_pipeline.timebase import FrameSpan

RATES_HZ = st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]) | st.integers(1, 400_000)
FPS = st.sampled_from([Fraction(25), Fraction(30), Fraction(24000, 1001), Fraction(30000, 1001)]) | st.fractions(
    min_value=1, max_value=120, max_denominator=1001
)
SAMPLES = st.integers(1, 48000 * 4 * 3600)


@given(n_samples=SAMPLES, rate_hz=RATES_HZ, fps=FPS)
def test_video_differs_from_audio_by_half_a_frame_at_most(n_samples: int, rate_hz: int, fps: Fraction) -> None:
    n_frames = timebase.frames_for_samples(n_samples, rate_hz, fps)
    audio_s = Fraction(n_samples, rate_hz)
    half_a_frame_s = Fraction(1, 2) / fps
    difference_s = abs(n_frames / fps - audio_s)
    if audio_s >= half_a_frame_s:
        assert difference_s <= half_a_frame_s
    else:
        assert n_frames == 1


@given(n_samples=SAMPLES, rate_hz=RATES_HZ, fps=FPS)
def test_more_audio_never_makes_fewer_frames(n_samples: int, rate_hz: int, fps: Fraction) -> None:
    now = timebase.frames_for_samples(n_samples, rate_hz, fps)
    assert 1 <= now <= timebase.frames_for_samples(n_samples + 1, rate_hz, fps)


def test_a_tie_keeps_the_tail_of_the_speech() -> None:
    # 2.5 frames of 25 fps at 16 kHz: 1600 samples.
    assert timebase.frames_for_samples(1599, 16000, Fraction(25)) == 2
    assert timebase.frames_for_samples(1600, 16000, Fraction(25)) == 3


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "fps", "n_frames"),
    [
        (16000, 16000, Fraction(25), 25),
        (1, 48000, Fraction(25), 1),
        (48000 * 3600, 48000, Fraction(30000, 1001), 107892),  # an hour: 107,892.1 frames
        (44100 * 4 * 3600, 44100, Fraction(24000, 1001), 345255),  # four hours: 345,254.7
    ],
)
def test_frame_counts_worked_out_by_hand(n_samples: int, rate_hz: int, fps: Fraction, n_frames: int) -> None:
    assert timebase.frames_for_samples(n_samples, rate_hz, fps) == n_frames


@given(frame=st.integers(0, 10**7), fps=FPS)
def test_frames_follow_each_other_without_gap_and_show_their_middle(frame: int, fps: Fraction) -> None:
    start_s, next_s = timebase.frame_start_s(frame, fps), timebase.frame_start_s(frame + 1, fps)
    assert next_s - start_s == 1 / fps
    assert timebase.frame_middle_s(frame, fps) - start_s == next_s - timebase.frame_middle_s(frame, fps)
    assert isinstance(start_s, Fraction)
    assert isinstance(timebase.frame_middle_s(frame, fps), Fraction)


@given(frame=st.integers(0, 10**7), rate_hz=RATES_HZ, fps=FPS)
def test_first_sample_of_a_frame_is_the_first_at_or_after_its_start(frame: int, rate_hz: int, fps: Fraction) -> None:
    sample = timebase.first_sample_of_frame(frame, rate_hz, fps)
    start_s = timebase.frame_start_s(frame, fps)
    assert isinstance(sample, int)
    assert Fraction(sample, rate_hz) >= start_s
    assert sample == 0 or Fraction(sample - 1, rate_hz) < start_s


def test_the_clock_starts_at_the_first_sample() -> None:
    assert timebase.frame_start_s(0, Fraction(25)) == 0
    assert timebase.first_sample_of_frame(0, 16000, Fraction(25)) == 0
    assert timebase.duration_s(44100, 44100) == 1


SPANS = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(lambda pair: FrameSpan(min(pair), max(pair)))


@given(span=SPANS, margin=st.integers(0, 100), before=st.integers(0, 50), after=st.integers(0, 50))
def test_widening_keeps_the_span_and_stays_within(span: FrameSpan, margin: int, before: int, after: int) -> None:
    within = FrameSpan(max(0, span.start_frame - before), span.stop_frame + after)
    wide = span.widened(margin, within)
    assert within.start_frame <= wide.start_frame <= span.start_frame
    assert span.stop_frame <= wide.stop_frame <= within.stop_frame
    assert span.start_frame - wide.start_frame <= margin
    assert wide.stop_frame - span.stop_frame <= margin
    assert wide.start_frame == within.start_frame or span.start_frame - wide.start_frame == margin


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (-2, -1)])
def test_spans_that_are_none(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="0 <= start <= stop"):
        FrameSpan(start, stop)


def test_spans_are_values() -> None:
    assert len(FrameSpan(3, 10)) == 7
    assert len(FrameSpan(3, 3)) == 0
    assert FrameSpan(0, 2) < FrameSpan(0, 3) < FrameSpan(1, 1)
    assert {FrameSpan(0, 2), FrameSpan(0, 2)} == {FrameSpan(0, 2)}
    assert pickle.loads(pickle.dumps(FrameSpan(1, 2))) == FrameSpan(1, 2)  # noqa: S301 (made on the same line)
    with pytest.raises(AttributeError):
        FrameSpan(0, 1).start_frame = 5  # type: ignore[misc]
