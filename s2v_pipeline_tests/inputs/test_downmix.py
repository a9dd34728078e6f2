"""More than two channels become two in which the voice is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.audio.decode import read_speech
from s2v_pipeline.inputs.speech import SpeechInfo, copy_speech
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline_tests.inputs.sound_files import encode, noise, read_sound, write_wav

RATE_HZ = 48_000
FL, FR, FC, LFE, BL, BR = range(6)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """(n,) float32: three seconds of a real voice, peak 0.5."""
    sample = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "speech.wav"
    samples, _ = read_sound(sample)
    stretched = np.repeat(samples[0, :48_000], 3)  # 16 to 48 kHz: how it sounds does not matter here
    return (0.5 * stretched / np.abs(stretched).max()).astype(np.float32)


def _surround(voice: np.ndarray, weights: dict[int, float]) -> np.ndarray:
    """(6, n): a different noise in every channel, 60 dB down, and the voice."""
    channels = noise(voice.size, channels=6, level=0.0005)
    for channel, weight in weights.items():
        channels[channel] += np.float32(weight) * voice
    return channels


def _copied(tmp_path: Path, channels: np.ndarray, name: str = "a.flac", codec: str = "flac") -> tuple[SpeechInfo, Path]:
    path = encode(tmp_path / name, codec, channels, RATE_HZ)
    copy = tmp_path / "copy.flac"
    return copy_speech(path, copy, InputSettings()), copy


def _likeness(found: np.ndarray, voice: np.ndarray) -> float:
    return float(np.corrcoef(found, voice)[0, 1])


def _left_out(info: SpeechInfo) -> list[str]:
    return [note for note in info.notes if "left out of the mix" in note]


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.wav", "pcm_s16le"), ("a.mka", "pcm_f32le")])
def test_a_voice_in_the_middle_is_heard_on_both_sides(tmp_path: Path, voice: np.ndarray, name: str, codec: str) -> None:
    info, copy = _copied(tmp_path, _surround(voice, {FC: 1.0}), name, codec)
    assert (info.channels, info.source_channels) == (2, 6)
    assert _left_out(info) == []
    samples, _ = read_sound(copy)
    assert _likeness(samples[0], voice) > 0.99
    assert _likeness(samples[1], voice) > 0.99
    # The mix is scaled so that it cannot clip: the middle is 0.707 of 1 + 0.707 + 0.707.
    assert np.abs(samples[0]).max() == pytest.approx(0.5 * 0.293, rel=0.02)


def test_an_inverted_channel_does_not_take_the_voice_away(tmp_path: Path, voice: np.ndarray) -> None:
    # The left front microphone hears the same voice with its wires swapped: 0.7 of it cancels the middle.
    info, copy = _copied(tmp_path, _surround(voice, {FC: 1.0, FL: -0.7, FR: 0.7}))
    (note,) = _left_out(info)
    assert note.endswith("FL of the left side")
    samples, _ = read_sound(copy)
    assert info.n_samples == voice.size
    assert _likeness(samples[0], voice) > 0.99
    assert _likeness(samples[1], voice) > 0.99
    speech = read_speech(copy)
    assert speech.mix == "mean"
    assert _likeness(speech.waveform.samples, voice) > 0.99


def test_an_inverted_middle_is_left_out_of_both_sides(tmp_path: Path, voice: np.ndarray) -> None:
    info, copy = _copied(tmp_path, _surround(voice, {FC: -0.9, FL: 1.0, FR: 1.0}))
    (note,) = _left_out(info)
    assert note.endswith("FC of the left side, FC of the right side")
    assert _likeness(read_sound(copy)[0][0], voice) > 0.99


def test_an_inverted_side_is_kept_for_the_listener_and_not_for_the_analysis(tmp_path: Path, voice: np.ndarray) -> None:
    info, copy = _copied(tmp_path, _surround(voice, {FL: 1.0, FR: -0.8}))
    assert _left_out(info) == []
    speech = read_speech(copy)
    assert speech.mix == "left"
    assert _likeness(speech.waveform.samples, voice) > 0.99


def test_a_rumble_that_is_not_mixed_decides_nothing(tmp_path: Path, voice: np.ndarray) -> None:
    info, copy = _copied(tmp_path, _surround(voice, {FC: 0.5, LFE: -1.0}))
    assert _left_out(info) == []
    assert _likeness(read_sound(copy)[0][0], voice) > 0.99


@pytest.mark.parametrize("n_channels", [9, 16])
def test_channels_without_positions(tmp_path: Path, voice: np.ndarray, n_channels: int) -> None:
    channels = np.stack([voice] * n_channels)
    channels[1] *= np.float32(-0.5)
    path = write_wav(tmp_path / "a.wav", np.rint(channels * 32767).astype(np.int16), RATE_HZ)
    info = copy_speech(path, tmp_path / "copy.flac", InputSettings())
    assert "the channels have no positions: both sides are the mean of all of them" in info.notes
    (note,) = _left_out(info)
    assert note.endswith("channel 2 of the left side, channel 2 of the right side")
    samples, _ = read_sound(tmp_path / "copy.flac")
    np.testing.assert_allclose(samples, np.stack([voice, voice]) * (n_channels - 1) / n_channels, atol=1e-4)
