from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.audio.decode import read_blocks, read_waveform
from s2v_pipeline.audio.normalise import measure_level
from s2v_pipeline.audio.tracks import (
    ASSET,
    CLEANED_CHANNELS_PART,
    CLEANED_PART,
    NORMALISED_PART,
    REPORT,
    analysed_path,
    clean_up_report,
    delivered_path,
    make_tracks,
)
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.inputs.speech_input import FaceFacts, Part, SpeechInput
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AudioSettings
from s2v_pipeline_tests.audio.flac_files import write_flac
from s2v_pipeline_tests.audio.noisy_speech import lag_samples, reading, si_sdr_db, with_noise

INPUT = "anna"
ORIGINAL = ("speech_inputs", "speech.flac")

Stored = Callable[..., SpeechInput]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


@pytest.fixture
def stored(store: ArtifactStore) -> Stored:
    """Puts samples into the store as the inputs stage does, and gives the value of speech_inputs."""

    def put(samples: np.ndarray, rate_hz: int = 16_000) -> SpeechInput:
        planar = np.atleast_2d(samples)
        asset, part = ORIGINAL
        path = store.write(
            asset,
            INPUT,
            part,
            lambda path: write_flac(path, planar.astype(np.float64), rate_hz),
            key="given",
            made_by="test",
        )
        nothing = Part("portrait.png", "0" * 64)
        face = FaceFacts((0.0, 0.0, 9.0, 9.0), 1.0, 1.0, 5.0, 0.0, 0.0)
        return SpeechInput(
            input_id=INPUT,
            name=INPUT,
            prompt="",
            transcript=None,
            n_samples=planar.shape[1],
            rate_hz=rate_hz,
            channels=len(planar),
            width_px=64,
            height_px=64,
            fps=Fraction(25),
            portrait=nothing,
            framed=nothing,
            speech=Part(part, file_sha256(path)),
            face=face,
            crop_px=(0, 0, 9, 9),
            peak_dbfs=0.0,
            rms_dbfs=-20.0,
            sources={},
            notes=(),
        )

    return put


def test_a_clean_recording_makes_no_file(store: ArtifactStore, stored: Stored) -> None:
    speech = stored(reading().samples)
    tracks = make_tracks(speech, AudioSettings(delivered="cleaned"), store)
    original = store.read_path(*ORIGINAL[:1], INPUT, ORIGINAL[1])
    attrs = {REPORT: tracks.report}
    assert analysed_path(attrs, INPUT, store) == original
    assert delivered_path(tracks.report, INPUT, store) == original
    np.testing.assert_array_equal(tracks.waveform16k.samples, read_waveform(original, rate_hz=16_000).samples)
    assert not store.path(ASSET, INPUT, CLEANED_PART).exists()


def test_a_noisy_one_is_cleaned_once_and_analysed_from_the_file(store: ArtifactStore, stored: Stored) -> None:
    noisy = with_noise(Waveform(reading().samples[:48_001].copy(), 16_000), snr_db=5.0)
    speech = stored(noisy.samples)
    tracks = make_tracks(speech, AudioSettings(), store)
    assert tracks.report["denoised"]
    cleaned = analysed_path({REPORT: tracks.report}, INPUT, store)
    assert cleaned.name == CLEANED_PART
    assert delivered_path(tracks.report, INPUT, store).name == ORIGINAL[1]
    np.testing.assert_array_equal(tracks.waveform16k.samples, read_waveform(cleaned).samples)
    assert tracks.waveform16k.samples.size == 48_001
    assert lag_samples(reading().samples[:48_001], tracks.waveform16k.samples) == 0
    gained = si_sdr_db(reading().samples[:48_001], tracks.waveform16k.samples)
    assert gained > si_sdr_db(reading().samples[:48_001], noisy.samples) + 3.0

    written = cleaned.stat().st_mtime_ns
    again = make_tracks(speech, AudioSettings(delivered="cleaned"), store)
    assert cleaned.stat().st_mtime_ns == written
    assert delivered_path(again.report, INPUT, store) == cleaned
    assert again.report["analysed"] == tracks.report["analysed"]


