from __future__ import annotations

import logging
import pickle
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.audio import decode
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_speech, read_waveform
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.errors import AudioError
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.audio.flac_files import write_flac


def _noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples)


def test_samples_come_back_exactly(tmp_path: Path) -> None:
    sound = np.rint(_noise(50_000) * 32768) / 32768
    waveform = read_waveform(write_flac(tmp_path / "a.flac", sound, 22_050))
    assert waveform.rate_hz == 22_050
    np.testing.assert_array_equal(waveform.samples, sound.astype(np.float32))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
def test_click_stays_where_it_is_and_length_is_the_nearest(tmp_path: Path, rate_hz: int) -> None:
    n_samples = rate_hz + 137
    clicks_s = (0.1, 0.5, 0.9)
    sound = np.zeros(n_samples)
    for click_s in clicks_s:
        sound[round(click_s * rate_hz)] = 0.9
    waveform = read_waveform(write_flac(tmp_path / "a.flac", sound, rate_hz), rate_hz=SPEECH_RATE_HZ)
    assert waveform.samples.size == round(Fraction(n_samples * SPEECH_RATE_HZ, rate_hz))
    for click_s in clicks_s:
        near = round(click_s * SPEECH_RATE_HZ) + np.arange(-400, 401)
        found = near[np.argmax(np.abs(waveform.samples[near]))]
        assert abs(found / SPEECH_RATE_HZ - round(click_s * rate_hz) / rate_hz) <= 1 / SPEECH_RATE_HZ


def test_tone_keeps_its_level_and_phase_through_resampling() -> None:
    time_s = np.arange(44_100) / 44_100
    tone = Waveform((0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32), 44_100)
    got = resample(tone, SPEECH_RATE_HZ).samples[2000:-2000]
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / SPEECH_RATE_HZ)[2000:-2000]
    assert np.max(np.abs(got - expected)) < 0.005


def test_stereo_is_the_mean(tmp_path: Path) -> None:
    left = np.rint(_noise(20_000) * 32768) / 32768
    speech = read_speech(write_flac(tmp_path / "a.flac", np.stack([left, left * 0.5]), 16_000))
    assert speech.mix == "mean"
    assert speech.channel_correlation > 0.99
    np.testing.assert_allclose(speech.waveform.samples, left * 0.75, atol=2e-5)


def test_cancelling_stereo_keeps_the_louder_channel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = np.rint(_noise(20_000) * 32768) / 32768
    path = write_flac(tmp_path / "a.flac", np.stack([-left * 0.5, left]) + 0.05, 16_000)
    with caplog.at_level(logging.WARNING):
        speech = read_speech(path)
    assert speech.mix == "right"
    assert speech.channel_correlation < -0.99
    np.testing.assert_allclose(speech.waveform.samples, left + 0.05, atol=2e-5)
    assert "cancel" in caplog.text


def test_unrelated_channels_are_mixed_and_a_silent_one_does_no_harm(tmp_path: Path) -> None:
    unrelated = np.stack([_noise(20_000, 1), _noise(20_000, 2)])
    assert read_speech(write_flac(tmp_path / "a.flac", unrelated, 16_000)).mix == "mean"
    one_silent = np.stack([_noise(20_000), np.zeros(20_000)])
    assert np.any(read_speech(write_flac(tmp_path / "b.flac", one_silent, 16_000)).waveform.samples)


def test_a_long_recording_lies_in_a_file_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_flac(tmp_path / "a.flac", np.stack([_noise(60_001, 3), _noise(60_001, 4)]), 48_000)
    in_memory = read_waveform(path, rate_hz=SPEECH_RATE_HZ)
    monkeypatch.setattr(decode, "_IN_MEMORY_SAMPLES", 19_999)
    in_file = read_waveform(path, rate_hz=SPEECH_RATE_HZ)
    assert in_memory.samples.size == in_file.samples.size == 20_000
    np.testing.assert_array_equal(in_file.samples, in_memory.samples)
    assert isinstance(in_file.samples.base, memoryview)  # of the mapped file
    assert not in_file.samples.flags.writeable
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(in_file)).samples, in_memory.samples)  # noqa: S301


def test_no_room_for_a_long_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_flac(tmp_path / "a.flac", _noise(20_000), 16_000)
    monkeypatch.setattr(decode, "_IN_MEMORY_SAMPLES", 19_999)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(AudioError, match=r"temporary file of 0 MB; got No such file.*TMPDIR"):
        read_waveform(path)


def test_what_is_no_flac_is_refused(tmp_path: Path) -> None:
    playlist = tmp_path / "a.flac"
    playlist.write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(AudioError, match=r"a\.flac must"):
        read_waveform(playlist)
    with pytest.raises(AudioError, match="readable FLAC"):
        read_waveform(tmp_path / "missing.flac")


def test_cut_file_is_refused(tmp_path: Path) -> None:
    path = write_flac(tmp_path / "a.flac", _noise(200_000), 16_000)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(AudioError):
        read_waveform(path)
