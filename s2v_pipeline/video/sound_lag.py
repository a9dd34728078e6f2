"""How much later the sound of a file comes than the phones say: the other half of an offset between picture and sound.

Belongs here: the level of a video's sound against the loudness that its phones have.
Does not belong here: comparison with the speech file, which is exact where there is one (audio_difference), the picture
(lip_sync).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.clips.container import open_video
from s2v_pipeline.errors import MediaError
from s2v_pipeline.media import Waveform
from s2v_pipeline.video.lag import GRID_HZ, fit_lag
from s2v_pipeline.video.lip_sync import LEAST_PHONES, LEAST_SPEECH_S, LipSync, is_peak
from s2v_pipeline.video.phone_signals import expected_loudness, grid_times_s, near_speech, read_phones, spoken
from s2v_pipeline.video.sound import DecodedSound

_RATE_HZ = 16_000
_WINDOW_S = 0.025
_RANGE_DB = 40.0  # below the loudest frames: quieter than that is the room


@dataclass(frozen=True)
class AvOffset:
    """Picture against sound.

    Attributes:
        picture_minus_sound_s: positive, the picture is late.
        uncertainty_95_s: half of its 95 % range.
    """

    picture_minus_sound_s: float
    uncertainty_95_s: float


@dataclass(frozen=True)
class SoundLag:
    """`lag_s` of the sound against the phones, half of its 95 % range, and the correlation there."""

    lag_s: float
    lag_95_s: float
    correlation: float


def measure_sound_lag(video: Path, phonemes: pd.DataFrame) -> SoundLag | None:
    """Lag of a file's sound; None where there is too little speech, or the sound is not this speech.

    Raises:
        MediaError: the file has no readable sound.
        ValueError: the table is none.
    """
    return sound_lag(read_sound(video), phonemes)


def read_sound(video: Path) -> Waveform:
    """What a player gives from 0 on, at 16 kHz, channels mixed; silence until a track starts that starts late.

    Raises:
        MediaError: not a readable MP4, or one without sound.
    """
    with open_video(video) as container:
        if not container.streams.audio:
            raise MediaError(f"{video.name} must have sound", got="none", cure="Make the video again.")
        stream = container.streams.audio[0]
        ticks, base = stream.start_time, stream.time_base
        start = 0 if ticks is None or base is None else round(ticks * base * _RATE_HZ)
        blocks = [block.mean(axis=0) for block in DecodedSound(container, stream, _RATE_HZ).blocks()]
    samples = np.concatenate([np.zeros(max(0, start), np.float32), *blocks])[max(0, -start) :]
    if not samples.size:
        raise MediaError(f"{video.name} must have sound", got="an empty track", cure="Make the video again.")
    return Waveform(samples.astype(np.float32), _RATE_HZ)


def sound_lag(waveform: Waveform, phonemes: pd.DataFrame) -> SoundLag | None:
    """`measure_sound_lag` of a waveform at any rate.

    Raises:
        ValueError: the table is none.
    """
    phones = read_phones(phonemes)
    said = spoken(phones)
    if len(said) < LEAST_PHONES or sum(phone.end_s - phone.start_s for phone in said) < LEAST_SPEECH_S:
        return None
    levels = _levels(waveform)
    duration_s = len(levels) / GRID_HZ + 1e-9
    near = near_speech(phones, grid_times_s(duration_s))
    fit = fit_lag(np.where(near, levels, np.nan), expected_loudness(phones, duration_s))
    if fit is None or not is_peak(fit):
        return None
    return SoundLag(fit.lag_s, fit.lag_95_s, fit.correlation)


def av_offset(lips: LipSync, sound: SoundLag | None) -> AvOffset | None:
    """Picture against sound, from both lags against the phones; None where one of them is not known."""
    if lips.picture_lag_s is None or lips.picture_lag_95_s is None or sound is None:
        return None
    return AvOffset(
        picture_minus_sound_s=lips.picture_lag_s - sound.lag_s,
        uncertainty_95_s=float(np.hypot(lips.picture_lag_95_s, sound.lag_95_s)),
    )


def _levels(waveform: Waveform) -> NDArray[np.float64]:
    """Level on the grid, 0 (the room) to 1 (the loudest)."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform.samples, dtype=np.float64))])
    n = int(len(waveform.samples) / waveform.rate_hz * GRID_HZ)
    middles = (np.arange(n) + 0.5) / GRID_HZ
    edges = [
        np.clip(np.rint((middles + side * _WINDOW_S / 2) * waveform.rate_hz), 0, energy.size - 1) for side in (-1, 1)
    ]
    first, stop = (edge.astype(int) for edge in edges)
    power = (energy[stop] - energy[first]) / np.maximum(stop - first, 1)
    level_db = 10 * np.log10(np.maximum(power, 1e-12))
    top_db = float(np.percentile(level_db, 95))
    return np.asarray(np.clip((level_db - top_db + _RANGE_DB) / _RANGE_DB, 0.0, 1.2))
