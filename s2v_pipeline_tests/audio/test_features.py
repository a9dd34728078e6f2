from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.features import (
    AUDIO_FEATURE_COLUMNS,
    MEL_COLUMNS,
    SpeechSummary,
    describe_speech,
    extract_features,
)
from s2v_pipeline.audio.loudness import SILENCE_DB
from s2v_pipeline.audio.mel import mel_bands
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.chunks.request import FEATURE_COLUMNS
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import frames_for_samples

SPEECH = Path(__file__).parents[1] / "data" / "flite_slt_depth_of_a_well.flac"


def _features(waveform: Waveform, fps: Fraction) -> pd.DataFrame:
    return extract_features(waveform, n_frames=frames_for_samples(waveform.samples.size, 16_000, fps), fps=fps)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(60)])
def test_table_shape_and_real_speech(fps: Fraction) -> None:
    waveform = read_waveform(SPEECH)
    table = _features(waveform, fps)
    assert tuple(table.columns) == AUDIO_FEATURE_COLUMNS
    assert set(FEATURE_COLUMNS) <= set(table.columns)
    assert [str(dtype) for dtype in table.dtypes] == ["int64", *["float64"] * 4, "bool", *["float64"] * 2] + [
        "float32"
    ] * 20
    np.testing.assert_array_equal(table["frame"], np.arange(len(table)))
    assert table["time_s"].iloc[3] == float(Fraction(7, 2) / fps)
    assert np.isfinite(table.to_numpy(dtype=np.float64)).all()
    assert table["onset"].between(0, 1).all()
    assert table["speech_probability"].between(0, 1).all()
    spoken = table["time_s"].between(0.3, 2.1)
    assert table.loc[spoken, "rms_db"].mean() > table.loc[table["time_s"] < 0.15, "rms_db"].mean() + 30
    # The voice is female and mostly voiced in this sentence.
    assert table.loc[spoken, "voiced"].mean() > 0.5
    assert 140 < table.loc[table["voiced"], "f0_hz"].median() < 210


def test_onset_is_in_its_frame() -> None:
    rng = np.random.default_rng(0)
    sound = np.zeros(32_000, np.float32)
    sound[16_320:] = 0.3 * rng.standard_normal(15_680)  # starts at 1.02 s: the middle of frame 25
    table = _features(Waveform(sound, 16_000), Fraction(25))
    assert int(table["onset"].idxmax()) == 25
    assert table["onset"].max() == 1.0
    assert table.loc[(table["frame"] < 24) | (table["frame"] > 27), "onset"].max() < 0.3


def test_level_and_centroid_of_a_tone() -> None:
    time_s = np.arange(16_000) / 16_000
    table = _features(Waveform((0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32), 16_000), Fraction(25))
    inner = table.iloc[2:-2]
    np.testing.assert_allclose(inner["rms_db"], -9.03, atol=0.05)
    np.testing.assert_allclose(inner["spectral_centroid_hz"], 1000, atol=30)


def test_bands_of_a_tone() -> None:
    time_s = np.arange(16_000) / 16_000
    bands = mel_bands(len(MEL_COLUMNS), 640)
    middle_hz = float(np.fft.rfftfreq(640, 1 / 16_000)[bands[9].argmax()])
    table = _features(Waveform(np.sin(2 * np.pi * middle_hz * time_s).astype(np.float32), 16_000), Fraction(30))
    loudness_db = table.loc[2 : len(table) - 3, list(MEL_COLUMNS)]
    assert (loudness_db.to_numpy().argmax(axis=1) == 9).all()
    np.testing.assert_allclose(loudness_db["mel_db_09"], -3.01, atol=0.3)
    assert loudness_db[["mel_db_06", "mel_db_12"]].to_numpy().max() < -60


def test_bands_add_up_to_the_level() -> None:
    noise = (0.1 * np.random.default_rng(2).standard_normal(32_000)).astype(np.float32)
    table = _features(Waveform(noise, 16_000), Fraction(25)).iloc[2:-2]
    together_db = 10 * np.log10((10 ** (table[list(MEL_COLUMNS)] / 10)).sum(axis=1))
    # Half of the highest band's upper slope and of the lowest one's lower slope belong to no band.
    assert (together_db - table["rms_db"]).mean() == pytest.approx(-0.3, abs=0.2)


def test_silence_is_quiet_everywhere() -> None:
    table = _features(Waveform(np.zeros(16_000, np.float32), 16_000), Fraction(25))
    assert (table["rms_db"] == SILENCE_DB).all()
    assert (table[list(MEL_COLUMNS)] == SILENCE_DB).all(axis=None)
    assert not table[["f0_hz", "onset", "spectral_centroid_hz"]].to_numpy().any()


def test_frames_past_the_end_and_single_sample() -> None:
    waveform = Waveform(read_waveform(SPEECH).samples[:8_000].copy(), 16_000)
    table = extract_features(waveform, n_frames=20, fps=Fraction(25))
    assert (table["rms_db"].iloc[14:] == SILENCE_DB).all()
    assert (table["speech_probability"].iloc[13:] == 0).all()
    assert len(extract_features(Waveform(np.ones(1, np.float32), 16_000), n_frames=1, fps=Fraction(25))) == 1


def test_earlier_rows_do_not_depend_on_later_sound() -> None:
    samples = read_waveform(SPEECH).samples
    whole = extract_features(Waveform(samples.copy(), 16_000), n_frames=50, fps=Fraction(25))
    start = extract_features(Waveform(samples[:24_000].copy(), 16_000), n_frames=37, fps=Fraction(25))
    pd.testing.assert_frame_equal(whole.iloc[:34], start.iloc[:34])


def test_bad_arguments() -> None:
    waveform = Waveform(np.zeros(100, np.float32), 44_100)
    with pytest.raises(ValueError, match="16000 Hz"):
        extract_features(waveform, n_frames=1, fps=Fraction(25))


def test_summary() -> None:
    waveform = read_waveform(SPEECH)
    segments = speech_segments(waveform)
    summary = describe_speech(waveform, _features(waveform, Fraction(25)), segments)
    assert summary == describe_speech(waveform, _features(waveform, Fraction(25)))
    assert isinstance(summary.speech_level_db, int)
    assert -30 < summary.speech_level_db < -10
    assert summary.median_f0_hz % 5 == 0
    assert 140 < summary.median_f0_hz < 210
    assert summary.n_segments == len(segments)
    assert summary.to_attrs()["segments"] == [list(segment) for segment in segments]


def test_summary_of_nothing() -> None:
    waveform = Waveform(np.zeros(16_000, np.float32), 16_000)
    summary = describe_speech(waveform, _features(waveform, Fraction(25)))
    assert summary == SpeechSummary(round(SILENCE_DB), 0, -70.0, 0, 0, ())
    with pytest.raises(ValueError, match="do not fit"):
        SpeechSummary(-20, 100, -23.0, 5.0, 1, ((0.0, 1.0),))
