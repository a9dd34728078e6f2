"""How the face of a video moves apart from speech: trembling, blinks, frames without a face or with several.

Belongs here: measures from a face track alone.
Does not belong here: lips against phones (lip_sync), whose face it is (identity), the tracker's own noise
(tracker_noise), thresholds that decide about a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

from s2v_pipeline.video.face_shape import RIGID, eye_distances_px, eye_opening
from s2v_pipeline.video.face_track import FaceTrack

SMOOTH_S = 0.2  # heads turn and nod below about 3 Hz, which a parabola over 0.2 s follows
_LEAST_WINDOW = 5  # frames: a parabola through three leaves nothing over
LEAST_FRAMES_FOR_JITTER = 12

BLINK_SHARE = 0.6  # of the open eye; blinks that warp or interpolate still come below it
OPEN_EYE_PERCENTILE = 75
LONGEST_BLINK_S = 0.6  # A. R. Bentivoglio et al., Movement Disorders 12(6), 1997: longer is closing one's eyes
LEAST_S_FOR_A_RATE = 10.0  # people blink every 2 to 6 s


@dataclass(frozen=True)
class Jitter:
    """Motion of rigid parts that no head makes, in thousandths of the eyes' distance.

    Attributes:
        rms: of all rigid points against a parabola over 0.2 s.
        worst: 99th percentile over frames of the same, single frame by frame.
        worst_s: when the largest comes.
    """

    rms: float
    worst: float
    worst_s: float


@dataclass(frozen=True)
class Blinks:
    """Blinks and other closures of the eyes.

    Attributes:
        count: closures of at most 0.6 s; one that the video cuts off counts.
        per_minute: None where the video is too short for a rate.
        lengths_s: of each, where the lids pass 60 % of the open eye, between frames by interpolation.
        long_closures: longer ones.
        longest_without_s: longest time between two closures, ends included.
    """

    count: int
    per_minute: float | None
    lengths_s: tuple[float, ...]
    long_closures: int
    longest_without_s: float


@dataclass(frozen=True)
class FacesSeen:
    """Where there is a face, and whether it is alone.

    Attributes:
        frames, without_face: tracked frames, and those without a face.
        first_without_s: time of the first such frame.
        longest_without_s: the longest run of them.
        most_faces: most that were counted at once.
        several_at_s: times at which more than one was counted.
    """

    frames: int
    without_face: int
    first_without_s: float | None
    longest_without_s: float
    most_faces: int
    several_at_s: tuple[float, ...]


def measure_jitter(track: FaceTrack) -> Jitter | None:
    """High-frequency motion of points over bone; None without 12 frames with a face in a row."""
    window = max(_LEAST_WINDOW, 2 * round(SMOOTH_S * track.rate_hz / 2) + 1)
    if len(track.frames) < max(LEAST_FRAMES_FOR_JITTER, window + 2):
        return None
    points = track.landmarks_px[:, RIGID, :2].astype(np.float64) / eye_distances_px(track.landmarks_px)[:, None, None]
    # NaN spreads over the window, so that frames next to a lost face do not count.
    smooth = np.apply_along_axis(np.convolve, 0, points, savgol_coeffs(window, 2), mode="valid")
    reach = window // 2
    apart = np.square(points[reach:-reach] - smooth).sum(axis=2).mean(axis=1)
    # The middle of the window pulls the parabola towards itself: a lone frame's share of its own fit is taken out.
    apart = np.sqrt(apart / (1 - savgol_coeffs(window, 2)[reach]))
    times_s = track.middles_s[reach:-reach][np.isfinite(apart)]
    apart = apart[np.isfinite(apart)]
    if apart.size < LEAST_FRAMES_FOR_JITTER - window + 1:
        return None
    return Jitter(
        rms=1000 * float(np.sqrt(np.mean(np.square(apart)))),
        worst=1000 * float(np.percentile(apart, 99)),
        worst_s=float(times_s[np.argmax(apart)]),
    )


def measure_blinks(track: FaceTrack) -> Blinks | None:
    """Closures of the eyes; None where no face is seen. Tracks of every nth frame miss most of them."""
    opening = eye_opening(track.landmarks_px)
    known = np.isfinite(opening)
    if not known.any():
        return None
    times_s = track.middles_s[known]
    relative = opening[known] / np.percentile(opening[known], OPEN_EYE_PERCENTILE)
    spans = _below(relative, times_s, BLINK_SHARE)
    duration_s = len(track.frames) / track.rate_hz
    lengths_s = [end_s - start_s for start_s, end_s in spans]
    blinks = [length_s for length_s in lengths_s if length_s <= LONGEST_BLINK_S]
    edges = [0.0, *(edge for span in spans for edge in span), duration_s]
    return Blinks(
        count=len(blinks),
        per_minute=60 * len(blinks) / duration_s if duration_s >= LEAST_S_FOR_A_RATE else None,
        lengths_s=tuple(round(length_s, 3) for length_s in blinks),
        long_closures=len(lengths_s) - len(blinks),
        longest_without_s=max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True)),
    )


def measure_faces(track: FaceTrack) -> FacesSeen:
    """Frames without a face, and several faces."""
    lost = np.flatnonzero(~track.seen)
    runs = np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1) if lost.size else []
    several = track.middles_s[track.faces_counted > 1]
    return FacesSeen(
        frames=len(track.frames),
        without_face=lost.size,
        first_without_s=float(track.middles_s[lost[0]]) if lost.size else None,
        longest_without_s=max((run.size for run in runs), default=0) / track.rate_hz,
        most_faces=int(track.faces_counted.max()),
        several_at_s=tuple(round(float(time_s), 3) for time_s in several),
    )


def _below(values: NDArray[np.float64], times_s: NDArray[np.float64], level: float) -> list[tuple[float, float]]:
    """Spans in which the values are below a level, their ends between samples by interpolation."""
    is_below = np.concatenate([[False], values < level, [False]])
    edges = np.flatnonzero(np.diff(is_below.astype(int)))
    spans = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        start_s = times_s[0] if first == 0 else _crossing(values, times_s, first - 1, level)
        end_s = times_s[-1] if stop == len(values) else _crossing(values, times_s, stop - 1, level)
        spans.append((float(start_s), float(end_s)))
    return spans


def _crossing(values: NDArray[np.float64], times_s: NDArray[np.float64], index: int, level: float) -> float:
    before, after = values[index], values[index + 1]
    return float(times_s[index] + (level - before) / (after - before) * (times_s[index + 1] - times_s[index]))