def test_stereo_is_delivered_in_stereo(store: ArtifactStore, stored: Stored) -> None:
    left = with_noise(Waveform(reading().samples[:32_000].copy(), 16_000), snr_db=5.0).samples
    right = 0.5 * np.roll(left, 3)
    speech = stored(np.stack([left, right]))
    tracks = make_tracks(speech, AudioSettings(delivered="normalised", loudness_lufs=-23), store)
    assert store.holds(ASSET, INPUT, CLEANED_CHANNELS_PART, key=_key(store, CLEANED_CHANNELS_PART))
    path = delivered_path(tracks.report, INPUT, store)
    assert path.name == NORMALISED_PART
    delivered = np.concatenate(list(read_blocks(path)), axis=1)
    assert delivered.shape == (2, 32_000)
    assert lag_samples(left, delivered[0]) == 0
    assert measure_level([delivered], 16_000).integrated_lufs == pytest.approx(-23.0, abs=0.1)
    assert tracks.report["delivered"]["gain"]["limited"] is False


@pytest.mark.parametrize("target_lufs", [-9.0, -23.0])
def test_normalised_is_the_original_with_one_gain(store: ArtifactStore, stored: Stored, target_lufs: float) -> None:
    speech = stored(reading().samples)
    tracks = make_tracks(speech, AudioSettings(delivered="normalised", loudness_lufs=target_lufs), store)
    path = delivered_path(tracks.report, INPUT, store)
    delivered = np.concatenate(list(read_blocks(path)), axis=1)
    about = tracks.report["delivered"]
    factor = 10 ** (about["gain"]["gain_db"] / 20)
    assert (
        np.abs(delivered[0] - factor * read_waveform(store.path(*ORIGINAL[:1], INPUT, ORIGINAL[1])).samples).max()
        < 1e-5
    )
    level = measure_level([delivered], 16_000)
    assert level.true_peak_dbtp <= -1.0
    assert about["level"]["integrated_lufs"] == pytest.approx(level.integrated_lufs, abs=1e-3)
    assert about["gain"]["limited"] == (target_lufs == -9.0)
    assert (abs(level.integrated_lufs - target_lufs) <= 0.1) == (target_lufs == -23.0)


def test_silence_is_delivered_as_it_is(store: ArtifactStore, stored: Stored) -> None:
    tracks = make_tracks(stored(np.zeros(3_200)), AudioSettings(delivered="normalised"), store)
    assert tracks.report["delivered"]["gain"]["silent"] is True
    assert delivered_path(tracks.report, INPUT, store).name == ORIGINAL[1]


def test_a_separator_of_the_caller_runs_first(store: ArtifactStore, stored: Stored) -> None:
    class LeavesOutTheSecondHalf:
        name = "half 1"

        def voice(self, blocks: SoundBlocks, rate_hz: int) -> Iterator[SoundBlock]:
            whole = np.concatenate(list(blocks), axis=1)
            whole[:, whole.shape[1] // 2 :] = 0.0
            yield whole

    tracks = make_tracks(stored(reading().samples), AudioSettings(), store, separator=LeavesOutTheSecondHalf())
    assert tracks.report["separated_by"] == "half 1"
    assert analysed_path({REPORT: tracks.report}, INPUT, store).name == CLEANED_PART
    half = reading().samples.size // 2
    assert np.abs(tracks.waveform16k.samples[half:]).max() == 0.0
    assert np.abs(tracks.waveform16k.samples[:half] - reading().samples[:half]).max() < 1e-6


def test_another_file_than_the_report_s_is_refused(store: ArtifactStore, stored: Stored) -> None:
    speech = stored(reading().samples)
    report = make_tracks(speech, AudioSettings(), store).report
    stored(np.zeros(3_200))
    with pytest.raises(ArtifactError, match="must be the sound that audio_features was made with"):
        analysed_path({REPORT: report}, INPUT, store)


def test_a_table_of_an_earlier_version_or_another_choice_is_refused(store: ArtifactStore, stored: Stored) -> None:
    with pytest.raises(ArtifactError, match="an earlier version"):
        clean_up_report({"segments": []})
    report = make_tracks(stored(reading().samples), AudioSettings(), store).report
    assert clean_up_report({REPORT: report}, "original") is report
    with pytest.raises(ArtifactError, match="Materialise audio_features"):
        clean_up_report({REPORT: report}, "cleaned")


def test_a_damaged_recording_is_refused(store: ArtifactStore, stored: Stored) -> None:
    speech = stored(reading().samples)
    with pytest.raises(ArtifactError):
        make_tracks(replace(speech, speech=Part("other.flac", "0" * 64)), AudioSettings(), store)


def _key(store: ArtifactStore, part: str) -> str:
    record = store.provenance(ASSET, INPUT, part)
    assert record is not None
    return record.key
