"""What the measures give where nothing but the head moves: the floor that a video's own figures are held against.

Belongs here: a frozen face under the video's own head motion, encoded and tracked like the video.
Does not belong here: the measures themselves (lip_sync, face_motion).

A tracker does not give the same lips twice when the head shifts by a third of a pixel. So one frame of the video is
moved as the head moves in it (shift, size and roll, smoothed so that the tracker's trembling is not put in), encoded
with the clips' encoder and tracked. How much that gives differs several times from one stretch of head motion to the
next, so that a floor is taken over several.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan, frame_start_s
from s2v_pipeline.video.face_motion import Jitter, measure_jitter
from s2v_pipeline.video.face_shape import RIGID, eye_distances_px, mouth_opening
from s2v_pipeline.video.face_track import FaceTrack, track_face
from s2v_pipeline.video.frames import grab_frames

MOST_FRAMES = 50  # of a stretch: enough for a standard deviation to a tenth; tracking them costs a third of a second
LEAST_FRAMES = 12
_SMOOTHING_S = 0.12


@dataclass(frozen=True)
class TrackerNoise:
    """Measures of the frozen face.

    Attributes:
        stretches, frames: how many were tracked.
        opening_deviation: of its lips around each stretch's mean, in eye distances; held against
            `SilentLips.deviation`.
        jitter: mean square over all frames, worst of all; held against the video's; None where too few were tracked.
    """

    stretches: int
    frames: int
    opening_deviation: float
    jitter: Jitter | None


def measure_tracker_noise(
    video: Path,
    track: FaceTrack,
    landmarker: FaceLandmarker,
    *,
    settings: VideoSettings,
    within: Sequence[FrameSpan] = (),
) -> TrackerNoise | None:
    """Freeze a face under the head motion of the video's first frames, or of the first of each of `within`.

    Args:
        video: what was tracked.
        track: of every frame of it.
        landmarker: the tracker.
        settings: `crf` and `x264_preset` of the frozen videos, which should be those of the video.
        within: where to take the head motion from, e.g. pauses.

    Returns:
        None where no 12 frames in a row show a face, or the picture's sides are odd (H.264's 4:2:0 has none).

    Raises:
        ValueError: a track of every nth frame.
        MediaError: the video cannot be read.
    """
    if track.step != 1:
        raise ValueError(f"the tracker's noise needs a track of every frame; got every {track.step}th")
    if track.width_px % 2 or track.height_px % 2:
        return None
    parts = [_first_seen(track, span) for span in within or (FrameSpan(0, len(track.frames)),)]
    frozen = [
        _tracked_frozen(video, track, frames, landmarker, settings) for frames in parts if frames.size >= LEAST_FRAMES
    ]
    if not frozen:
        return None
    openings = [mouth_opening(part.landmarks_px, eye_distances_px(part.landmarks_px)) for part in frozen]
    around = np.concatenate([opening - np.nanmean(opening) for opening in openings])
    return TrackerNoise(len(frozen), around.size, float(np.nanstd(around)), _pooled(frozen))


def _first_seen(track: FaceTrack, span: FrameSpan) -> NDArray[np.int64]:
    """Frames of a span from its start on for as long as they show a face, 50 at most."""
    frames = np.arange(span.start_frame, min(span.stop_frame, len(track.frames)))
    lost = np.flatnonzero(~track.seen[frames])
    return frames[: min(MOST_FRAMES, lost[0] if lost.size else MOST_FRAMES)]


def _tracked_frozen(
    video: Path, track: FaceTrack, frames: NDArray[np.int64], landmarker: FaceLandmarker, settings: VideoSettings
) -> FaceTrack:
    pixels = grab_frames(video, [frame_start_s(int(frames[0]), track.fps)])[0].pixels
    moves = head_moves(track.landmarks_px[frames], track.rate_hz)
    with tempfile.TemporaryDirectory(prefix="s2v-noise-") as folder:
        frozen = Path(folder) / "frozen.mp4"
        encode_clip(
            (FrameBatch(moved[None], track.fps, number) for number, moved in enumerate(_moved(pixels, moves))),
            frozen,
            frames=FrameSpan(0, len(moves)),
            fps=track.fps,
            width_px=track.width_px,
            height_px=track.height_px,
            settings=settings,
        )
        return track_face(frozen, landmarker)


def _pooled(frozen: list[FaceTrack]) -> Jitter | None:
    known = [(len(part.frames), jitter) for part in frozen if (jitter := measure_jitter(part)) is not None]
    if not known:
        return None
    worst = max((jitter for _, jitter in known), key=lambda jitter: jitter.worst)
    mean_square = sum(n * jitter.rms**2 for n, jitter in known) / sum(n for n, _ in known)
    return Jitter(float(np.sqrt(mean_square)), worst.worst, worst.worst_s)


def head_moves(landmarks_px: NDArray[np.float32], rate_hz: float) -> NDArray[np.float64]:
    """(n, 2, 3) maps from the first frame's picture to each frame's: shift, size and roll of the rigid points."""
    points = landmarks_px[:, RIGID, :2].astype(np.float64)
    # As complex numbers, a similarity of the plane is a product and a sum; least squares are a projection.
    z = points[..., 0] + 1j * points[..., 1]
    middles = z.mean(axis=1, keepdims=True)
    first = z[0] - middles[0]
    turns = (np.conj(first) * (z - middles)).sum(axis=1) / np.square(np.abs(first)).sum()
    parts = np.stack([turns.real, turns.imag, middles[:, 0].real, middles[:, 0].imag], axis=1)
    a, b, x, y = gaussian_filter1d(parts, _SMOOTHING_S * rate_hz, axis=0, mode="nearest").T
    a, b = a - a[0] + 1.0, b - b[0]
    moves = np.empty((len(a), 2, 3))
    moves[:, 0, 0], moves[:, 0, 1], moves[:, 1, 0], moves[:, 1, 1] = a, -b, b, a
    # Pixel i covers [i, i + 1) while its sample stands at i in warpAffine: hence the half.
    middle = np.array([x[0], y[0]]) - 0.5
    moves[:, :, 2] = np.stack([x, y], axis=1) - 0.5 - np.einsum("nij,j->ni", moves[:, :, :2], middle)
    return moves


def _moved(pixels: NDArray[np.uint8], moves: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    height_px, width_px = pixels.shape[:2]
    for move in moves:
        moved = cv2.warpAffine(
            pixels, move, (width_px, height_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        yield np.asarray(moved, np.uint8)
