"""Which face is meant, whether it can be animated, and the part of the portrait that becomes the video's frame.

Belongs here: choosing and refusing faces, head angles from landmarks, the crop, its resampling, missing borders.
Does not belong here: finding faces (s2v_pipeline.faces), reading the file (image).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import FaceError
from s2v_pipeline.faces.landmarker import Face
from s2v_pipeline.setting_groups import InputSettings

_log = logging.getLogger(__name__)

# Landmark numbers of MediaPipe's face mesh (canonical_face_model_uv_visualization.png in its repository).
_FOREHEAD, _NOSE_TIP, _CHIN = 10, 1, 152
_RIGHT_EDGE, _LEFT_EDGE = 234, 454  # of the face, before the person's ears
_RIGHT_EYE_OUTER, _LEFT_EYE_OUTER = 33, 263
# (z of the nose tip - z of the edges) / distance of the edges, in MediaPipe's canonical face: (7.476 + 2.436) / 15.328;
# the mesh lies in face_landmarker.task as geometry_pipeline_metadata_landmarks.binarypb.
_NOSE_DEPTH = 0.6466

_SIMILAR_WIDTH = 0.5  # a second face from this part of the largest one's width may be the one that is meant
_MAX_YAW_DEG = 36.0  # 30 are meant, and the measure errs by up to 6; beyond, an eye and a mouth corner are hidden
_MAX_ROLL_DEG = 45.0  # beyond it the picture lies on its side rather than the head leans
# Parts of the face's height (below, above) and width (sideways) that may lie beyond the picture's edge: a cut forehead
# stays as it is, while a chin or cheek that is not there cannot be moved.
_CUT_BELOW, _CUT_SIDEWAYS, _CUT_ABOVE = 0.05, 0.08, 0.20

_FACE_PART = 0.48  # forehead to chin, of the frame's shorter side: head and shoulders, as newsreaders are framed
_EYES_AT = 0.42  # of the frame's height, from the top: room for hair above, for shoulders below
# Room that a frame must leave around the landmarks, in face heights (up, down) and widths (sideways). The mesh ends at
# the hairline; the jaw needs room to open. Hair that the picture does not show need not be shown.
_ROOM_SIDEWAYS, _ROOM_ABOVE, _ROOM_BELOW = 0.05, 0.05, 0.10
_HAIR_SIDEWAYS, _HAIR_ABOVE = 0.25, 0.40
_SOFT_ENLARGEMENT = 2.5  # from here an enlarged picture looks visibly soft
_BORDER_BLUR = 0.03  # of the frame's shorter side: standard deviation that melts a repeated edge row into a backdrop


@dataclass(frozen=True)
class HeadAngles:
    """How a head is turned: `yaw_deg` to the side, positive towards the picture's right; `roll_deg` clockwise."""

    yaw_deg: float
    roll_deg: float


@dataclass(frozen=True, eq=False)
class FramedPortrait:
    """The picture that is animated.

    Attributes:
        pixels: (height_px, width_px, 3) uint8 RGB; read-only.
        crop_px: x0, y0, x1, y1 of the frame in the portrait; reaches beyond it where the border was extended.
        notes: what was done that the user may want to know, one sentence each.

    Raises:
        ValueError: pixels of another shape or dtype, or an empty crop.
    """

    pixels: NDArray[np.uint8]
    crop_px: tuple[int, int, int, int]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"a frame must be (height, width, 3) uint8; got {self.pixels.shape} {self.pixels.dtype}")
        if self.crop_px[2] <= self.crop_px[0] or self.crop_px[3] <= self.crop_px[1]:
            raise ValueError(f"a crop must hold pixels; got {self.crop_px}")
        self.pixels.flags.writeable = False


def choose_face(faces: Sequence[Face], pixels_shape: tuple[int, ...], settings: InputSettings) -> Face:
    """The face that is meant: the largest one, where that is beyond doubt and it can be animated.

    Args:
        faces: all faces of the portrait, in any order.
        pixels_shape: (H, W, ...) of the portrait.
        settings: for `min_face_px`.

    Raises:
        FaceError: no face, several of similar size, or one that is too small, cut off, turned away or on its side.
    """
    if not faces:
        raise FaceError(
            "the portrait must show a face",
            got="none that is found",
            cure="Give a picture of one person who looks towards the camera, upright and well lit.",
        )
    widest = max(faces, key=_width_px)
    n_similar = sum(_width_px(face) >= _SIMILAR_WIDTH * _width_px(widest) for face in faces)
    if n_similar > 1:
        raise FaceError(
            "the portrait must show one face that is clearly the largest",
            got=f"{n_similar} faces of similar size",
            cure="Crop the picture to the person who shall speak.",
        )
    if _width_px(widest) < settings.min_face_px:
        raise FaceError(
            f"the face must be at least {settings.min_face_px} px wide",
            got=f"{_width_px(widest):.0f} px",
            cure="Give a larger or closer picture; enlarging this one adds no detail.",
        )
    cut = _parts_beyond(widest, pixels_shape)
    too_far = [f"{part:.0%} {side}" for side, (part, allowed) in cut.items() if part > allowed]
    if too_far:
        raise FaceError(
            "the whole face must be in the picture, from forehead to chin",
            got=f"a face that ends beyond the picture's edge: {', '.join(too_far)}",
            cure="Give a picture with some room around the face.",
        )
    angles = head_angles(widest)
    if abs(angles.roll_deg) > _MAX_ROLL_DEG:
        raise FaceError(
            f"the head must be upright within {_MAX_ROLL_DEG:.0f} degrees",
            got=f"a head turned by {angles.roll_deg:.0f} degrees in the picture",
            cure="Rotate the picture so that the head is upright.",
        )
    if abs(angles.yaw_deg) > _MAX_YAW_DEG:
        raise FaceError(
            f"the face must look towards the camera within {_MAX_YAW_DEG:.0f} degrees",
            got=f"a face turned to the side by about {abs(angles.yaw_deg):.0f} degrees",
            cure="Give a picture that shows both eyes and both corners of the mouth.",
        )
    return widest


