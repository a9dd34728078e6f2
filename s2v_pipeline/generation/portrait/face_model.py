"""Everything about a portrait that frames share, computed once.

Belongs here: assembling a portrait's landmarks, grids, lips, mouth and eyes into one value.
Does not belong here: how each part works (lips, deform, relief, eyelids), drawing frames (renderer).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import FaceError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.portrait.canvas import Canvas, FaceFrame, Floats, feathered_mask
from s2v_pipeline.generation.portrait.deform import Jaw, MouthHandles, SkinGrid
from s2v_pipeline.generation.portrait.eyelids import Eye, eye_canvas
from s2v_pipeline.generation.portrait.lips import LipShape, find_lips
from s2v_pipeline.generation.portrait.mouth_patch import MouthPatch, mouth_canvas
from s2v_pipeline.generation.portrait.relief import HeadGrid
from s2v_pipeline.generation.portrait.topology import (
    CHEEKS,
    CHIN,
    FACE_SIDES,
    LEFT_BROW,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    LEFT_IRIS,
    LOWER_LIP_OUTER,
    RIGHT_BROW,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
    RIGHT_IRIS,
    UPPER_LIP_OUTER,
)

SUPERSAMPLING = 1.7  # of mouth and eyes over the portrait: edges drawn there stay smooth after sampling
MAX_CANVAS_SCALE = 320.0  # canvas pixels for one iod; a close-up has pixels enough by itself
SKIN_CELL = 0.06  # iod; skin bends over no shorter distance
HEAD_CELLS = 64  # along the longer side of a frame
MIN_IOD_PX = 12.0  # below it lips are a pixel high


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A portrait ready to be moved.

    Attributes:
        pixels: (H, W, 3) uint8, read-only.
        frame: the face's own axes.
        lips: contours of the mouth.
        handles: of the upper and the lower side of the mouth.
        handle_jaw: what the jaw's field does at each side's handles.
        skin: grid of the expression.
        head: grid of the head's movement.
        mouth: the mouth's layers.
        eyes: left and right in the image.
    """

    pixels: NDArray[np.uint8]
    frame: FaceFrame
    lips: LipShape
    handles: tuple[MouthHandles, MouthHandles]
    handle_jaw: tuple[Floats, Floats]
    skin: SkinGrid
    head: HeadGrid
    mouth: MouthPatch
    eyes: tuple[Eye, Eye]

    @classmethod
    def from_portrait(cls, pixels: NDArray[np.uint8], landmarker: FaceLandmarker | None = None) -> FaceModel:
        """The widest face of a portrait (H, W, 3) uint8 RGB; without a landmarker the packaged one is loaded.

        Raises:
            FaceError: no face, or one too small to be moved.
        """
        faces = (landmarker or FaceLandmarker()).find(pixels)
        if not faces:
            raise FaceError(
                "a portrait must show a face",
                got="none that was found",
                cure="Use a clear view of one face from the front.",
            )
        return cls.from_landmarks(pixels, faces[0].landmarks_px)

    @classmethod
    def from_landmarks(cls, pixels: NDArray[np.uint8], landmarks_px: Floats) -> FaceModel:
        """The face whose landmarks (478, 3) are known.

        Raises:
            FaceError: the face is too small to be moved.
        """
        frame = FaceFrame.of_landmarks(landmarks_px)
        if frame.iod_px < MIN_IOD_PX:
            raise FaceError(
                f"eyes must be at least {MIN_IOD_PX:.0f} pixels apart in the framed portrait",
                got=f"{frame.iod_px:.1f}",
                cure="Use a larger video size or a closer portrait.",
            )
        height, width = pixels.shape[:2]
        landmarks = frame.to_face(landmarks_px[:, :2])
        scale = float(np.clip(SUPERSAMPLING * frame.iod_px, frame.iod_px, max(MAX_CANVAS_SCALE, frame.iod_px)))

        lip_points = landmarks[[*UPPER_LIP_OUTER, *LOWER_LIP_OUTER]]
        lips_box = (*lip_points.min(axis=0), *lip_points.max(axis=0))
        canvas = mouth_canvas(lips_box, scale)
        art = canvas.from_portrait(frame, pixels)
        lips = find_lips(canvas, art, landmarks)
        handles = (
            MouthHandles.place(lips, landmarks, upper=True),
            MouthHandles.place(lips, landmarks, upper=False),
        )
        jaw = Jaw.of(lips, landmarks, float(np.ptp(landmarks[list(FACE_SIDES), 0])) / 2)
        mouth = MouthPatch.build(canvas, art, lips, landmarks, handles, jaw, _skin_colour(pixels, landmarks_px))
        own = pixels.copy()
        own.flags.writeable = False
        return cls(
            pixels=own,
            frame=frame,
            lips=lips,
            handles=handles,
            handle_jaw=(jaw.field(handles[0].points), jaw.field(handles[1].points)),
            skin=_skin_grid(lips, landmarks, handles, jaw),
            head=HeadGrid.build(pixels, frame, landmarks_px, max(2, round(max(height, width) / HEAD_CELLS))),
            mouth=mouth,
            eyes=(
                _eye(pixels, frame, landmarks, scale, LEFT_EYE_UPPER, LEFT_EYE_LOWER, LEFT_IRIS, LEFT_BROW),
                _eye(pixels, frame, landmarks, scale, RIGHT_EYE_UPPER, RIGHT_EYE_LOWER, RIGHT_IRIS, RIGHT_BROW),
            ),
        )


def _skin_grid(lips: LipShape, landmarks: Floats, handles: tuple[MouthHandles, MouthHandles], jaw: Jaw) -> SkinGrid:
    half = jaw.half_width * 1.15 + 0.1
    top, bottom = float(landmarks[:, 1].min()) - 0.55, float(landmarks[CHIN, 1]) + 0.9
    canvas = Canvas.spanning(jaw.centre_u - half, top, jaw.centre_u + half, bottom, 1 / SKIN_CELL)
    fade = feathered_mask(canvas.height, canvas.width, 5.0)
    return SkinGrid.build(canvas, lips, landmarks, handles, jaw, fade)


def _eye(
    pixels: NDArray[np.uint8],
    frame: FaceFrame,
    landmarks: Floats,
    scale: float,
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    iris: tuple[int, ...],
    brow: tuple[int, ...],
) -> Eye:
    upper_points, lower_points = landmarks[list(upper)], landmarks[list(lower)]
    canvas = eye_canvas(upper_points, lower_points, scale)
    art = canvas.from_portrait(frame, pixels)
    return Eye.build(
        canvas, art, upper_points, lower_points, landmarks[list(iris)], float(landmarks[list(brow), 1].max())
    )


def _skin_colour(pixels: NDArray[np.uint8], landmarks_px: Floats) -> Floats:
    """(3,): median of the cheeks."""
    height, width = pixels.shape[:2]
    x, y = np.round(landmarks_px[list(CHEEKS), :2]).astype(int).T
    return np.asarray(np.median(pixels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], axis=0), np.float32)
