"""Waveforms and frames refuse what they are not, and cannot be changed."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

from s2v_pipeline.media import FrameBatch, Waveform
from s2v_pipeline.timebase import FrameSpan

PIXELS = np.zeros((3, 4, 6, 3), np.uint8)


def test_a_waveform_knows_its_exact_length() -> None:
    assert Waveform(np.zeros(44101, np.float32), 44100).duration_s == Fraction(44101, 44100)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 8), np.float32),
        np.zeros((8, 1), np.float32),
        np.zeros(8, np.float64),
        np.zeros(8, np.int16),
        np.zeros(0, np.float32),
        np.float32(0).reshape(()),
    ],
)
def test_what_is_no_waveform(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(n,\) float32"):
        Waveform(samples, 16000)


@pytest.mark.parametrize("rate_hz", [0, -16000])
def test_rates_are_positive(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Waveform(np.zeros(8, np.float32), rate_hz)


def test_a_batch_knows_which_frames_it_holds() -> None:
    assert FrameBatch(PIXELS.copy(), Fraction(25), 7).span == FrameSpan(7, 10)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6, 3), np.uint8),
        np.zeros((3, 4, 6, 4), np.uint8),
        np.zeros((3, 4, 6), np.uint8),
        np.zeros((3, 4, 6, 3), np.float32),
        np.zeros((0, 4, 6, 3), np.uint8),
    ],
)
def test_what_are_no_frames(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        FrameBatch(pixels, Fraction(25), 0)


@pytest.mark.parametrize(("fps", "start_frame"), [(Fraction(0), 0), (Fraction(-25), 0), (Fraction(25), -1)])
def test_frame_rates_and_starts(fps: Fraction, start_frame: int) -> None:
    with pytest.raises(ValueError, match="fps must be positive"):
        FrameBatch(PIXELS.copy(), fps, start_frame)


def test_neither_can_be_changed() -> None:
    waveform = Waveform(np.zeros(8, np.float32), 16000)
    frames = FrameBatch(PIXELS.copy(), Fraction(25), 0)
    with pytest.raises(ValueError, match="read-only"):
        waveform.samples[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        frames.pixels[0] = 1
    with pytest.raises(AttributeError):
        waveform.rate_hz = 8000  # type: ignore[misc]
    with pytest.raises(AttributeError):
        frames.start_frame = 5  # type: ignore[misc]


def test_both_travel_between_processes() -> None:
    waveform = Waveform(np.arange(8, dtype=np.float32), 16000)
    back = pickle.loads(pickle.dumps(waveform))  # noqa: S301 (made on the same line)
    np.testing.assert_array_equal(back.samples, waveform.samples)
    assert back.rate_hz == 16000
