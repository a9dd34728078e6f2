"""What the sound does at every video frame, and the few numbers that describe a whole speech.

Belongs here: the feature table (one row a frame, at the middle of the frame's time) and the summary.
Does not belong here: phonemes (alignment), mouth shapes or head motion (generation).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import rfft

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.audio.instants import windows_at
from s2v_pipeline.audio.loudness import SILENCE_DB, measure_loudness, speech_level_db
from s2v_pipeline.audio.mel import mel_bands
from s2v_pipeline.audio.pitch import estimate_f0
from s2v_pipeline.audio.voice_activity import WINDOW_S, Segments, speech_probabilities, speech_segments
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import first_sample_of_frame, frame_middle_s

MEL_COLUMNS = tuple(f"mel_db_{band:02d}" for band in range(20))
"""Columns of the log-mel spectrum, low to high. 20 bands show formants and fricatives, and three hours at 25 frames a
second take 22 MB; recognisers use 40 to 128 at 100 Hz, and make their own."""

AUDIO_FEATURE_COLUMNS = (
    "frame",
    "time_s",
    "rms_db",
    "speech_probability",
    "f0_hz",
    "voiced",
    "onset",
    "spectral_centroid_hz",
    *MEL_COLUMNS,
)
"""Columns of the feature table, in order."""

F0_ROUNDING_HZ = 5
"""Of the summary's median: well under what an ear hears as another voice; a small edit leaves chunks as they are."""

ONSET_FULL_DB = 12.0
"""Mean rise over all bands within 20 ms that counts as a full onset (1.0). A fixed scale: one loud click does not make
every other onset small, and a longer audio leaves earlier values as they are."""

_LEVEL_WINDOW = 640  # samples: 40 ms, two periods of a 50 Hz voice, so that the level does not ripple with the pitch
_FLUX_WINDOW = 400  # samples: 25 ms, the usual speech analysis window
_FLUX_HOP = 160  # samples: 10 ms; a rise is measured over two hops
_FLUX_LAG = 2
_FLUX_BANDS = 24  # on the mel scale, as many as phoneme recognisers use at least
_FLUX_FLOOR = 10.0 ** (-70.0 / 10.0)  # power in a band below which changes are inaudible
_BLOCK = 1024  # instants at a time; bounds the memory of the work arrays to a few tens of MB


@dataclass(frozen=True)
class SpeechSummary:
    """A whole speech in numbers.

    Attributes:
        speech_level_db: rms dBFS inside the segments (of everything where there are none), rounded to whole dB.
        median_f0_hz: of the voiced frames inside speech, rounded to 5 Hz; 0 where nothing is voiced.
        loudness_lufs: integrated loudness.
        speech_s: total length of the segments.
        n_segments: their number.
        segments: (start_s, end_s) each.

    Raises:
        ValueError: the number or the total length do not fit the segments.
    """

    speech_level_db: int
    median_f0_hz: int
    loudness_lufs: float
    speech_s: float
    n_segments: int
    segments: Segments

    def __post_init__(self) -> None:
        total_s = sum(end_s - start_s for start_s, end_s in self.segments)
        if self.n_segments != len(self.segments) or abs(self.speech_s - total_s) > 1e-6:
            raise ValueError(f"{self.n_segments} segments of {self.speech_s} s do not fit {self.segments}")

    def to_attrs(self) -> dict[str, int | float | list[list[float]]]:
        """Plain values that JSON can hold, for a table's `attrs`."""
        return {**asdict(self), "segments": [list(segment) for segment in self.segments]}


def extract_features(
    waveform16k: Waveform,
    *,
    n_frames: int,
    fps: Fraction,
    probabilities: NDArray[np.float32] | None = None,
) -> pd.DataFrame:
    """One row a video frame with the columns `AUDIO_FEATURE_COLUMNS`.

    Every value describes the sound around the middle of the frame's time; past the audio's end there is silence.
    `frame` int64; `time_s` float64, the middle; `rms_db` dBFS over 40 ms; `speech_probability` 0..1, Silero's windows
    interpolated; `f0_hz` by YIN, 0 where unvoiced; `voiced` bool; `onset` 0..1, how fast the spectrum rises at its
    fastest moment within the frame; `spectral_centroid_hz`, the centre of the magnitude spectrum, 0 in silence;
    `mel_db_00`... float32, power in each mel band in dBFS over 40 ms, which together make about `rms_db`.
    `probabilities` are those of `speech_probabilities`, where the caller has them already.

    Raises:
        ValueError: not 16 kHz, or no frames, or a frame rate that is not positive.
    """
    if waveform16k.rate_hz != SPEECH_RATE_HZ or n_frames < 1 or fps <= 0:
        raise ValueError(f"features need {SPEECH_RATE_HZ} Hz, frames and a rate; got {waveform16k.rate_hz}, {n_frames}")
    if probabilities is None:
        probabilities = speech_probabilities(waveform16k)
    middles = [frame_middle_s(frame, fps) for frame in range(n_frames)]
    time_s = np.array([float(middle) for middle in middles])
    centres = np.array([round(middle * SPEECH_RATE_HZ) for middle in middles], np.int64)
    levels_db, centroids_hz, mel_db = _spectra(waveform16k, centres)
    window_middles_s = (np.arange(len(probabilities)) + 0.5) * WINDOW_S
    f0_hz = estimate_f0(waveform16k, centres)
    inside = time_s < float(waveform16k.duration_s)
    return pd.DataFrame(
        {
            "frame": np.arange(n_frames, dtype=np.int64),
            "time_s": time_s,
            "rms_db": levels_db,
            "speech_probability": np.where(inside, np.interp(time_s, window_middles_s, probabilities), 0.0),
            "f0_hz": f0_hz,
            "voiced": f0_hz > 0,
            "onset": _onset_strength(waveform16k, n_frames, fps),
            "spectral_centroid_hz": centroids_hz,
            **{column: mel_db[:, band] for band, column in enumerate(MEL_COLUMNS)},
        }
    )


