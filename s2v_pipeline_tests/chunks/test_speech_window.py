"""The sound around a chunk: where it starts and stops, and what its hash follows."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.chunks.speech_window import SpeechWindow, cut_window, rounded_level_rms
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import FrameSpan, frames_for_samples

RATE_HZ = 16_000
FPS = Fraction(16)


def speech(n_samples: int) -> Waveform:
    return Waveform(np.arange(n_samples, dtype=np.float32), RATE_HZ)


@given(n_samples=st.integers(1, 300_000), start=st.integers(0, 400), length=st.integers(1, 100))
def test_a_window_is_the_chunk_and_its_context_as_far_as_there_is_speech(
    n_samples: int, start: int, length: int
) -> None:
    n_frames = frames_for_samples(n_samples, RATE_HZ, FPS)
    frames = FrameSpan(min(start, n_frames - 1), min(start + length, n_frames))
    window = cut_window(speech(n_samples), frames, FPS, context_s=Fraction(2), level_rms=1.0)
    expected = range(
        max(0, frames.start_frame * 1000 - 2 * RATE_HZ), min(n_samples, frames.stop_frame * 1000 + 2 * RATE_HZ)
    )
    assert (window.first_sample, window.samples.size) == (expected.start, len(expected))
    assert window.samples[0] == window.first_sample


def test_frames_beyond_the_last_sample_are_given_the_end() -> None:
    window = cut_window(speech(10), FrameSpan(5, 9), FPS, context_s=Fraction(0), level_rms=1.0)
    assert (window.first_sample, window.samples.tolist()) == (9, [9.0])


def test_windows_share_the_memory_of_the_speech() -> None:
    waveform = speech(100_000)
    window = cut_window(waveform, FrameSpan(0, 10), FPS, context_s=Fraction(1), level_rms=1.0)
    assert np.shares_memory(window.samples, waveform.samples)


def test_the_level_is_rounded_to_a_quarter_of_a_decibel() -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.1, RATE_HZ * 60).astype(np.float32)
    level = rounded_level_rms(Waveform(noise, RATE_HZ))
    assert 20 * math.log10(level) == pytest.approx(-20.0, abs=1e-9)
    assert rounded_level_rms(Waveform(noise[: RATE_HZ * 50], RATE_HZ)) == level
    assert rounded_level_rms(Waveform(noise * np.float32(1.05), RATE_HZ)) > level
    # What lies off zero is no sound.
    assert rounded_level_rms(Waveform(noise + np.float32(0.5), RATE_HZ)) == level


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_silence_has_a_level(value: float) -> None:
    assert rounded_level_rms(Waveform(np.full(100, value, np.float32), RATE_HZ)) == pytest.approx(1e-6)


def test_the_hash_follows_everything() -> None:
    window = SpeechWindow(np.array([0.5, 0.25], np.float32), 3, RATE_HZ, 0.1)
    others = (
        replace(window, first_sample=4),
        replace(window, rate_hz=8_000),
        replace(window, level_rms=0.2),
        replace(window, samples=np.array([0.5, 0.5], np.float32)),
        replace(window, samples=np.array([0.5], np.float32)),
    )
    assert len({window.sha256, *(other.sha256 for other in others)}) == 6
    assert replace(window).sha256 == window.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"samples": np.zeros((2, 2), np.float32)},
        {"samples": np.zeros(2)},
        {"samples": np.zeros(0, np.float32)},
        {"first_sample": -1},
        {"rate_hz": 0},
        {"level_rms": 0.0},
        {"level_rms": math.nan},
    ],
)
def test_what_is_no_window(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a window"):
        replace(SpeechWindow(np.zeros(2, np.float32), 0, RATE_HZ, 0.1), **change)  # type: ignore[arg-type]
