"""How well the lips of a video follow what is said: opening, offset, closures, rounding, spreading, silence.

Belongs here: all measures against a phoneme table in one value; opening over time, silence, when there is too little.
Does not belong here: tracking (face_track), lags (lag), single phones (lip_shapes), what the sound of the file does
(sound_lag), thresholds that decide about a video.

Every measure is relative to the person's own range of motion in this video. Lengths are in distances of the eyes'
outer corners. Measures that cannot be told are None, and `LipSync.cannot_tell` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.video.face_shape import eye_distances_px, mouth_opening, mouth_width
from s2v_pipeline.video.face_track import FaceTrack
from s2v_pipeline.video.lag import LagFit, fit_lag
from s2v_pipeline.video.lip_shapes import LEAST_RANGE, Closures, LipShape, measure_closures, measure_lip_shape
from s2v_pipeline.video.phone_signals import (
    Phone,
    expected_opening,
    grid_times_s,
    near_speech,
    pauses,
    read_phones,
    spoken,
)

LEAST_SPEECH_S = 2.5  # below it, correlations of a few syllables come out anyhow
LEAST_PHONES = 25
LEAST_BEYOND_CHANCE = 3.0  # standard deviations; weaker peaks are found in any two signals
MOST_UNCERTAIN_S = 0.08  # two frames; a peak that wanders by more when seconds are drawn anew is none
SMALLEST_FACE_PX = 40.0  # distance of the eyes; gaps between smaller lips are below one pixel
LEAST_PAUSE_FRAMES = 3


@dataclass(frozen=True)
class SilentLips:
    """Lips while nobody speaks; frames within 0.4 s of speech are left out.

    Attributes:
        deviation: standard deviation of the opening around each pause's mean, in eye distances.
        share_of_range: the same as a share of the opening's range in speech; None without speech.
        largest_change: of the opening within one pause, in eye distances, 5th to 95th percentile.
        frames, pauses: how many.
    """

    deviation: float
    share_of_range: float | None
    largest_change: float
    frames: int
    pauses: int


@dataclass(frozen=True)
class LipSync:
    """All measures; see the module's text.

    Attributes:
        speech_s, n_phones: what there was to measure on.
        opening_range: 2nd and 95th percentile of the opening in speech, in eye distances; None without speech.
        opening: correlation with the phones' openness over lags, in speech and within 0.3 s of it, and the lag of the
            picture against the phones.
        picture_lag_s: that lag where it can be trusted: positive, the picture is late against the phones.
        picture_lag_95_s: half of its 95 % range.
        closures, shape, silence: their measures.
        cannot_tell: why measures are missing.
    """

    speech_s: float
    n_phones: int
    opening_range: tuple[float, float] | None
    opening: LagFit | None
    picture_lag_s: float | None
    picture_lag_95_s: float | None
    closures: Closures | None
    shape: LipShape | None
    silence: SilentLips | None
    cannot_tell: tuple[str, ...]


def measure_lip_sync(track: FaceTrack, phonemes: pd.DataFrame) -> LipSync:
    """Measure a track against the phones of its speech.

    Args:
        track: of every frame, or of every nth where a rough answer will do; closures need every frame.
        phonemes: columns phone (ARPABET without stress, or SIL), start_s, end_s on the video's clock.

    Raises:
        ValueError: the table is none.
    """
    phones = read_phones(phonemes)
    reasons: list[str] = []
    unit_px = eye_distances_px(track.landmarks_px)
    opening, width = mouth_opening(track.landmarks_px, unit_px), mouth_width(track.landmarks_px, unit_px)
    times_s, end_s = track.middles_s, track.end_s
    said = tuple(phone for phone in spoken(phones) if phone.end_s <= end_s + 0.1)
    speech_s = sum(phone.end_s - phone.start_s for phone in said)
    span = _opening_range(opening, times_s, said)
    enough = _enough(track, unit_px, speech_s, len(said), reasons)
    fit = fit_lag(_in_speech(opening, times_s, end_s, phones), expected_opening(phones, end_s)) if enough else None
    if enough and fit is None:
        reasons.append("offset: the face is seen for too little of the speech, or does not move at all")
    trusted = fit is not None and _is_trusted(fit, span, reasons)
    pause_frames = pauses(phones, times_s)
    return LipSync(
        speech_s=speech_s,
        n_phones=len(said),
        opening_range=span,
        opening=fit,
        picture_lag_s=fit.lag_s if fit is not None and trusted else None,
        picture_lag_95_s=fit.lag_95_s if fit is not None and trusted else None,
        closures=measure_closures(opening, track, said, span, reasons) if enough and span else None,
        shape=measure_lip_shape(width, track, said, reasons) if enough else None,
        silence=silent_lips(opening, pause_frames, span, reasons),
        cannot_tell=tuple(reasons),
    )


def silent_lips(
    opening: NDArray[np.float64],
    pause_frames: list[NDArray[np.int64]],
    span: tuple[float, float] | None,
    reasons: list[str],
) -> SilentLips | None:
    """Motion of the opening inside pauses; `reasons` gets a line where there is no pause to measure."""
    parts = [opening[frames] for frames in pause_frames]
    parts = [part[np.isfinite(part)] for part in parts]
    parts = [part for part in parts if part.size >= LEAST_PAUSE_FRAMES]
    if not parts:
        reasons.append("silence: no pause is long enough")
        return None
    deviation = float(np.concatenate([part - part.mean() for part in parts]).std())
    return SilentLips(
        deviation=deviation,
        share_of_range=None if span is None or span[1] - span[0] < LEAST_RANGE else deviation / (span[1] - span[0]),
        largest_change=max(float(np.subtract(*np.percentile(part, [95, 5]))) for part in parts),
        frames=sum(part.size for part in parts),
        pauses=len(parts),
    )


def _enough(track: FaceTrack, unit_px: NDArray[np.float64], speech_s: float, n_phones: int, reasons: list[str]) -> bool:
    if not n_phones:
        reasons.append("lip sync: nobody speaks")
    elif speech_s < LEAST_SPEECH_S or n_phones < LEAST_PHONES:
        reasons.append(f"lip sync: too little speech to tell ({speech_s:.1f} s, {n_phones} phones)")
    elif track.seen.mean() < 0.5:
        reasons.append(f"lip sync: a face is seen in {track.seen.mean():.0%} of the frames only")
    elif np.nanmedian(unit_px) < SMALLEST_FACE_PX:
        reasons.append(f"lip sync: the face is too small (eyes {np.nanmedian(unit_px):.0f} px apart)")
    else:
        return True
    return False


def _opening_range(
    opening: NDArray[np.float64], times_s: NDArray[np.float64], said: tuple[Phone, ...]
) -> tuple[float, float] | None:
    speaking = np.zeros(len(times_s), bool)
    for phone in said:
        speaking |= (times_s >= phone.start_s) & (times_s < phone.end_s)
    values = opening[speaking & np.isfinite(opening)]
    if not values.size:
        return None
    low, high = np.percentile(values, [2, 95])
    return float(low), float(high)


def _in_speech(
    values: NDArray[np.float64], times_s: NDArray[np.float64], end_s: float, phones: tuple[Phone, ...]
) -> NDArray[np.float64]:
    """Interpolated to the grid; NaN where the face was not seen, and far from speech."""
    known = np.isfinite(values)
    grid_s = grid_times_s(end_s)
    if not known.any():
        return np.full(len(grid_s), np.nan)
    on_grid = np.interp(grid_s, times_s[known], values[known])
    nearest = np.clip(np.searchsorted(times_s, grid_s), 0, len(times_s) - 1)
    return np.where(known[nearest] & near_speech(phones, grid_s), on_grid, np.nan)


def _is_trusted(fit: LagFit, span: tuple[float, float] | None, reasons: list[str]) -> bool:
    if span is None or span[1] - span[0] < LEAST_RANGE:
        reasons.append("offset: the lips hardly move")
    elif not is_peak(fit):
        reasons.append(f"offset: the lips do not follow the phones (correlation {fit.correlation:.2f})")
    else:
        return True
    return False


def is_peak(fit: LagFit) -> bool:
    """Whether a lag says something: inside the range, above chance, and the same for most of the seconds."""
    return not fit.at_edge and fit.beyond_chance >= LEAST_BEYOND_CHANCE and fit.lag_95_s <= MOST_UNCERTAIN_S
