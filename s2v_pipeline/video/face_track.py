"""The face of a finished video: landmarks, blendshapes and the colours of still parts, frame by frame.

Belongs here: decoding and tracking in one pass, the track as a value, colours of forehead, cheeks and background.
Does not belong here: what the numbers mean (face_shape), measures (lip_sync, face_motion, identity), thresholds.

One frame is held at a time. What is kept is 6 KB a frame whatever the picture's size: 90 MB for 10 minutes at 25 fps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.faces.landmarker import (
    BLENDSHAPE_NAMES,
    LEFT_EYE_OUTER,
    N_LANDMARKS,
    RIGHT_EYE_OUTER,
    Face,
    FaceLandmarker,
)
from s2v_pipeline.video.frames import ShownFrame, iter_frames
from s2v_pipeline.video.probe import probe_video

STILL_PARTS = ("forehead", "right_cheek", "left_cheek", "background")
"""Rows of `FaceTrack.colours_lab`; right and left are the person's."""

COUNT_FACES_EVERY_S = 1.0  # a second face that stays for less is hardly seen; counting costs several trackings

# Landmarks whose mean is the middle of a patch: forehead (low, as a fringe hides its upper half), the two cheeks.
_PATCH_CENTRES = ((151, 9), (50,), (280,))
_PATCH_HALF_SIDE = 0.08  # of the distance of the eyes' outer corners: skin alone, clear of brows, nose and lips
_BORDER = 0.06  # of the picture's sides: a frame's rim, where neither head nor hair come in a portrait
_BORDER_UNTIL = 0.5  # of the height: shoulders are below


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """The face of every `step`-th frame of a video.

    Attributes:
        fps: frames a second of the video.
        step: 1 where every frame was looked at.
        start_s: when the first frame appears, on the player's clock.
        width_px, height_px: of the picture.
        frames: (n,) int64, indices in the video.
        landmarks_px: (n, 478, 3) float32 as in `Face`; NaN where no face was seen.
        blendshapes: (n, 52) float32 in the order of BLENDSHAPE_NAMES; NaN where no face was seen.
        colours_lab: (n, 4, 3) float32, CIE L*a*b* (D65) of STILL_PARTS; NaN where no face was seen.
        faces_counted: (n,) int16, faces found where they were counted, about once a second; -1 elsewhere.

    Raises:
        ValueError: arrays of other shapes or dtypes.
    """

    fps: Fraction
    step: int
    start_s: Fraction
    width_px: int
    height_px: int
    frames: NDArray[np.int64]
    landmarks_px: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    colours_lab: NDArray[np.float32]
    faces_counted: NDArray[np.int16]

    def __post_init__(self) -> None:
        n = len(self.frames)
        for array, shape, dtype in (
            (self.frames, (n,), np.int64),
            (self.landmarks_px, (n, N_LANDMARKS, 3), np.float32),
            (self.blendshapes, (n, len(BLENDSHAPE_NAMES)), np.float32),
            (self.colours_lab, (n, len(STILL_PARTS), 3), np.float32),
            (self.faces_counted, (n,), np.int16),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"a face track needs {shape} {dtype.__name__}; got {array.shape} {array.dtype}")
            array.flags.writeable = False

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,): whether a face was seen."""
        return np.isfinite(self.landmarks_px[:, 0, 0])

    @property
    def middles_s(self) -> NDArray[np.float64]:
        """(n,) float64: the times that the frames show, which are the middles of their spans on the player's clock."""
        return np.asarray(float(self.start_s) + (self.frames + 0.5) / float(self.fps), np.float64)

    @property
    def end_s(self) -> float:
        """When the last frame goes."""
        return float(self.start_s) + (int(self.frames[-1]) + self.step) / float(self.fps)

    @property
    def rate_hz(self) -> float:
        """Tracked frames a second."""
        return float(self.fps) / self.step

    def blendshape(self, name: str) -> NDArray[np.float64]:
        """(n,) float64, 0..1: one expression over time.

        Raises:
            ValueError: no such blendshape.
        """
        return self.blendshapes[:, BLENDSHAPE_NAMES.index(name)].astype(np.float64)


@dataclass(frozen=True, eq=False)
class PictureFace:
    """The face of a single picture: `landmarks_px` (478, 3) float32, `colours_lab` (4, 3) float32 of STILL_PARTS."""

    landmarks_px: NDArray[np.float32]
    colours_lab: NDArray[np.float32]


