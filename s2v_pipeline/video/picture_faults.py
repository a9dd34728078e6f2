"""What is wrong with a finished video's picture.

Belongs here: measures out of a picture's track, each with what is ordinary.
Does not belong here: decoding (picture_track), faces and lips (lip_sync, identity), what is blocked (gate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.picture_track import PictureLook, PictureTrack

EMPTY_SPREAD = 6.0  # luma; a face in front of anything has 30 and more
JUMP_LEAST = 16.0  # luma in a block: movement of skin and hair between neighbouring frames stays below
JUMP_TIMES = 6.0  # the block's own 95th percentile: mouths and eyes change much, but often
CADENCE_WINDOW_S = 2.0  # a dozen frames and more in every phase
CADENCES = (2, 3, 4, 5)  # frames: from every other one to 24 in 30
STILL_CHANGE = 0.02  # luma over the picture: a repeated frame, encoded again


@dataclass(frozen=True)
class PictureFaults:
    """Measures of one video's picture; times are indices of frames, so that they can be shown.

    Attributes:
        n_frames: decoded.
        empty_frames: of one colour all over: black, white, green.
        jumps: frames at which a part of the picture changes out of all proportion to what it does elsewhere.
        flicker: mean absolute second difference of the mean luma, over what it is for a smooth course.
        repeated_share: of frames equal to the one before.
        shaken_share: of frames nearer to the one before the last than to the last: order or time is not that of motion.
        likeness_least: lowest correlation with the reference picture.
        likeness_frame: where.
        likeness_usual: median of the same.
        cadence: change of the stillest in a rhythm of 2 to 5 frames over the usual; 1 where motion is even, near 0
            where frames are repeated or swapped in turn.
        brightness_off: how far the usual (median) frame's mean brightness is from the reference's.
        colour_off: largest difference of a mean colour channel from the reference's, usual frame, brightness taken out.
        drift: largest change of a mean colour channel between the first and any later second.
        bar_share: largest flat bar at a side that the reference has not.
        flat_more: median share of flat pixels, less the reference's.
        sharpness_ratio: median over the reference's.
        grain_more: median noise, less the reference's.
    """

    n_frames: int
    empty_frames: tuple[int, ...]
    jumps: tuple[int, ...]
    flicker: float
    repeated_share: float
    shaken_share: float
    likeness_least: float
    likeness_frame: int
    likeness_usual: float
    cadence: float
    brightness_off: float
    colour_off: float
    drift: float
    bar_share: float
    flat_more: float
    sharpness_ratio: float
    grain_more: float


def picture_faults(
    track: PictureTrack,
    reference: PictureLook,
    reference_colour: NDArray[np.float32],
    drawn_changes: tuple[int, ...] = (),
) -> PictureFaults:
    """Measure a track.

    Args:
        track: of all frames.
        reference: the framed portrait.
        reference_colour: (3,) float32, its mean red, green and blue.
        drawn_changes: frames at which captions in the picture come, change or go: no jumps.
    """
    mean_change = track.change.mean(axis=1)
    worst = int(np.argmin(track.likeness))
    off = track.colour - reference_colour
    grey = off.mean(axis=1, keepdims=True)
    reference_bars = np.array(reference.bars, np.float32)
    return PictureFaults(
        n_frames=len(track.luma),
        empty_frames=tuple(int(i) for i in np.flatnonzero(track.spread < EMPTY_SPREAD)),
        jumps=tuple(frame for frame in _jumps(track) if frame not in drawn_changes),
        flicker=_flicker(track.luma),
        repeated_share=float(np.mean(mean_change[1:] < STILL_CHANGE)) if len(mean_change) > 1 else 0.0,
        shaken_share=_shaken(mean_change, track.undone),
        likeness_least=float(track.likeness[worst]),
        likeness_frame=worst,
        likeness_usual=float(np.median(track.likeness)),
        cadence=_cadence(mean_change[1:], float(track.fps)),
        brightness_off=float(np.abs(np.median(grey))),
        colour_off=float(np.abs(np.median(off - grey, axis=0)).max()),
        drift=_drift(track),
        bar_share=float((track.bars.min(axis=0) - reference_bars).max()),
        flat_more=float(np.median(track.flat)) - reference.flat,
        sharpness_ratio=float(np.median(track.sharpness)) / max(reference.sharpness, 1e-3),
        grain_more=float(np.median(track.grain)) - reference.grain,
    )


def _jumps(track: PictureTrack) -> tuple[int, ...]:
    """Frames with a block whose change is above JUMP_LEAST and above JUMP_TIMES its own 95th percentile."""
    if len(track.change) < 2:
        return ()
    ordinary = np.percentile(track.change[1:], 95, axis=0)
    limit = np.maximum(JUMP_LEAST, JUMP_TIMES * ordinary)
    return tuple(int(i) for i in np.flatnonzero((track.change > limit).any(axis=1)))


def _flicker(luma: NDArray[np.float32]) -> float:
    if len(luma) < 3:
        return 0.0
    return float(np.mean(np.abs(luma[2:] - 2 * luma[1:-1] + luma[:-2])))


def _shaken(change: NDArray[np.float32], undone: NDArray[np.float32]) -> float:
    """Where motion goes on, two steps lead further than one."""
    moving = change[2:] > STILL_CHANGE
    if not moving.any():
        return 0.0
    return float(np.mean(undone[2:][moving] < 0.7 * change[2:][moving]))


def _cadence(change: NDArray[np.float32], fps: float) -> float:
    """The least over windows that overlap by half; 1 where the video is shorter than a window."""
    length, least = round(CADENCE_WINDOW_S * fps), 1.0
    for first in range(0, len(change) - length + 1, length // 2):
        window = change[first : first + length]
        usual = max(float(np.median(window)), STILL_CHANGE)
        for period in CADENCES:
            phases = [float(np.median(window[phase::period])) for phase in range(period)]
            # Of two phases the other one is the usual; of more, the median of all is.
            least = min(least, min(phases) / (max(*phases, STILL_CHANGE) if period == 2 else usual))
    return least


def _drift(track: PictureTrack) -> float:
    second = max(1, round(float(track.fps)))
    n_seconds = max(1, len(track.colour) // second)
    means = np.array([part.mean(axis=0) for part in np.array_split(track.colour, n_seconds)])
    return float(np.abs(means - means[0]).max())
