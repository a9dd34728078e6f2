"""How well the lips of a video follow what is said: opening, offset, closures, rounding, spreading, silence.

Belongs here: the measures, from a face track and a phoneme table; when there is too little to tell.
Does not belong here: tracking (face_track), lags (lag), what the sound of the file does (sound_lag), thresholds that
decide about a video.

Every measure is relative to the person's own range of motion in this video. Lengths are in distances of the eyes'
outer corners. Measures that cannot be told are None, and `LipSync.cannot_tell` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import ROUNDED
from s2v_pipeline.video.face_shape import eye_distances_px, mouth_opening, mouth_width
from s2v_pipeline.video.face_track import FaceTrack
from s2v_pipeline.video.lag import LagFit, fit_lag
from s2v_pipeline.video.phone_signals import (
    Phone,
    bilabials,
    expected_opening,
    grid_times_s,
    pauses,
    read_phones,
    spoken,
)

LEAST_SPEECH_S = 2.5  # below it, correlations of a few syllables come out anyhow
LEAST_PHONES = 25
LEAST_BEYOND_CHANCE = 3.0  # standard deviations; weaker peaks are found in any two signals
LEAST_RANGE = 0.03  # of the opening, about 3 mm: tracked lips of a still picture stay far below it
SMALLEST_FACE_PX = 40.0  # distance of the eyes; gaps between smaller lips are below one pixel
CLOSED_SHARE = 0.2  # of the opening's range between its 2nd and 95th percentile in speech
CLOSED_AT_MOST = 0.05  # about 4 mm: lips that never close have a low end of their range, too
SPREAD_PHONES, ROUND_PHONES = frozenset({"IY", "EY", "S"}), frozenset({"W", "UW", "OW"})
_ENDS_SO = frozenset({"EY", "OW"})  # diphthongs that reach the shape in their second half
LEAST_OF_A_CLASS = 4
LEAST_PAUSE_FRAMES = 3
_CHANCE_SHIFTS = 20


@dataclass(frozen=True)
class Closures:
    """P, B and M whose lips are seen to meet.

    Attributes:
        reached, total: of the phones (several that touch are one) with a frame in the video.
        by_chance: share reached when the phones are moved to other times of the speech.
        missed: phone, start, and the least opening as a share of the range, of each that was missed.
    """

    reached: int
    total: int
    by_chance: float
    missed: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class LipShape:
    """Rounding and spreading, as distances of class means in units of the pooled standard deviation of single phones.

    Attributes:
        spread_over_round: mouth's width on IY, EY, S against W, UW, OW.
        rounding: narrowness on W, UW, OW against phones without rounding.
        spreading: width on IY, EY, S against phones that are neither spread nor rounded.
        pucker: blendshapes mouthPucker + mouthFunnel, on W, UW, OW against phones without rounding.
        n_round, n_spread: phones of each class.
    """

    spread_over_round: float
    rounding: float
    spreading: float
    pucker: float
    n_round: int
    n_spread: int


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
        opening: correlation with the phones' openness over lags, and the lag of the picture against the phones.
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
    fit = fit_lag(_on_grid(opening, times_s, end_s), expected_opening(phones, end_s)) if enough else None
    if enough and fit is None:
        reasons.append("offset: the video is too short, or the face is hidden for most of it")
    trusted = fit is not None and _is_trusted(fit, span, reasons)
    pause_frames = pauses(phones, times_s)
    return LipSync(
        speech_s=speech_s,
        n_phones=len(said),
        opening_range=span,
        opening=fit,
        picture_lag_s=fit.lag_s if fit is not None and trusted else None,
        picture_lag_95_s=fit.lag_95_s if fit is not None and trusted else None,
        closures=_closures(opening, track, bilabials(said), span, reasons) if enough and span else None,
        shape=_lip_shape(width, track, said, reasons) if enough else None,
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


def _on_grid(values: NDArray[np.float64], times_s: NDArray[np.float64], end_s: float) -> NDArray[np.float64]:
    """Interpolated; NaN where the face was not seen."""
    known = np.isfinite(values)
    grid_s = grid_times_s(end_s)
    if not known.any():
        return np.full(len(grid_s), np.nan)
    on_grid = np.interp(grid_s, times_s[known], values[known])
    nearest = np.clip(np.searchsorted(times_s, grid_s), 0, len(times_s) - 1)
    return np.where(known[nearest], on_grid, np.nan)


def _is_trusted(fit: LagFit, span: tuple[float, float] | None, reasons: list[str]) -> bool:
    if span is None or span[1] - span[0] < LEAST_RANGE:
        reasons.append("offset: the lips hardly move")
    elif fit.at_edge or fit.beyond_chance < LEAST_BEYOND_CHANCE:
        reasons.append(f"offset: the lips do not follow the phones (correlation {fit.correlation:.2f})")
    else:
        return True
    return False


def _closures(
    opening: NDArray[np.float64],
    track: FaceTrack,
    closing: tuple[Phone, ...],
    span: tuple[float, float],
    reasons: list[str],
) -> Closures | None:
    low, high = span
    if not closing:
        reasons.append("closures: no P, B or M is said")
        return None
    least = [_least_opening(opening, track, phone, shift_s=0.0) for phone in closing]
    # Lips that hardly move close nothing, even if they stay shut.
    below = min(low + CLOSED_SHARE * (high - low), CLOSED_AT_MOST) if high - low >= LEAST_RANGE else -np.inf
    seen = [(phone, value) for phone, value in zip(closing, least, strict=True) if np.isfinite(value)]
    missed = tuple(
        (phone.name, round(phone.start_s, 3), round((value - low) / max(high - low, LEAST_RANGE), 3))
        for phone, value in seen
        if value >= below
    )
    first_s, last_s = closing[0].start_s, closing[-1].end_s
    elsewhere = [
        _least_opening(opening, track, phone, shift_s=shift_s)
        for phone in closing
        for shift_s in _shifts_within(phone, first_s, last_s)
    ]
    known = np.array([value for value in elsewhere if np.isfinite(value)])
    return Closures(
        reached=len(seen) - len(missed),
        total=len(seen),
        by_chance=float((known < below).mean()) if known.size else 0.0,
        missed=missed,
    )


def _least_opening(opening: NDArray[np.float64], track: FaceTrack, phone: Phone, *, shift_s: float) -> float:
    """Least opening of the frames whose middles are in the phone, or within one frame of it; NaN without one.

    A stop's closure is shorter than the phone, and may fall between the middles of two frames.
    """
    margin_s = 1.0 / track.rate_hz
    times_s = track.middles_s - shift_s
    inside = (times_s >= phone.start_s - margin_s) & (times_s < phone.end_s + margin_s) & np.isfinite(opening)
    return float(opening[inside].min()) if inside.any() else np.nan


def _shifts_within(phone: Phone, first_s: float, last_s: float) -> NDArray[np.float64]:
    """Shifts, other than about none, that keep the phone between two times."""
    shifts_s = np.linspace(first_s - phone.start_s, last_s - phone.end_s, _CHANCE_SHIFTS)
    return np.asarray(shifts_s[np.abs(shifts_s) > 0.3])


def _lip_shape(
    width: NDArray[np.float64], track: FaceTrack, said: tuple[Phone, ...], reasons: list[str]
) -> LipShape | None:
    pucker = track.blendshape("mouthPucker") + track.blendshape("mouthFunnel")
    names = np.array([phone.name for phone in said])
    widths, puckers = (np.array([_on_phone(signal, track, phone) for phone in said]) for signal in (width, pucker))
    known = np.isfinite(widths)
    is_round, is_spread = (np.isin(names, list(group)) & known for group in (ROUND_PHONES, SPREAD_PHONES))
    is_unround = ~np.isin(names, list(ROUNDED)) & known
    is_plain = is_unround & ~is_spread
    if min(is_round.sum(), is_spread.sum(), is_plain.sum()) < LEAST_OF_A_CLASS:
        reasons.append(f"lip shape: too few phones ({is_round.sum()} rounded, {is_spread.sum()} spread)")
        return None
    return LipShape(
        spread_over_round=_contrast(widths[is_spread], widths[is_round]),
        rounding=_contrast(widths[is_unround], widths[is_round]),
        spreading=_contrast(widths[is_spread], widths[is_plain]),
        pucker=_contrast(puckers[is_round], puckers[is_unround]),
        n_round=int(is_round.sum()),
        n_spread=int(is_spread.sum()),
    )


def _on_phone(signal: NDArray[np.float64], track: FaceTrack, phone: Phone) -> float:
    """Mean over the phone, or over the half in which a diphthong reaches the shape that counts; NaN unseen."""
    from_s = (phone.start_s + phone.end_s) / 2 if phone.name in _ENDS_SO else phone.start_s
    return float(np.interp(np.linspace(from_s, phone.end_s, 7), track.middles_s, signal).mean())


def _contrast(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Distance of the means over the pooled standard deviation; positive where `higher` is."""
    spread = np.sqrt((higher.var() + lower.var()) / 2)
    return float((higher.mean() - lower.mean()) / max(spread, 1e-9))
