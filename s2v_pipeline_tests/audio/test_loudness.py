from __future__ import annotations

import numpy as np
import pytest
from pyloudnorm import Meter

from s2v_pipeline.audio.loudness import SILENCE_DB, SILENCE_LUFS, measure_loudness, speech_level_db
from s2v_pipeline.media import Waveform

RATE_HZ = 48_000


def _tone(seconds: float, peak: float, hz: float = 997.0) -> Waveform:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return Waveform((peak * np.sin(2 * np.pi * hz * time_s)).astype(np.float32), RATE_HZ)


@pytest.mark.parametrize("seconds", [3.0, 0.25])
def test_reference_tone(seconds: float) -> None:
    # ITU-R BS.1770-4: a full-scale 997 Hz sine in one channel reads -3.01 LKFS; here it is 20 dB lower.
    loudness = measure_loudness(_tone(seconds, 0.1))
    assert loudness.integrated_lufs == pytest.approx(-23.01, abs=0.15)
    assert loudness.peak_dbfs == pytest.approx(-20.0, abs=0.01)


def test_silence_has_finite_levels() -> None:
    silence = Waveform(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert measure_loudness(silence).integrated_lufs == SILENCE_LUFS
    assert measure_loudness(silence).peak_dbfs == SILENCE_DB
    assert speech_level_db(silence, ()) == SILENCE_DB


def test_very_quiet_and_single_sample() -> None:
    assert measure_loudness(_tone(1.0, 1e-4)).integrated_lufs == SILENCE_LUFS
    one = measure_loudness(Waveform(np.array([0.5], np.float32), RATE_HZ))
    assert one.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert np.isfinite(one.integrated_lufs)


def test_speech_level_ignores_pauses() -> None:
    tone = _tone(1.0, 0.5).samples
    speech = Waveform(np.concatenate([np.zeros(RATE_HZ, np.float32), tone, np.zeros(RATE_HZ, np.float32)]), RATE_HZ)
    assert speech_level_db(speech, ((1.0, 2.0),)) == pytest.approx(-9.03, abs=0.01)
    assert speech_level_db(speech, ()) == pytest.approx(-9.03 - 4.77, abs=0.02)


def test_long_sound_is_measured_in_pieces_as_at_once() -> None:
    rng = np.random.default_rng(0)
    gain = np.repeat(10 ** (rng.uniform(-60, 0, 250) / 20), RATE_HZ)[: 241 * RATE_HZ + 777]
    waveform = Waveform((0.2 * gain * rng.standard_normal(gain.size)).astype(np.float32), RATE_HZ)
    at_once = Meter(RATE_HZ).integrated_loudness(waveform.samples.astype(np.float64))
    assert measure_loudness(waveform).integrated_lufs == pytest.approx(at_once, abs=1e-6)


def test_long_quiet_sound() -> None:
    samples = np.zeros(130 * RATE_HZ, np.float32)
    samples[RATE_HZ] = 0.01  # one click, in blocks that are below the gate
    assert measure_loudness(Waveform(samples, RATE_HZ)).integrated_lufs == SILENCE_LUFS
