from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.voice_activity import (
    WINDOW_S,
    segments_from_probabilities,
    speech_probabilities,
    speech_segments,
)
from s2v_pipeline.media import Waveform

SPEECH = Path(__file__).parents[1] / "data" / "flite_slt_depth_of_a_well.flac"
SPOKEN_S = (0.22, 2.149)  # first and last phone, from the CSV beside it


def test_real_speech_between_silences() -> None:
    speech = read_waveform(SPEECH)
    silence = np.zeros(16_000, np.float32)
    segments = speech_segments(Waveform(np.concatenate([silence, speech.samples, silence]), 16_000))
    assert len(segments) == 1
    start_s, end_s = segments[0]
    assert start_s == pytest.approx(1.0 + SPOKEN_S[0], abs=0.12)
    assert end_s == pytest.approx(1.0 + SPOKEN_S[1], abs=0.25)


def test_noise_and_silence_are_no_speech() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    assert speech_segments(Waveform(noise, 16_000)) == ()
    assert speech_segments(Waveform(np.zeros(100, np.float32), 16_000)) == ()


def test_every_sample_has_a_window_and_runs_agree() -> None:
    waveform = Waveform(read_waveform(SPEECH).samples[:10_000].copy(), 16_000)
    first, second = speech_probabilities(waveform), speech_probabilities(waveform)
    assert first.shape == (20,)  # 10 000 / 512 = 19.5: the half window counts
    assert np.array_equal(first, second)


def test_hysteresis_pauses_and_bursts() -> None:
    probabilities = np.zeros(100, np.float32)
    probabilities[10:20] = 0.9
    probabilities[20:24] = 0.4  # wavers above the leaving threshold
    probabilities[24:30] = 0.9
    probabilities[32:40] = 0.9  # after 64 ms: no pause
    probabilities[60:62] = 0.9  # 64 ms: a click
    segments = segments_from_probabilities(probabilities, duration_s=100 * WINDOW_S)
    assert segments == ((pytest.approx(10 * WINDOW_S - 0.03), pytest.approx(40 * WINDOW_S + 0.03)),)


def test_segments_stay_inside_the_audio() -> None:
    segments = segments_from_probabilities(np.ones(10, np.float32), duration_s=9.5 * WINDOW_S)
    assert segments == ((0.0, 9.5 * WINDOW_S),)


def test_other_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        speech_probabilities(Waveform(np.zeros(100, np.float32), 44_100))