def track_face(video: Path, landmarker: FaceLandmarker, *, step: int = 1) -> FaceTrack:
    """Follow the widest face through a video; where it is lost, it is looked for anew in each frame.

    Args:
        video: any MP4 with one video stream.
        landmarker: the tracker; nothing of an earlier video stays in it.
        step: look at every `step`-th frame only.

    Raises:
        MediaError: not a readable MP4 with one video stream.
        ValueError: a step below 1.
    """
    probe = probe_video(video)
    shown_frames = iter_frames(video, step=step)
    return track_frames(shown_frames, landmarker, fps=probe.fps, step=step, start_s=probe.video_start_s)


def track_frames(
    shown_frames: Iterable[ShownFrame],
    landmarker: FaceLandmarker,
    *,
    fps: Fraction,
    step: int = 1,
    start_s: Fraction = Fraction(0),
) -> FaceTrack:
    """`track_face` of frames that come from elsewhere, in order; a generator of them is read once.

    Raises:
        MediaError: no frames at all.
    """
    count_every = max(1, math.ceil(COUNT_FACES_EVERY_S * fps / step))
    frames, landmarks, blendshapes, colours, counted = [], [], [], [], []
    face: Face | None = None
    shape = (0, 0)
    for position, shown in enumerate(shown_frames):
        shape = shown.pixels.shape[:2]
        n_faces = -1
        followed = landmarker.track(shown.pixels, face) if face is not None else None
        if followed is None or position % count_every == 0:
            found = landmarker.find(shown.pixels)
            n_faces = len(found)
            followed = followed or next(iter(found), None)
        face = followed
        frames.append(shown.index)
        counted.append(n_faces)
        landmarks.append(_NO_LANDMARKS if face is None else face.landmarks_px)
        blendshapes.append(_NO_BLENDSHAPES if face is None else face.blendshapes)
        colours.append(_NO_COLOURS if face is None else still_colours(shown.pixels, face.landmarks_px))
    if not frames:
        raise MediaError("a video must hold frames to track a face in", got="none", cure="Make the video again.")
    return FaceTrack(
        fps=fps,
        step=step,
        start_s=start_s,
        width_px=shape[1],
        height_px=shape[0],
        frames=np.array(frames, np.int64),
        landmarks_px=np.stack(landmarks),
        blendshapes=np.stack(blendshapes),
        colours_lab=np.stack(colours),
        faces_counted=np.array(counted, np.int16),
    )


def face_of_picture(pixels: NDArray[np.uint8], landmarker: FaceLandmarker) -> PictureFace | None:
    """The widest face of a picture (H, W, 3) uint8 RGB; None where there is none."""
    face = next(iter(landmarker.find(pixels)), None)
    if face is None:
        return None
    return PictureFace(face.landmarks_px, still_colours(pixels, face.landmarks_px))


def still_colours(pixels: NDArray[np.uint8], landmarks_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4, 3) float32: L*a*b* of STILL_PARTS, of skin the median, of the rim the mean; NaN outside the picture."""
    height_px, width_px = pixels.shape[:2]
    eyes_px = float(np.linalg.norm(landmarks_px[RIGHT_EYE_OUTER, :2] - landmarks_px[LEFT_EYE_OUTER, :2]))
    half_px = max(1.0, _PATCH_HALF_SIDE * eyes_px)
    middles = []
    for centre in (list(landmarks) for landmarks in _PATCH_CENTRES):
        x, y = landmarks_px[centre, :2].mean(axis=0)
        patch = pixels[
            max(0, round(y - half_px)) : max(0, round(y + half_px) + 1),
            max(0, round(x - half_px)) : max(0, round(x + half_px) + 1),
        ]
        # The median: a strand of hair or a mole that comes and goes at the rim is no change of colour.
        middles.append(np.median(patch.reshape(-1, 3), axis=0) if patch.size else np.full(3, np.nan))
    rim_px = max(1, round(_BORDER * min(height_px, width_px)))
    until_px = max(rim_px + 1, round(_BORDER_UNTIL * height_px))
    rim = (pixels[:rim_px], pixels[rim_px:until_px, :rim_px], pixels[rim_px:until_px, -rim_px:])
    middles.append(np.concatenate([part.reshape(-1, 3) for part in rim]).mean(axis=0))
    rgb = (np.array(middles) / 255.0).astype(np.float32)
    return np.asarray(cv2.cvtColor(rgb[None], cv2.COLOR_RGB2Lab)[0], np.float32)


_NO_LANDMARKS = np.full((N_LANDMARKS, 3), np.nan, np.float32)
_NO_BLENDSHAPES = np.full(len(BLENDSHAPE_NAMES), np.nan, np.float32)
_NO_COLOURS = np.full((len(STILL_PARTS), 3), np.nan, np.float32)
