"""Where faces are in an image: BlazeFace (short range) run over views of the image.

Belongs here: anchors, decoding of the network's boxes, views that make small faces findable, suppression of doubles.
Does not belong here: landmarks (landmarker), which face is meant and whether it is good enough (inputs.framing).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

Box = tuple[float, float, float, float]

# Facts of MediaPipe's short-range detector: mediapipe/tasks/cc/vision/face_detector/face_detector_graph.cc.
INPUT_SIDE_PX = 128
_ANCHOR_GRIDS = ((16, 2), (8, 6))  # (cells a side, anchors a cell): strides 8, 16, 16, 16 with two anchors each
_N_KEYPOINTS = 6
_MIN_SCORE = 0.5
_MIN_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_MAX_LOGIT = 100.0  # score_clipping_thresh: keeps exp() finite

# The network finds a face from an eighth of its view's side (measured: 12 % always, 11 % mostly, 10 % hardly ever).
ENOUGH_OF_VIEW = 0.25
"""Once a face fills this part of a view, another one half as wide cannot have been missed in views of that size."""
_FINEST_VIEW_PX = 512  # an eighth of it is about the narrowest face that is accepted (inputs.min_face_px)
_MAX_LEVELS = 4  # at most 2 + 9 + 49 + 225 views, the last for images of 4096 px: 0.4 s on one core
_PADDED_VIEW = 2.0  # for faces that fill the whole image: the same image with a black border


@dataclass(frozen=True, eq=False)
class Detection:
    """One face as the detector sees it.

    Attributes:
        box_px: x0, y0, x1, y1 in pixels of the image; may reach beyond its borders.
        score: 0..1.
        keypoints_px: (6, 2) float64: the eyes (image-left one first), nose tip, mouth, the two ear regions.

    Raises:
        ValueError: keypoints of another shape.
    """

    box_px: Box
    score: float
    keypoints_px: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.keypoints_px.shape != (_N_KEYPOINTS, 2):
            raise ValueError(f"keypoints must be ({_N_KEYPOINTS}, 2); got {self.keypoints_px.shape}")


@dataclass(frozen=True)
class Level:
    """What views of one size showed: `detections`, best score first, each face once."""

    view_side_px: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class _View:
    """A square part of the image, possibly reaching beyond it."""

    x0_px: int
    y0_px: int
    side_px: int


class FaceDetector:
    """BlazeFace on one CPU interpreter. Not safe for use by two threads at once.

    Args:
        model: bytes of face_detector.tflite.
        num_threads: of the interpreter.

    Raises:
        ValueError: not a model, or one of another shape.
    """

    def __init__(self, model: bytes, *, num_threads: int = 1) -> None:
        self._interpreter = Interpreter(model_content=model, num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = {tuple(int(n) for n in output["shape"]): output for output in self._interpreter.get_output_details()}
        self._anchors = _anchors()
        try:
            self._boxes = outputs[(1, len(self._anchors), 4 + 2 * _N_KEYPOINTS)]
            self._scores = outputs[(1, len(self._anchors), 1)]
        except KeyError as error:
            raise ValueError(f"not the short-range face detector; its outputs are {sorted(outputs)}") from error

    def levels(self, pixels: NDArray[np.uint8]) -> Iterator[Level]:
        """Faces in an image (H, W, 3) uint8 RGB, in ever finer views; the caller stops where it has found enough.

        A detection may be wrong (a bust in a large picture can look like a face), so that only who checks them can
        tell when to stop.
        """
        height_px, width_px = pixels.shape[:2]
        for views in _levels(width_px, height_px):
            found = [detection for view in views for detection in self._detect_in(pixels, view)]
            yield Level(views[0].side_px, _distinct(found))

    def _detect_in(self, pixels: NDArray[np.uint8], view: _View) -> list[Detection]:
        network_input = _view_pixels(pixels, view).astype(np.float32) / 127.5 - 1.0
        self._interpreter.set_tensor(self._input["index"], network_input[None])
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._boxes["index"])[0].astype(np.float64)
        logits = self._interpreter.get_tensor(self._scores["index"])[0, :, 0].astype(np.float64)
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -_MAX_LOGIT, _MAX_LOGIT)))

        likely = np.flatnonzero(scores >= _MIN_SCORE)
        # Each row: centre x, y, width, height, then keypoints; everything relative to the anchor but the size.
        rows = raw[likely].reshape(len(likely), 2 + _N_KEYPOINTS, 2) / INPUT_SIDE_PX
        centres = rows[:, 0] + self._anchors[likely]
        halves = rows[:, 1] / 2
        keypoints = rows[:, 2:] + self._anchors[likely, None]
        points = np.concatenate([(centres - halves)[:, None], (centres + halves)[:, None], keypoints], axis=1)
        points_px = points * view.side_px + np.array([view.x0_px, view.y0_px])
        return _blended(points_px, scores[likely])


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(first) + _area(second) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _anchors() -> NDArray[np.float64]:
    """(896, 2) centres of the anchors, x and y in 0..1 of the view."""
    grids = []
    for cells, anchors_per_cell in _ANCHOR_GRIDS:
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), anchors_per_cell, axis=0))
    return np.concatenate(grids)


def _blended(points_px: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Detection]:
    """Weighted non-maximum suppression (BlazeFace, arXiv 1907.05047, section 3.4): overlapping boxes become their mean.

    Args:
        points_px: (n, 8, 2): both corners, then the keypoints.
        scores: (n,).
    """
    remaining = list(np.argsort(-scores, kind="stable"))
    blended = []
    while remaining:
        best_box = _box(points_px[remaining[0]])
        cluster = [i for i in remaining if overlap(best_box, _box(points_px[i])) >= _MIN_OVERLAP] or remaining[:1]
        points = np.average(points_px[cluster], axis=0, weights=scores[cluster])
        blended.append(Detection(_box(points), float(scores[remaining[0]]), points[2:]))
        remaining = [i for i in remaining if i not in cluster]
    return blended


def _box(points_px: NDArray[np.float64]) -> Box:
    (x0, y0), (x1, y1) = points_px[0], points_px[1]
    return float(x0), float(y0), float(x1), float(y1)


def _distinct(detections: list[Detection]) -> tuple[Detection, ...]:
    """The best of each group of overlapping detections; a face cut by a view's edge is not blended into a whole one."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if all(overlap(detection.box_px, other.box_px) < _MIN_OVERLAP for other in kept):
            kept.append(detection)
    return tuple(kept)