def notes_on_choice(faces: Sequence[Face], chosen: Face) -> tuple[str, ...]:
    """What the user should know about the faces that were not chosen."""
    n_ignored = len(faces) - 1
    if n_ignored < 1:
        return ()
    others = "a smaller face is" if n_ignored == 1 else f"{n_ignored} smaller faces are"
    note = f"{others} ignored; the one of {_width_px(chosen):.0f} px is used"
    _log.info("%s", note)
    return (note,)


def head_angles(face: Face) -> HeadAngles:
    """Yaw and roll of a head from the places of five landmarks, within about 3 degrees up to a yaw of 30.

    The nose stands before the middle of the face's edges; a head turned by `yaw` shows it beside that middle, by
    tan(yaw) times its depth over the width (weak perspective). The landmarks' own depth is not used: it tells only
    three quarters of the angle.
    """
    points = face.landmarks_px[:, :2].astype(np.float64)
    across = points[_LEFT_EDGE] - points[_RIGHT_EDGE]
    nose_beside = points[_NOSE_TIP] - (points[_LEFT_EDGE] + points[_RIGHT_EDGE]) / 2
    tangent = float(nose_beside @ across) / (float(across @ across) * _NOSE_DEPTH)
    between_eyes = points[_LEFT_EYE_OUTER] - points[_RIGHT_EYE_OUTER]
    return HeadAngles(
        yaw_deg=math.degrees(math.atan(tangent)),
        roll_deg=math.degrees(math.atan2(between_eyes[1], between_eyes[0])),
    )


def frame_portrait(pixels: NDArray[np.uint8], face: Face, *, width_px: int, height_px: int) -> FramedPortrait:
    """Crop a portrait (H, W, 3) uint8 RGB around a face and resample it to the video's size.

    The face takes about 48 % of the frame's shorter side and its eyes lie at 42 % of the height. Where the portrait is
    too tight for that, the largest crop that fits is taken; only where that would cut the face, the border is extended.

    Raises:
        ValueError: a size that is not positive.
    """
    if width_px < 1 or height_px < 1:
        raise ValueError(f"a frame's size must be positive; got {width_px}x{height_px}")
    notes: list[str] = []
    crop_px = _crop(pixels.shape, face, width_px, height_px, notes)
    framed = _resampled(pixels, crop_px, width_px, height_px, notes)
    for note in notes:
        _log.info("%s", note)
    return FramedPortrait(framed, crop_px, tuple(notes))


def _width_px(face: Face) -> float:
    return float(np.ptp(face.landmarks_px[:, 0]))


