"""Which frame stands for a video: the one of a few in which the eyes are open and the mouth is calm.

Belongs here: choosing the frame. Does not belong here: writing the picture (frames), finding faces (faces).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from s2v_pipeline.faces.landmarker import BLENDSHAPE_NAMES, FaceLandmarker
from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.frames import grab_frames

_CANDIDATES = 8  # a blink lasts a third of a second at most, so among eight frames some have open eyes
_MOUTH_WEIGHT = 0.5  # an open mouth looks less wrong than closed eyes
_BLINKS = tuple(BLENDSHAPE_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))
_JAW = BLENDSHAPE_NAMES.index("jawOpen")


def choose_poster_frame(video: Path, *, n_frames: int, fps: Fraction, face_model: Path | None = None) -> int:
    """Index of the frame for the poster; the middle one of a video in which no face is found.

    Raises:
        MediaError: not a readable video.
        ArtifactError: the face model is missing or damaged.
    """
    indices = sorted({n_frames * (2 * k + 1) // (2 * _CANDIDATES) for k in range(_CANDIDATES)})
    landmarker = FaceLandmarker(face_model)
    unrest: dict[int, float] = {}
    for shown in grab_frames(video, [frame_start_s(index, fps) for index in indices]):
        faces = landmarker.find(shown.pixels)
        if faces:
            shapes = faces[0].blendshapes
            unrest[shown.index] = float(max(shapes[k] for k in _BLINKS) + _MOUTH_WEIGHT * shapes[_JAW])
    return min(unrest, key=lambda index: unrest[index]) if unrest else n_frames // 2