def _levels(width_px: int, height_px: int) -> Iterator[tuple[_View, ...]]:
    """Views from coarse to fine: the whole image, the whole image with a border, then tiles that overlap by half."""
    long_px = max(width_px, height_px)
    yield (_centred_view(width_px, height_px, long_px),)
    yield (_centred_view(width_px, height_px, int(long_px * _PADDED_VIEW)),)
    side_px = long_px
    for _ in range(1, _MAX_LEVELS):
        if side_px <= _FINEST_VIEW_PX:
            return
        side_px = math.ceil(side_px / 2)
        yield tuple(
            _View(x0_px, y0_px, side_px)
            for y0_px in _tile_starts(height_px, side_px)
            for x0_px in _tile_starts(width_px, side_px)
        )


def _centred_view(width_px: int, height_px: int, side_px: int) -> _View:
    return _View((width_px - side_px) // 2, (height_px - side_px) // 2, side_px)


def _tile_starts(length_px: int, side_px: int) -> list[int]:
    if length_px <= side_px:
        return [(length_px - side_px) // 2]
    n_steps = math.ceil((length_px - side_px) / (side_px / 2))
    return [round(step * (length_px - side_px) / n_steps) for step in range(n_steps + 1)]


def _view_pixels(pixels: NDArray[np.uint8], view: _View) -> NDArray[np.uint8]:
    """The view at the network's size, black where it reaches beyond the image."""
    height_px, width_px = pixels.shape[:2]
    scale = INPUT_SIDE_PX / view.side_px
    x0, x1 = max(view.x0_px, 0), min(view.x0_px + view.side_px, width_px)
    y0, y1 = max(view.y0_px, 0), min(view.y0_px + view.side_px, height_px)
    left, top = round((x0 - view.x0_px) * scale), round((y0 - view.y0_px) * scale)
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((INPUT_SIDE_PX, INPUT_SIDE_PX, 3), np.uint8)
    visible = cv2.resize(pixels[y0:y1, x0:x1], (width, height), interpolation=interpolation)
    part = canvas[top : top + height, left : left + width]
    part[:] = visible[: part.shape[0], : part.shape[1]]
    return canvas
