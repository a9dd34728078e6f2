from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.audio.hum import HumLine, find_hum, remove_hum
from s2v_pipeline.audio.low_spectrum import low_spectrum
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.audio.rumble import high_pass, rumble_level_db
from s2v_pipeline.media import Waveform
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


def hum_of(waveform: Waveform) -> tuple[HumLine, ...]:
    return find_hum(low_spectrum(waveform), duration_s=float(waveform.duration_s))


def without_hum(waveform: Waveform, lines: tuple[HumLine, ...], block: int = 4096) -> np.ndarray:
    blocks = in_blocks(waveform.samples, block)
    return np.concatenate(list(remove_hum(blocks, waveform.rate_hz, lines)), axis=1)[0]


@pytest.mark.parametrize("mains_hz", [49.9, 50.0, 50.1, 59.9, 60.0, 60.05])
def test_hum_is_found_and_removed_without_a_shift(mains_hz: float) -> None:
    humming = with_hum(synthetic(), mains_hz, level_db=-35.0)
    lines = hum_of(humming)
    assert lines[0].frequency_hz == pytest.approx(mains_hz, abs=0.05)
    assert lines[0].level_db == pytest.approx(-35.0, abs=1.5)
    assert all(abs(line.frequency_hz / mains_hz - round(line.frequency_hz / mains_hz)) < 0.01 for line in lines)
    found = without_hum(humming, lines)
    assert found.size == humming.samples.size
    assert lag_samples(synthetic().samples, found) == 0
    at_mains = [
        10 * np.log10(low_spectrum(Waveform(samples, 16_000)).powers.mean(axis=0)[round(4 * mains_hz)])
        for samples in (humming.samples, found)
    ]
    assert at_mains[1] < at_mains[0] - 20.0
    assert si_sdr_db(synthetic().samples, found) > si_sdr_db(synthetic().samples, humming.samples) + 7.0


def test_steady_hum_in_noise_goes_to_the_very_ends() -> None:
    noise = Waveform((0.5 * pink_noise(12 * 16_000, seed=5)).astype(np.float32), 16_000)
    humming = with_hum(noise, 50.05, level_db=-30.0)
    left = without_hum(humming, hum_of(humming)) - noise.samples
    hum = humming.samples - noise.samples
    for part in (slice(None), slice(0, 1600), slice(-1600, None)):
        assert np.mean(left[part] ** 2) < 1e-3 * np.mean(hum[part] ** 2)


def test_voices_and_noise_are_not_taken_for_hum() -> None:
    assert hum_of(synthetic()) == ()
    assert hum_of(with_noise(synthetic(), snr_db=5.0)) == ()
    assert hum_of(Waveform(np.zeros(48_000, np.float32), 16_000)) == ()


def test_the_reading_s_own_hum_is_one_line_at_60_hz() -> None:
    (line,) = hum_of(reading())
    assert line.frequency_hz == pytest.approx(60.0, abs=0.1)
    assert -53.0 < line.level_db < -47.0


def test_short_sound_is_not_searched() -> None:
    humming = with_hum(synthetic(), 50.0, level_db=-20.0)
    assert hum_of(Waveform(humming.samples[:30_000].copy(), 16_000)) == ()


def test_blocks_of_any_length_give_the_same() -> None:
    humming = with_hum(reading(), 50.0, level_db=-30.0)
    lines = hum_of(humming)
    np.testing.assert_array_equal(without_hum(humming, lines, 777), without_hum(humming, lines, 10**6))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_high_pass_takes_rumble_and_leaves_the_voice_where_it_is(rate_hz: int) -> None:
    speech = resample(synthetic(), rate_hz)
    time_s = np.arange(speech.samples.size) / rate_hz
    rumble = 0.2 * np.sin(2 * np.pi * 23 * time_s) + 0.1
    given = (speech.samples + rumble).astype(np.float32)
    found = np.concatenate(list(high_pass(in_blocks(given), rate_hz, cut_hz=60.0)), axis=1)[0]
    assert found.size == given.size
    assert lag_samples(speech.samples, found) == 0
    assert si_sdr_db(speech.samples, found) > 25.0 > 10.0 > si_sdr_db(speech.samples, given)


def test_high_pass_in_windows_is_that_of_the_whole() -> None:
    speech = Waveform(np.tile(reading().samples, 4), 16_000)
    whole = np.concatenate(list(high_pass([speech.samples[None]], 16_000, cut_hz=20.0)), axis=1)[0]
    shifted = np.concatenate(list(high_pass([speech.samples[None, 16_000 * 5 :]], 16_000, cut_hz=20.0)), axis=1)[0]
    # The same sound in other windows, away from the second one's start.
    assert np.abs(whole[16_000 * 7 :] - shifted[16_000 * 2 :]).max() < 1e-5


@pytest.mark.parametrize("n_samples", [1, 2, 3200])
def test_high_pass_of_very_short_sound(n_samples: int) -> None:
    given = reading().samples[16_000 : 16_000 + n_samples]
    found = np.concatenate(list(high_pass(in_blocks(given), 16_000, cut_hz=60.0)), axis=1)
    assert found.shape == (1, n_samples)
    assert np.isfinite(found).all()


def test_rumble_level_is_that_of_what_lies_below() -> None:
    time_s = np.arange(8 * 16_000) / 16_000
    tones = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 30 * time_s) + 0.5 * np.sin(2 * np.pi * 200 * time_s)
    assert rumble_level_db(low_spectrum(Waveform(tones.astype(np.float32), 16_000)), cut_hz=60.0) == pytest.approx(
        -20.0, abs=0.1
    )
    white = (0.1 * np.random.default_rng(2).standard_normal(30 * 16_000)).astype(np.float32)
    below_db = -20.0 + 10 * np.log10(60.0 / 8000.0)
    assert rumble_level_db(low_spectrum(Waveform(white, 16_000)), cut_hz=60.0) == pytest.approx(below_db, abs=1.0)


def test_a_cut_that_no_filter_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="high-pass"):
        next(high_pass([np.zeros((1, 10), np.float32)], 16_000, cut_hz=5.0))
