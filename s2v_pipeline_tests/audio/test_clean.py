from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from s2v_pipeline.audio.clean import DENOISE_BELOW_SNR_DB, CleanUpPlan, clean, plan_clean_up
from s2v_pipeline.audio.noise import MOST_SNR_DB, measure_noise
from s2v_pipeline.audio.voice_activity import speech_probabilities
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AudioSettings
from s2v_pipeline_tests.audio.noisy_speech import (
    in_blocks,
    lag_samples,
    pink_noise,
    reading,
    si_sdr_db,
    synthetic,
    with_hum,
    with_noise,
)

AUTO = AudioSettings()


def plan_of(waveform: Waveform, settings: AudioSettings = AUTO, problem: str | None = None) -> CleanUpPlan:
    probabilities = speech_probabilities(waveform)
    return plan_clean_up(waveform, probabilities, settings, find_denoiser_problem=lambda: problem)


@pytest.mark.parametrize("speech", [reading, synthetic])
@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0, 13.0, 17.0, 25.0])
def test_noise_decides(speech: Callable[[], Waveform], snr_db: float) -> None:
    clean_speech, noisy = speech(), with_noise(speech(), snr_db=snr_db)
    own = measure_noise(clean_speech, speech_probabilities(clean_speech))
    plan = plan_of(noisy)
    assert own is not None
    assert plan.levels is not None
    added_power = np.mean(np.square(noisy.samples - clean_speech.samples, dtype=np.float64))
    expected_db = own.speech_db - 10 * np.log10(added_power + 10 ** (own.noise_db / 10))
    # At 0 dB the voice activity hears but the louder parts, and takes their level for that of the speech.
    assert plan.levels.snr_db == pytest.approx(expected_db, abs=3.0 if snr_db > 0 else 5.0)
    assert plan.denoise == (plan.levels.snr_db < DENOISE_BELOW_SNR_DB)
    if abs(expected_db - DENOISE_BELOW_SNR_DB) >= 3.0:
        assert plan.denoise == (expected_db < DENOISE_BELOW_SNR_DB)
    assert f"{plan.levels.snr_db:.1f} dB above the noise" in plan.reasons[2]
    assert f"{DENOISE_BELOW_SNR_DB:g} dB" in plan.reasons[2]


@pytest.mark.parametrize("speech", [reading, synthetic])
def test_clean_recordings_are_left_alone_to_the_bit(speech: Callable[[], Waveform]) -> None:
    waveform = speech()
    plan = plan_of(waveform)
    assert not plan.changes_anything
    assert plan.fallbacks == ()
    found = np.concatenate(list(clean(in_blocks(waveform.samples), waveform.rate_hz, plan, channels=1)), axis=1)
    np.testing.assert_array_equal(found[0], waveform.samples)


def test_digital_silence_in_pauses_is_the_best_there_is() -> None:
    levels = measure_noise(synthetic(), speech_probabilities(synthetic()))
    assert levels is not None
    assert levels.source == "pauses"
    assert levels.noise_s > 0.5
    assert 60.0 < levels.snr_db <= MOST_SNR_DB


def test_without_pauses_the_quietest_moments_count() -> None:
    waveform = Waveform(np.tile(synthetic().samples[10_000:38_000], 2), 16_000)
    levels = measure_noise(waveform, np.ones(-(-waveform.samples.size // 512), np.float32))
    assert levels is not None
    assert levels.source == "quietest moments"
    assert levels.snr_db > 20.0


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_audible_hum_is_removed_and_does_not_count_as_noise(mains_hz: float) -> None:
    humming = with_hum(synthetic(), mains_hz, level_db=-35.0)
    plan = plan_of(humming)
    assert plan.hum
    assert not plan.denoise
    assert "above the threshold of hearing" in plan.reasons[1]
    found = np.concatenate(list(clean(in_blocks(humming.samples), 16_000, plan, channels=1)), axis=1)[0]
    assert lag_samples(synthetic().samples, found) == 0
    assert si_sdr_db(synthetic().samples, found) > si_sdr_db(synthetic().samples, humming.samples) + 5.0
    assert not plan_of(humming, AudioSettings(dehum="off")).hum


def test_hum_that_nobody_hears_is_left() -> None:
    plan = plan_of(reading())
    assert plan.hum == ()
    assert "hum is left" in plan.reasons[1]


@pytest.mark.parametrize(("offset", "expected"), [(0.0, None), (0.1, 60.0)])
def test_rumble_decides_about_the_high_pass(offset: float, expected: float | None) -> None:
    plan = plan_of(Waveform(synthetic().samples + np.float32(offset), 16_000))
    assert plan.high_pass_hz == expected
    assert "dB under the speech" in plan.reasons[0]


def test_on_and_off_are_obeyed() -> None:
    noisy = with_noise(reading(), snr_db=0.0)
    off = plan_of(noisy, AudioSettings(denoise="off", derumble="off", dehum="off"))
    assert not off.changes_anything
    on = plan_of(reading(), AudioSettings(denoise="on", derumble="on", high_pass_hz=80))
    assert (on.denoise, on.high_pass_hz) == (True, 80.0)
    assert "audio.denoise is on" in on.reasons[2]


def test_without_the_denoiser_the_plan_says_so_and_goes_on() -> None:
    plan = plan_of(with_noise(reading(), snr_db=5.0), problem="the package is not installed")
    assert not plan.denoise
    assert plan.fallbacks == ("not denoised, though it should be: the package is not installed",)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(32_000, np.float32),
        np.zeros(1, np.float32),
        (0.5 * pink_noise(32_000, seed=1)).astype(np.float32),
    ],
    ids=["silence", "one sample", "noise alone"],
)
def test_where_nobody_is_heard_nothing_is_done(samples: np.ndarray) -> None:
    plan = plan_of(Waveform(samples, 16_000))
    assert not plan.changes_anything
    assert plan.levels is None
    assert all("nobody was heard" in reason for reason in plan.reasons)


def test_a_fifth_of_a_second_of_noisy_speech() -> None:
    noisy = with_noise(Waveform(reading().samples[16_000:19_200].copy(), 16_000), snr_db=3.0)
    plan = plan_of(noisy, AudioSettings(denoise="on", derumble="on"))
    found = np.concatenate(list(clean(in_blocks(noisy.samples), 16_000, plan, channels=1)), axis=1)[0]
    assert found.size == noisy.samples.size
    assert np.isfinite(found).all()
    assert lag_samples(noisy.samples, found) == 0


def test_all_steps_together_keep_the_clock() -> None:
    noisy = with_hum(with_noise(reading(), snr_db=5.0), 50.0, level_db=-30.0)
    noisy = Waveform(noisy.samples + np.float32(0.1), 16_000)
    plan = plan_of(noisy)
    assert plan.denoise
    assert plan.hum
    assert plan.high_pass_hz == 60.0
    found = np.concatenate(list(clean(in_blocks(noisy.samples), 16_000, plan, channels=1)), axis=1)[0]
    assert found.size == noisy.samples.size
    assert lag_samples(reading().samples, found) == 0
    assert si_sdr_db(reading().samples, found) > si_sdr_db(reading().samples, noisy.samples) + 6.0
