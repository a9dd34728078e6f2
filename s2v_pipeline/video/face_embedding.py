"""Whether the face is still that of the portrait, by a recognition model that the user brings.

Belongs here: cutting a face out as such models learnt it, its embedding, likeness over a video.
Does not belong here: shape and colours, which need no model (identity), limits, any weights.

The model is given (1, 3, 112, 112) float32, RGB from 0 to 255, with eyes, nose and corners of the mouth where ArcFace
(arXiv 1801.07698) and OpenCV's SFace have them; its answer is read as a direction, whatever its length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.face_track import FaceTrack
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline.video.onnx_model import OnnxModel

FACE_PX = 112
# OpenCV modules/objdetect/src/face_recognize.cpp: right eye, left eye, nose, right and left corner of the mouth.
_PLACES_PX = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float32
)
# The same of the 478 landmarks: means of the eyes' corners, tip of the nose, corners of the mouth.
_LANDMARKS = ((33, 133), (263, 362), (4,), (61,), (291,))
_SMALLEST_LENGTH = 1e-12  # keeps an answer of zeros from a division by zero
_MOST_FRAMES = 24  # spread over the video: a change of face lasts


@dataclass(frozen=True)
class FaceLikeness:
    """Cosines between embeddings of frames and of the portrait; 1 is the same direction.

    Attributes:
        median: of the frames looked at.
        worst, worst_s: the smallest, and when its frame is shown.
        frames: how many were looked at.
    """

    median: float
    worst: float
    worst_s: float
    frames: int


class FaceEmbedder:
    """A recognition model.

    Raises:
        SettingsError: the file is no model that can be run.
    """

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(path, "gate.identity_model")

    def embed(self, picture: NDArray[np.uint8], landmarks_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Direction (k,) of the face of a picture (h, w, 3) RGB with landmarks (478, 3).

        Raises:
            SettingsError: the model takes other inputs.
        """
        face = cut_face(picture, landmarks_px)
        asked = np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32)
        answer = self._model.answer(asked).ravel()
        return np.asarray(answer / max(float(np.linalg.norm(answer)), _SMALLEST_LENGTH), np.float32)


def cut_face(picture: NDArray[np.uint8], landmarks_px: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The face upright in (112, 112, 3): turned, shifted and scaled, not bent."""
    points = np.array([landmarks_px[list(each), :2].mean(axis=0) for each in _LANDMARKS], np.float32)
    matrix, _ = cv2.estimateAffinePartial2D(points, _PLACES_PX, method=cv2.LMEDS)
    return np.asarray(cv2.warpAffine(picture, matrix, (FACE_PX, FACE_PX), flags=cv2.INTER_LINEAR), np.uint8)


def measure_likeness(
    frames: Iterable[ShownFrame],
    track: FaceTrack,
    portrait: NDArray[np.uint8],
    portrait_landmarks_px: NDArray[np.float32],
    embedder: FaceEmbedder,
) -> FaceLikeness | None:
    """Faces of up to 24 frames against the portrait's; None where no face is seen.

    Args:
        frames: of the whole video.
        track: of every frame.

    Raises:
        SettingsError: the model takes other inputs.
    """
    seen = np.flatnonzero(track.seen)
    if not seen.size:
        return None
    chosen = set(seen[np.unique(np.linspace(0, seen.size - 1, _MOST_FRAMES).round().astype(int))].tolist())
    wanted = embedder.embed(portrait, portrait_landmarks_px)
    cosines: list[tuple[float, float]] = []
    for number, shown in enumerate(frames):
        if number in chosen:
            own = embedder.embed(shown.pixels, track.landmarks_px[number])
            cosines.append((float(own @ wanted), float(track.middles_s[number])))
    worst, worst_s = min(cosines)
    return FaceLikeness(float(np.median([cosine for cosine, _ in cosines])), worst, worst_s, len(cosines))