def _parts_beyond(face: Face, pixels_shape: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """Side of the picture -> (part of the face that lies beyond it, part that may)."""
    image_height_px, image_width_px = pixels_shape[:2]
    (x0, y0), (x1, y1) = face.landmarks_px[:, :2].min(axis=0), face.landmarks_px[:, :2].max(axis=0)
    return {
        "below": (float((y1 - image_height_px) / (y1 - y0)), _CUT_BELOW),
        "above": (float(-y0 / (y1 - y0)), _CUT_ABOVE),
        "on the left": (float(-x0 / (x1 - x0)), _CUT_SIDEWAYS),
        "on the right": (float((x1 - image_width_px) / (x1 - x0)), _CUT_SIDEWAYS),
    }


def _crop(
    pixels_shape: tuple[int, ...], face: Face, width_px: int, height_px: int, notes: list[str]
) -> tuple[int, int, int, int]:
    image_height_px, image_width_px = pixels_shape[:2]
    points = face.landmarks_px.astype(np.float64)
    face_height_px = float(np.linalg.norm(points[_CHIN] - points[_FOREHEAD]))
    x0, y0, x1, y1 = _needed(points, image_width_px)

    # Portrait pixels for each pixel of the frame: as wished, as the portrait allows, as the face needs.
    wished = face_height_px / (_FACE_PART * min(width_px, height_px))
    allowed = min(image_width_px / width_px, image_height_px / height_px)
    needed = max((x1 - x0) / width_px, (y1 - y0) / height_px)
    scale = max(min(wished, allowed), needed)
    if scale < wished * 0.95:
        part = face_height_px / (scale * min(width_px, height_px))
        notes.append(
            f"the portrait is tight: the face takes {part:.0%} of the frame's shorter side instead of {_FACE_PART:.0%}"
        )

    crop_width_px, crop_height_px = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    centre_x = (points[:, 0].min() + points[:, 0].max()) / 2
    eyes_y = (points[_RIGHT_EYE_OUTER, 1] + points[_LEFT_EYE_OUTER, 1]) / 2
    left = _placed(centre_x - crop_width_px / 2, crop_width_px, image_width_px, x0, x1)
    top = _placed(eyes_y - _EYES_AT * crop_height_px, crop_height_px, image_height_px, y0, y1)
    return left, top, left + crop_width_px, top + crop_height_px


def _needed(points_px: NDArray[np.float64], image_width_px: int) -> tuple[float, float, float, float]:
    """Box that the frame must not cut: the face with room to move, and as much of the hair as the picture shows."""
    (x0, y0), (x1, y1) = points_px[:, :2].min(axis=0), points_px[:, :2].max(axis=0)
    width_px, height_px = x1 - x0, y1 - y0
    return (
        min(x0 - _ROOM_SIDEWAYS * width_px, max(0.0, x0 - _HAIR_SIDEWAYS * width_px)),
        min(y0 - _ROOM_ABOVE * height_px, max(0.0, y0 - _HAIR_ABOVE * height_px)),
        max(x1 + _ROOM_SIDEWAYS * width_px, min(float(image_width_px), x1 + _HAIR_SIDEWAYS * width_px)),
        y1 + _ROOM_BELOW * height_px,
    )


def _placed(wished: float, length_px: int, image_length_px: int, needed_from: float, needed_to: float) -> int:
    """Start of a crop on one axis: inside the portrait if it fits there, and in any case around what is needed."""
    spare_px = image_length_px - length_px
    start = min(max(wished, 0.0), spare_px) if spare_px >= 0 else spare_px / 2
    return round(min(max(start, needed_to - length_px), needed_from))


def _resampled(
    pixels: NDArray[np.uint8], crop_px: tuple[int, int, int, int], width_px: int, height_px: int, notes: list[str]
) -> NDArray[np.uint8]:
    image_height_px, image_width_px = pixels.shape[:2]
    x0, y0, x1, y1 = crop_px
    seen_x0, seen_x1 = max(x0, 0), min(x1, image_width_px)
    seen_y0, seen_y1 = max(y0, 0), min(y1, image_height_px)
    enlargement = width_px / (x1 - x0)
    if enlargement > _SOFT_ENLARGEMENT:
        notes.append(
            f"the picture is enlarged {enlargement:.1f} times and looks soft; a larger portrait would be sharper"
        )

    # The border is added at the frame's own size, so that memory stays bounded whatever the two aspect ratios are.
    left, right = (round((x - x0) * width_px / (x1 - x0)) for x in (seen_x0, seen_x1))
    top, bottom = (round((y - y0) * height_px / (y1 - y0)) for y in (seen_y0, seen_y1))
    seen = cv2.resize(
        pixels[seen_y0:seen_y1, seen_x0:seen_x1],
        (max(1, right - left), max(1, bottom - top)),
        interpolation=cv2.INTER_AREA if enlargement < 1 else cv2.INTER_LANCZOS4,
    )
    borders_px = (top, height_px - bottom, left, width_px - right)
    if not any(borders_px):
        return np.asarray(seen, np.uint8)
    notes.append("the portrait does not reach to the frame's edge; its border is extended and blurred")
    return _with_borders(np.asarray(seen, np.uint8), borders_px)


def _with_borders(seen: NDArray[np.uint8], borders_px: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Edge rows and columns repeated outwards, melting into a blur; `seen` itself stays as it is."""
    top, bottom, left, right = borders_px
    extended = cv2.copyMakeBorder(seen, top, bottom, left, right, cv2.BORDER_REPLICATE)
    height_px, width_px = extended.shape[:2]
    sigma_px = _BORDER_BLUR * min(height_px, width_px)
    blurred = cv2.GaussianBlur(extended, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    beyond_x = np.maximum(left - np.arange(width_px), np.arange(width_px) - (width_px - right - 1)).clip(0)
    beyond_y = np.maximum(top - np.arange(height_px), np.arange(height_px) - (height_px - bottom - 1)).clip(0)
    distance_px = np.hypot(beyond_y[:, None], beyond_x[None, :])
    share = np.clip(distance_px / sigma_px, 0.0, 1.0)[..., None]
    return np.asarray(np.rint(extended * (1 - share) + blurred * share), np.uint8)