def describe_speech(waveform16k: Waveform, features: pd.DataFrame, segments: Segments | None = None) -> SpeechSummary:
    """The summary of a speech from its 16 kHz waveform and its features; `segments` are found where not given."""
    if segments is None:
        segments = speech_segments(waveform16k)
    time_s = features["time_s"].to_numpy()
    in_speech = np.zeros(time_s.size, np.bool_)
    for start_s, end_s in segments:
        in_speech |= (time_s >= start_s) & (time_s < end_s)
    voiced_hz = features["f0_hz"].to_numpy()[in_speech & features["voiced"].to_numpy()]
    median_hz = float(np.median(voiced_hz)) if voiced_hz.size else 0.0
    return SpeechSummary(
        speech_level_db=round(speech_level_db(waveform16k, segments)),
        median_f0_hz=F0_ROUNDING_HZ * round(median_hz / F0_ROUNDING_HZ),
        loudness_lufs=measure_loudness(waveform16k).integrated_lufs,
        speech_s=sum(end_s - start_s for start_s, end_s in segments),
        n_segments=len(segments),
        segments=segments,
    )


def _spectra(
    waveform: Waveform, centres: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """(level in dBFS, spectral centroid in Hz, log-mel spectrum (n, bands) in dB) around each sample index."""
    levels_db = np.full(centres.size, SILENCE_DB)
    centroids_hz = np.zeros(centres.size)
    mel_db = np.empty((centres.size, len(MEL_COLUMNS)), np.float32)
    hann = np.hanning(_LEVEL_WINDOW + 1)[:-1]
    bands = mel_bands(len(MEL_COLUMNS), _LEVEL_WINDOW)
    to_power = 2 / (_LEVEL_WINDOW * np.square(hann).sum())  # Parseval: the bands' powers add up to the mean square
    frequencies_hz = np.fft.rfftfreq(_LEVEL_WINDOW, 1 / SPEECH_RATE_HZ)
    starts = centres - _LEVEL_WINDOW // 2
    for which, frames in windows_at(waveform.samples, starts, _LEVEL_WINDOW, block=_BLOCK):
        levels_db[which] = _power_db(np.mean(np.square(frames), axis=1))
        magnitude = np.abs(rfft(frames * hann))
        total = magnitude.sum(axis=1)
        weighted = magnitude @ frequencies_hz
        centroids_hz[which] = np.where(levels_db[which] > SILENCE_DB, weighted / np.maximum(total, 1e-12), 0.0)
        mel_db[which] = _power_db(np.square(magnitude) @ bands.T * to_power)
    return levels_db, centroids_hz, mel_db


def _power_db(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """10 log10, never below `SILENCE_DB`."""
    decibels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 10.0 ** (SILENCE_DB / 10.0)))
    return decibels


def _onset_strength(waveform: Waveform, n_frames: int, fps: Fraction) -> NDArray[np.float64]:
    """Half-wave rectified rise of the log mel spectrum, its highest value in each frame's time, (n_frames,) 0..1.

    The method is spectral flux as in S. Böck and G. Widmer, "Maximum filter vibrato suppression for onset detection",
    DAFx 2013, without their maximum filter.
    """
    n_hops = -(-first_sample_of_frame(n_frames, SPEECH_RATE_HZ, fps) // _FLUX_HOP) + 1
    centres = np.arange(n_hops, dtype=np.int64) * _FLUX_HOP
    bands = mel_bands(_FLUX_BANDS, _FLUX_WINDOW)
    hann = np.hanning(_FLUX_WINDOW + 1)[:-1]
    rise_db = np.zeros(n_hops)
    before_db = np.empty((0, _FLUX_BANDS))  # the hops just before a block, which its first ones are compared with
    for which, frames in windows_at(waveform.samples, centres - _FLUX_WINDOW // 2, _FLUX_WINDOW, block=_BLOCK):
        power = np.square(np.abs(rfft(frames * hann))) / np.square(hann.sum() / 2)
        spectrum_db = np.concatenate([before_db, 10.0 * np.log10(power @ bands.T + _FLUX_FLOOR)])
        rises_db = np.maximum(0.0, spectrum_db[_FLUX_LAG:] - spectrum_db[:-_FLUX_LAG]).mean(axis=1)
        rise_db[which.stop - len(rises_db) : which.stop] = rises_db
        before_db = spectrum_db[-_FLUX_LAG:]
    # A rise between hops k - 2 and k happens around hop k - 1.
    rise_db[:-1] = rise_db[1:].copy()
    starts = [first_sample_of_frame(frame, SPEECH_RATE_HZ, fps) for frame in range(n_frames + 1)]
    hops = np.minimum(np.array(starts) // _FLUX_HOP, n_hops - 1)
    highest = [rise_db[first : max(first + 1, stop)].max() for first, stop in pairwise(hops)]
    return np.minimum(1.0, np.array(highest) / ONSET_FULL_DB)
