"""Whether a video shows the same person from beginning to end: bones and colours of what does not move.

Belongs here: shape of the rigid parts against the portrait and against the video's own start, colours over time.
Does not belong here: recognising people (that needs a model and a setting), tracking (face_track), thresholds.

Both are blind to what they do not look at: a person with the same proportions and skin passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.face_shape import fit_rigid
from s2v_pipeline.video.face_track import STILL_PARTS, FaceTrack, PictureFace

WINDOW_S = 1.0  # a blink or a syllable bends the tracked shape for less


@dataclass(frozen=True)
class Identity:
    """Shape of the rigid parts; rms distances in thousandths of the eyes' distance.

    Attributes:
        against_portrait: of the video's mean shape; None without a portrait.
        worst_against_portrait, worst_s: of the worst window of 1 s, and its middle.
        drift: of the mean shape of any window against the first one's, the largest.
        within: of single frames against the video's own mean shape, the median: what turning and tracking alone do.
    """

    against_portrait: float | None
    worst_against_portrait: float | None
    worst_s: float | None
    drift: float
    within: float


@dataclass(frozen=True)
class ColourDrift:
    """Colours of one still part, as CIE 1976 differences (about 2.3 are just noticeable side by side).

    Attributes:
        part: one of STILL_PARTS.
        drift, drift_at_s: largest difference of a window of 1 s from the first one, and its middle.
        last: difference of the last window from the first.
        flicker: standard deviation of lightness of single frames around a mean over 1 s.
        against_portrait: difference of the whole video's mean from the portrait's; None without one.
    """

    part: str
    drift: float
    drift_at_s: float
    last: float
    flicker: float
    against_portrait: float | None


def measure_identity(track: FaceTrack, portrait: PictureFace | None = None) -> Identity | None:
    """Compare shapes; None where no face is seen.

    Args:
        track: every nth frame will do.
        portrait: face of the picture that the video was made from, in any size and framing.
    """
    seen = np.flatnonzero(track.seen)
    if not seen.size:
        return None
    template = track.landmarks_px[seen[0]] if portrait is None else portrait.landmarks_px
    residuals = fit_rigid(track.landmarks_px, template).residuals
    shapes, middles_s = _window_means(residuals.reshape(len(residuals), -1), track)
    mean = np.nanmean(residuals, axis=0)
    to_portrait = _rms(shapes)
    worst = int(np.argmax(to_portrait))
    return Identity(
        against_portrait=None if portrait is None else float(_rms(mean.reshape(1, -1))[0]),
        worst_against_portrait=None if portrait is None else float(to_portrait[worst]),
        worst_s=None if portrait is None else float(middles_s[worst]),
        drift=float(_rms(shapes - shapes[0]).max()),
        within=float(np.median(_rms((residuals[seen] - mean).reshape(seen.size, -1)))),
    )


def measure_colours(track: FaceTrack, portrait: PictureFace | None = None) -> tuple[ColourDrift, ...]:
    """Colours of the still parts over time, one for each that is in the picture.

    Args:
        track: every nth frame will do.
        portrait: as in `measure_identity`; only of use where the video's colours are meant to be the portrait's.
    """
    measured = []
    for number, part in enumerate(STILL_PARTS):
        colours = track.colours_lab[:, number].astype(np.float64)
        known = np.isfinite(colours[:, 0])
        if not known.any():
            continue
        means, middles_s = _window_means(colours, track)
        apart = np.linalg.norm(means - means[0], axis=1)
        lightness = np.interp(track.middles_s, middles_s, means[:, 0])
        expected = None if portrait is None else portrait.colours_lab[number]
        measured.append(
            ColourDrift(
                part=part,
                drift=float(apart.max()),
                drift_at_s=float(middles_s[np.argmax(apart)]),
                last=float(apart[-1]),
                flicker=float(np.std(colours[known, 0] - lightness[known])),
                against_portrait=None
                if expected is None or not np.isfinite(expected).all()
                else float(np.linalg.norm(colours[known].mean(axis=0) - expected)),
            )
        )
    return tuple(measured)


def _window_means(values: NDArray[np.float64], track: FaceTrack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (windows, k) over windows of WINDOW_S that follow each other, and their middles; windows without a face
    are left out, and a rest shorter than half a window belongs to the last one."""
    times_s = track.middles_s - track.middles_s[0]
    duration_s = times_s[-1] + 1 / track.rate_hz
    n_windows = max(1, round(duration_s / WINDOW_S))
    window = np.minimum((times_s / (duration_s / n_windows)).astype(int), n_windows - 1)
    means, middles_s = [], []
    for number in range(n_windows):
        inside = (window == number) & np.isfinite(values).all(axis=1)
        if inside.any():
            means.append(values[inside].mean(axis=0))
            middles_s.append(float(track.middles_s[inside].mean()))
    return np.array(means), np.array(middles_s)


def _rms(shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean squared distance of the points, (n, points * 3) -> (n,), in thousandths."""
    return np.asarray(1000 * np.sqrt(np.square(shapes.reshape(len(shapes), -1, 3)).sum(axis=2).mean(axis=1)))
