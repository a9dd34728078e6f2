"""Telling the speech from everything else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.audio_difference import PERFECT_SNR_DB, audio_difference
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline_tests.video.material import SETTINGS, Made, make_video, voice, write_flac

RATE_HZ = 16000
N_SAMPLES = 10 * RATE_HZ + 321  # more than one block of the comparison


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_video(tmp_path_factory.mktemp("sound"), n_samples=N_SAMPLES, rate_hz=RATE_HZ, fps=Fraction(25))


def test_the_speech_itself(made: Made) -> None:
    difference = audio_difference(made.path, made.speech)
    assert (difference.lag_samples, difference.length_difference_s) == (0, 0)
    assert difference.snr_db > 25


@pytest.mark.parametrize("shift", [-1600, -1, 1, 37, 4000])
def test_a_shift_is_measured_to_the_sample(made: Made, tmp_path: Path, shift: int) -> None:
    sound = voice(N_SAMPLES, RATE_HZ)
    moved = sound[:, shift:] if shift > 0 else np.pad(sound, ((0, 0), (-shift, 0)))
    difference = audio_difference(made.path, write_flac(tmp_path / "moved.flac", moved, RATE_HZ))
    assert difference.lag_samples == shift
    assert difference.length_difference_s == Fraction(shift, RATE_HZ)


def test_another_voice_and_a_cut_tail_lower_the_ratio(made: Made, tmp_path: Path) -> None:
    other = write_flac(tmp_path / "other.flac", voice(N_SAMPLES, RATE_HZ)[:, ::-1], RATE_HZ)
    longer = write_flac(
        tmp_path / "longer.flac", np.concatenate([voice(N_SAMPLES, RATE_HZ), voice(RATE_HZ, RATE_HZ)], 1), RATE_HZ
    )
    assert audio_difference(made.path, other).snr_db < 3
    assert audio_difference(made.path, longer).snr_db < 12
    assert audio_difference(made.path, longer).length_difference_s == -1


def test_silence_is_like_silence_only(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=RATE_HZ, rate_hz=RATE_HZ, fps=Fraction(25))
    write_flac(made.speech, np.zeros((1, RATE_HZ), np.float32), RATE_HZ)
    assert audio_difference(made.path, made.speech).snr_db == -PERFECT_SNR_DB
    assemble_video(
        made.clips, made.speech, made.path, frame_counts=[25], fps=Fraction(25), settings=SETTINGS, metadata={}
    )
    difference = audio_difference(made.path, made.speech)
    assert (difference.lag_samples, difference.snr_db) == (0, PERFECT_SNR_DB)


def test_other_channels_and_no_sound_are_refused(made: Made, tmp_path: Path) -> None:
    stereo = write_flac(tmp_path / "stereo.flac", voice(N_SAMPLES, RATE_HZ, channels=2), RATE_HZ)
    with pytest.raises(MediaError, match="channels"):
        audio_difference(made.path, stereo)
    with pytest.raises(MediaError, match="channels"):
        audio_difference(made.clips[0], made.speech)
