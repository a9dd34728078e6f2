from __future__ import annotations

import numpy as np
import pytest
from pyloudnorm import Meter

from s2v_pipeline.audio.loudness import SILENCE_LUFS
from s2v_pipeline.audio.normalise import TRUE_PEAK_CEILING_DBTP, SoundLevel, amplify, measure_level, normalisation
from s2v_pipeline.audio.resample import resample
from s2v_pipeline_tests.audio.noisy_speech import in_blocks, reading


def stereo_of(seconds: float, rate_hz: int) -> np.ndarray:
    speech = resample(reading(), rate_hz).samples
    left = np.tile(speech, int(np.ceil(seconds * rate_hz / speech.size)))[: round(seconds * rate_hz)]
    return np.stack([left, 0.3 * np.roll(left, 999)])


@pytest.mark.parametrize(("seconds", "rate_hz"), [(7.0, 48_000), (61.05, 16_000), (130.0, 11_025)])
def test_loudness_in_windows_is_that_of_the_whole(seconds: float, rate_hz: int) -> None:
    sound = stereo_of(seconds, rate_hz)
    whole = Meter(rate_hz).integrated_loudness(sound.T.astype(np.float64))
    assert measure_level(in_blocks(sound), rate_hz).integrated_lufs == pytest.approx(whole, abs=0.01)


def test_true_peak_lies_between_the_samples() -> None:
    time = np.arange(48_000)
    # A quarter of the rate, sampled 45 degrees beside its peaks: every sample is 3.01 dB below them.
    tone = (0.5 * np.sin(np.pi / 2 * time + np.pi / 4)).astype(np.float32)
    assert np.abs(tone).max() == pytest.approx(0.5 / np.sqrt(2), abs=1e-3)
    assert measure_level(in_blocks(tone), 48_000).true_peak_dbtp == pytest.approx(-6.02, abs=0.2)


@pytest.mark.parametrize("target_lufs", [-14.0, -16.0, -23.0])
def test_the_target_is_reached_unless_the_peak_forbids_it(target_lufs: float) -> None:
    sound = stereo_of(7.0, 16_000)
    gain = normalisation(measure_level(in_blocks(sound), 16_000), target_lufs)
    found = measure_level(amplify(in_blocks(sound), gain.gain_db), 16_000)
    assert found.true_peak_dbtp <= TRUE_PEAK_CEILING_DBTP
    if gain.limited:
        assert found.integrated_lufs < target_lufs
        assert found.true_peak_dbtp == pytest.approx(TRUE_PEAK_CEILING_DBTP, abs=0.01)
    else:
        assert found.integrated_lufs == pytest.approx(target_lufs, abs=0.1)


def test_both_cases_happen() -> None:
    level = measure_level(in_blocks(stereo_of(7.0, 16_000)), 16_000)
    assert not normalisation(level, -23.0).limited
    assert normalisation(level, level.integrated_lufs - level.true_peak_dbtp).limited


def test_silence_has_no_gain() -> None:
    level = measure_level(in_blocks(np.zeros(16_000, np.float32)), 16_000)
    assert level.integrated_lufs == SILENCE_LUFS
    gain = normalisation(level, -16.0)
    assert (gain.gain_db, gain.silent, gain.limited) == (0.0, True, False)


@pytest.mark.parametrize("n_samples", [1, 3200])
def test_very_short_sound(n_samples: int) -> None:
    level = measure_level(in_blocks(reading().samples[16_000 : 16_000 + n_samples]), 16_000)
    assert np.isfinite([level.integrated_lufs, level.true_peak_dbtp]).all()


def test_too_loud_becomes_quieter() -> None:
    gain = normalisation(SoundLevel(-5.0, 1.5), -16.0)
    assert gain.gain_db == -11.0
    assert not gain.limited
