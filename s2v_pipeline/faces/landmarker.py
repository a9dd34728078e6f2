"""Points and expression of faces: detector, 478 landmarks, 52 blendshapes, from one model bundle.

Belongs here: loading the bundle, the region that the landmark network sees, its decoding, blendshapes.
Does not belong here: finding boxes (detector), choosing a face (inputs.framing), moving one (generation.portrait).

Landmark numbers are those of MediaPipe's face mesh; "left" in blendshape names is the person's left.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.faces.detector import ENOUGH_OF_VIEW, Box, Detection, FaceDetector, overlap

_log = logging.getLogger(__name__)

PACKAGED_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")

N_LANDMARKS = 478
RIGHT_EYE_OUTER = 33  # of the person; on the left of an unmirrored picture
LEFT_EYE_OUTER = 263

# Facts of mediapipe/tasks/cc/vision/face_landmarker/face_landmarks_detector_graph.cc and face_detector_graph.cc.
_CROP_SIDE_PX = 256
_REGION_SCALE = 1.5  # side of the region over the longer side of the face's box
_MIN_PRESENCE = 0.5
# The first pass sees a region from the detector's box, whose forehead is missing; the second sees the region that
# the landmarks themselves give, as every tracked frame does.
_PASSES = 2
_SAME_FACE_OVERLAP = 0.5  # of landmark boxes; neighbours in a group photograph overlap less

# mediapipe/tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc, kLandmarksSubsetIdxs: what the 146 rows of the
# blendshape network's input are.
_BLENDSHAPE_LANDMARKS = np.array(
    (
        *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70),
        *(78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149),
        *(150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195),
        *(197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300),
        *(308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375),
        *(377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454),
        *(466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    )
)

BLENDSHAPE_NAMES: tuple[str, ...] = (
    "_neutral",
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
)
"""Names of `Face.blendshapes`, in order: kBlendshapeNames of face_blendshapes_graph.cc."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face.

    Attributes:
        box_px: x0, y0, x1, y1 of the detection, or of the landmarks where the face was tracked.
        score: the detector's, or the presence where the face was tracked; 0..1.
        landmarks_px: (478, 3) float32: x, y in pixels of the image; z in the same scale, negative towards the camera.
        blendshapes: (52,) float32, 0..1, in the order of BLENDSHAPE_NAMES.
        presence: the landmark network's own belief that it sees a face, 0..1.

    Raises:
        ValueError: arrays of another shape or dtype.
    """

    box_px: Box
    score: float
    landmarks_px: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    presence: float

    def __post_init__(self) -> None:
        for array, shape in ((self.landmarks_px, (N_LANDMARKS, 3)), (self.blendshapes, (len(BLENDSHAPE_NAMES),))):
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"a face needs an array {shape} float32; got {array.shape} {array.dtype}")
            array.flags.writeable = False


@dataclass(frozen=True)
class _Region:
    """A square of the image, turned with the face."""

    centre_px: tuple[float, float]
    side_px: float
    angle_rad: float

    def crop_to_image(self, side_px: int) -> NDArray[np.float64]:
        """(2, 3) affine map from a crop of `side_px` to the image."""
        scale = self.side_px / side_px
        cosine, sine = scale * np.cos(self.angle_rad), scale * np.sin(self.angle_rad)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        # Pixel i of an image covers [i, i + 1), while warpAffine puts its sample at i: hence the halves.
        shift = np.array(self.centre_px) - 0.5 - linear @ np.full(2, side_px / 2 - 0.5)
        return np.concatenate([linear, shift[:, None]], axis=1)


class FaceLandmarker:
    """Finds and tracks faces on the CPU. Not safe for use by two threads at once; make one each.

    Args:
        model_path: the bundle face_landmarker.task; None takes the packaged one.
        num_threads: of each interpreter.

    Attributes:
        model_sha256: hash of the bundle, for fingerprints.

    Raises:
        ArtifactError: the bundle is missing, damaged or another model.
    """

    def __init__(self, model_path: Path | None = None, *, num_threads: int = 1) -> None:
        bundle = _read_bundle(model_path)
        self.model_sha256 = hashlib.sha256(bundle).hexdigest()
        if model_path is None and self.model_sha256 != PACKAGED_SHA256:
            raise _model_error("the packaged face model must be unchanged", f"SHA-256 {self.model_sha256[:12]}…")
        try:
            with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
                detector, landmarks, blendshapes = (archive.read(member) for member in _MEMBERS)
            self._detector = FaceDetector(detector, num_threads=num_threads)
            self._landmarks = _load(landmarks, (1, _CROP_SIDE_PX, _CROP_SIDE_PX, 3), num_threads)
            self._blendshapes = _load(blendshapes, (1, len(_BLENDSHAPE_LANDMARKS), 2), num_threads)
        except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError) as error:
            # The interpreter raises ValueError for bytes that are no model, RuntimeError for one that it cannot run.
            raise _model_error(f"the face model must be a bundle of {', '.join(_MEMBERS)}", str(error)) from error

    def find(self, pixels: NDArray[np.uint8]) -> tuple[Face, ...]:
        """All faces of an image (H, W, 3) uint8 RGB, widest first.

        A face less than half as wide as the widest may be missed.
        """
        _check_pixels(pixels)
        faces: list[Face] = []
        for level in self._detector.levels(pixels):
            for detection in level.detections:
                face = self._face_of(pixels, detection)
                if face is None:
                    _log.debug("a detection of score %.2f at %s is no face", detection.score, detection.box_px)
                elif not any(_same_face(face, other) for other in faces):
                    faces.append(face)
            if any(_width_px(face) >= ENOUGH_OF_VIEW * level.view_side_px for face in faces):
                break
        return tuple(sorted(faces, key=_width_px, reverse=True))

    def track(self, pixels: NDArray[np.uint8], previous: Face) -> Face | None:
        """The same face in the next image, looked for where it was; None where it is not seen any more."""
        _check_pixels(pixels)
        return self._fit(pixels, _region_of_landmarks(previous.landmarks_px), passes=1)

    def _face_of(self, pixels: NDArray[np.uint8], detection: Detection) -> Face | None:
        right_eye_px, left_eye_px = detection.keypoints_px[:2]
        face = self._fit(pixels, _region(detection.box_px, right_eye_px, left_eye_px), passes=_PASSES)
        return None if face is None else replace(face, box_px=detection.box_px, score=detection.score)

    def _fit(self, pixels: NDArray[np.uint8], region: _Region, *, passes: int) -> Face | None:
        for _ in range(passes):
            landmarks_px, presence = self._run_landmarks(pixels, region)
            if presence < _MIN_PRESENCE:
                return None
            region = _region_of_landmarks(landmarks_px)
        return Face(_landmark_box(landmarks_px), presence, landmarks_px, self._run_blendshapes(landmarks_px), presence)

    def _run_landmarks(self, pixels: NDArray[np.uint8], region: _Region) -> tuple[NDArray[np.float32], float]:
        crop = _region_pixels(pixels, region)
        outputs = _run(self._landmarks, crop[None].astype(np.float32) / 255.0)
        points = outputs[0].reshape(N_LANDMARKS, 3).astype(np.float64)  # in pixels of the crop
        presence = 1.0 / (1.0 + float(np.exp(-outputs[1].item())))
        to_image = region.crop_to_image(_CROP_SIDE_PX)
        landmarks = np.empty((N_LANDMARKS, 3), np.float32)
        landmarks[:, :2] = points[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        landmarks[:, 2] = points[:, 2] * (region.side_px / _CROP_SIDE_PX)
        return landmarks, presence

    def _run_blendshapes(self, landmarks_px: NDArray[np.float32]) -> NDArray[np.float32]:
        output = _run(self._blendshapes, landmarks_px[None, _BLENDSHAPE_LANDMARKS, :2])[0]
        return np.array(output.reshape(-1), np.float32)


def _read_bundle(model_path: Path | None) -> bytes:
    try:
        if model_path is None:
            return (importlib.resources.files("s2v_pipeline.faces") / "models" / "face_landmarker.task").read_bytes()
        return model_path.read_bytes()
    except OSError as error:
        raise _model_error("the face model must be a readable file", str(error)) from error


def _model_error(rule: str, got: str) -> ArtifactError:
    return ArtifactError(
        rule,
        got=got,
        cure="Point the setting paths.face_model (S2V_PATHS__FACE_MODEL) at MediaPipe's face_landmarker.task, or "
        "remove the setting and reinstall s2v_pipeline, whose wheel carries that file.",
    )


def _load(model: bytes, input_shape: tuple[int, ...], num_threads: int) -> Interpreter:
    interpreter = Interpreter(model_content=model, num_threads=num_threads)
    interpreter.allocate_tensors()
    found = tuple(int(n) for n in interpreter.get_input_details()[0]["shape"])
    if found != input_shape:
        raise ValueError(f"a model with input {found} instead of {input_shape}")
    return interpreter


def _run(interpreter: Interpreter, network_input: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], network_input)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def _check_pixels(pixels: NDArray[np.uint8]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"an image must be (height, width, 3) uint8; got {pixels.shape} {pixels.dtype}")


def _landmark_box(landmarks_px: NDArray[np.float32]) -> Box:
    (x0, y0), (x1, y1) = landmarks_px[:, :2].min(axis=0), landmarks_px[:, :2].max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _width_px(face: Face) -> float:
    return face.box_px[2] - face.box_px[0]


def _same_face(first: Face, second: Face) -> bool:
    return overlap(_landmark_box(first.landmarks_px), _landmark_box(second.landmarks_px)) >= _SAME_FACE_OVERLAP


def _region_of_landmarks(landmarks_px: NDArray[np.float32]) -> _Region:
    return _region(_landmark_box(landmarks_px), landmarks_px[RIGHT_EYE_OUTER, :2], landmarks_px[LEFT_EYE_OUTER, :2])


def _region(box: Box, right_eye: NDArray[np.floating], left_eye: NDArray[np.floating]) -> _Region:
    """Square around a box, turned so that the line between the eyes is level in it."""
    x, y = left_eye - right_eye
    return _Region(
        centre_px=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        side_px=max(1.0, _REGION_SCALE * max(box[2] - box[0], box[3] - box[1])),
        angle_rad=float(np.arctan2(y, x)),
    )


def _region_pixels(pixels: NDArray[np.uint8], region: _Region) -> NDArray[np.uint8]:
    """(256, 256, 3) uint8: the region, black where it reaches beyond the image.

    A large region is reduced from a larger crop by areas, because sampling it at 256 points a side would alias.
    """
    reduction = max(1, round(region.side_px / _CROP_SIDE_PX))
    side_px = _CROP_SIDE_PX * reduction
    crop = cv2.warpAffine(
        pixels,
        region.crop_to_image(side_px),
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    if reduction > 1:
        crop = cv2.resize(crop, (_CROP_SIDE_PX, _CROP_SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)
