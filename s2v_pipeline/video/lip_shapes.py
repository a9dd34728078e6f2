"""What lips do on single phones: closing on P, B, M, rounding on W, UW, OW, spreading on IY, EY, S.

Belongs here: those measures, from signals of a face track.
Does not belong here: opening over time and its lag, silence (lip_sync), thresholds that decide about a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import BILABIALS, ROUNDED
from s2v_pipeline.video.face_track import FaceTrack
from s2v_pipeline.video.phone_signals import Phone, bilabials

LEAST_RANGE = 0.03  # of the opening, about 3 mm: tracked lips of a still picture stay far below it
CLOSED_SHARE = 0.2  # of the opening's range between its 2nd and 95th percentile in speech
CLOSED_AT_MOST = 0.05  # about 4 mm: lips that never close have a low end of their range, too
SPREAD_PHONES, ROUND_PHONES = frozenset({"IY", "EY", "S"}), frozenset({"W", "UW", "OW"})
_ENDS_SO = frozenset({"EY", "OW"})  # diphthongs that reach the shape in their second half
LEAST_OF_A_CLASS = 4
_LEAVING_S = 0.08  # two frames on both sides of a closure, in which lips come and go


@dataclass(frozen=True)
class Closures:
    """P, B and M whose lips are seen to meet.

    Attributes:
        reached, total: of the phones (several that touch are one) with a frame in the video.
        elsewhere: share of moments of the same lengths in other phones at which the lips look closed, too; None where
            there are none. The nearer it is to 1, the less the closures say.
        missed: phone, start, and the least opening as a share of the range, of each that was missed.
    """

    reached: int
    total: int
    elsewhere: float | None
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


def measure_closures(
    opening: NDArray[np.float64],
    track: FaceTrack,
    said: tuple[Phone, ...],
    span: tuple[float, float],
    reasons: list[str],
) -> Closures | None:
    """P, B, M in the opening (n,), whose range in speech is `span`; None, and a line in `reasons`, if none is said."""
    low, high = span
    closing = bilabials(said)
    if not closing:
        reasons.append("closures: no P, B or M is said")
        return None
    least = [_least_opening(opening, track, phone) for phone in closing]
    # Lips that hardly move close nothing, even if they stay shut.
    below = min(low + CLOSED_SHARE * (high - low), CLOSED_AT_MOST) if high - low >= LEAST_RANGE else -np.inf
    seen = [(phone, value) for phone, value in zip(closing, least, strict=True) if np.isfinite(value)]
    missed = tuple(
        (phone.name, round(phone.start_s, 3), round((value - low) / max(high - low, LEAST_RANGE), 3))
        for phone, value in seen
        if value >= below
    )
    others = [
        _least_opening(opening, track, moved)
        for number, phone in enumerate(closing)
        for moved in _moved_to_others(phone, said, number)
    ]
    known = np.array([value for value in others if np.isfinite(value)])
    return Closures(
        reached=len(seen) - len(missed),
        total=len(seen),
        elsewhere=float((known < below).mean()) if known.size else None,
        missed=missed,
    )


def _least_opening(opening: NDArray[np.float64], track: FaceTrack, phone: Phone) -> float:
    """Least opening of the frames that are on screen while a phone lasts; NaN where none of them shows a face.

    A stop's closure is shorter than the phone, and may lie anywhere in it.
    """
    half_s = 0.5 / track.rate_hz
    on_screen = (track.middles_s > phone.start_s - half_s) & (track.middles_s < phone.end_s + half_s)
    on_screen &= np.isfinite(opening)
    return float(opening[on_screen].min()) if on_screen.any() else np.nan


def _moved_to_others(phone: Phone, said: tuple[Phone, ...], number: int) -> list[Phone]:
    """The phone laid on the middles of phones away from any closure: every third, from a start that changes."""
    half_s = (phone.end_s - phone.start_s) / 2
    moved = []
    for other in said[number % 3 :: 3]:
        middle_s = (other.start_s + other.end_s) / 2
        span = Phone(other.name, middle_s - half_s, middle_s + half_s)
        if not any(
            span.start_s < closing.end_s + _LEAVING_S and closing.start_s - _LEAVING_S < span.end_s
            for closing in said
            if closing.name in BILABIALS
        ):
            moved.append(span)
    return moved


def measure_lip_shape(
    width: NDArray[np.float64], track: FaceTrack, said: tuple[Phone, ...], reasons: list[str]
) -> LipShape | None:
    """Contrasts of the width (n,); None, and a line in `reasons`, where a class has too few phones."""
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
