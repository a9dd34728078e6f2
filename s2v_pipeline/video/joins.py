"""Jumps where chunks join, measured against how the video itself moves from frame to frame.

Belongs here: the measures of every pair of frames, the verdict on each join, which chunks to make again.
Does not belong here: making them again (the graph), softening a jump (video.join_repair), cuts that somebody wants.

Each measure of a pair is compared with the same measure of the ordinary pairs, those inside chunks: a lively speaker's
joins may be lively. The comparison is a robust z-score of the measure's logarithm, as changes are spread over decades:
small during pauses, large in speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.faces.landmarker import Face, FaceLandmarker
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.enhance.flow import FlowMeter, pulled
from s2v_pipeline.video.frames import ShownFrame

MEASURES = ("colour", "movement", "shift", "residual", "face")
"""colour: change of the mean colour of a coarse block, median over the picture, in levels (0-255).
movement: 95th percentile of the optical flow, in thousandths of the picture's longer side.
shift: length of the median flow, in the same unit: what the whole picture moved, whatever moves in it.
residual: mean absolute difference that is left after following the flow, in levels.
face: mean distance that the head's own landmarks (brows, eyes, nose, oval) moved, in thousandths of the distance of the
outer eye corners; at joins and near them only, and only where a face is found."""

JUMP_LIMIT_Z = 4.0
"""Robust z-score beyond which a pair is a jump. Of the ordinary pairs of the portrait generator (three to six seconds
at 16, 25 and 50 frames a second) the largest is 3.1. Two levels of colour put into those sequences score 12 or more.

Displacement is judged less sharply, as a lively head moves as much by itself: 3 px of 512 score 3 to 7 on the face, and
where they fall on a moment of quick movement they are not found.
"""

LEAST_JUMP = {"colour": 1.0, "movement": 4.0, "shift": 2.0, "residual": 1.5, "face": 15.0}
"""What a pair must also exceed, however still the video is otherwise: a level of colour, the step of 8 bits; 2 px of
512, and 1 px where all of the picture moves; a little more than the residual of lively speech; a hundredth and a half
of the distance of the eye corners.
"""

_FLOOR = {
    "colour": 0.1,
    "movement": 0.5,
    "shift": 0.5,
    "residual": 0.2,
    "face": 2.0,
}  # added before the logarithm: what noise makes
_SIDE_PX = 256
_COARSE_PX = 24
_LEAST_SPREAD = 0.25  # of the logarithm: a video that moves evenly must not make a quarter more than usual a jump
_FACE_REACH_FRAMES = 6  # pairs on either side of a join that tell how the head moves there
_EYE_CORNERS = (33, 263)
_HEAD = (10, 338, 297, 332, 284, 251, 109, 67, 103, 54, 21, 33, 133, 263, 362, 168, 6, 197, 70, 105, 107, 300, 334, 336)
"""Landmarks of MediaPipe's mesh that speech moves little: forehead, temples, eye corners, bridge of the nose, brows."""

Measures = dict[str, float]


@dataclass(frozen=True)
class Join:
    """One join of two chunks.

    Attributes:
        frame: the first frame of the later chunk.
        values: each measure of the pair (frame - 1, frame).
        z: how far each lies above the ordinary, in robust standard deviations.
    """

    frame: int
    values: Measures
    z: Measures

    @property
    def beyond(self) -> tuple[str, ...]:
        """Measures beyond both limits."""
        return tuple(name for name in self.z if self.z[name] > JUMP_LIMIT_Z and self.values[name] > LEAST_JUMP[name])

    @property
    def summary(self) -> str:
        """The measures as one line."""
        return ", ".join(f"{name} {self.values[name]:.2f} (z {self.z[name]:.1f})" for name in self.z)


@dataclass(frozen=True)
class JoinReport:
    """All joins of one video.

    Attributes:
        joins: in order.
        n_ordinary: pairs inside chunks that they were compared with.
        ordinary_worst_z: the largest z of an ordinary pair, of each measure: how quiet the measure is.
    """

    joins: tuple[Join, ...]
    n_ordinary: int
    ordinary_worst_z: Measures

    @property
    def jumps(self) -> tuple[Join, ...]:
        """Joins beyond the limits."""
        return tuple(join for join in self.joins if join.beyond)

    @property
    def passed(self) -> bool:
        """No join jumps."""
        return not self.jumps


def measure_joins(
    frames: Iterable[ShownFrame], joins: Sequence[int], *, landmarker: FaceLandmarker | None = None
) -> JoinReport:
    """Measure every pair of frames and judge the joins; two frames are held at a time, and a few numbers of each pair.

    Args:
        frames: the video from frame 0 on.
        joins: first frame of each chunk but the first, ascending.
        landmarker: to measure the face; None leaves that measure out.

    Raises:
        MediaError: a join outside the video.
    """
    wanted = set(joins)
    near = {join + step for join in joins for step in range(-_FACE_REACH_FRAMES, _FACE_REACH_FRAMES + 1)}
    near_frames = near | {frame - 1 for frame in near}
    pairs: dict[int, Measures] = {}
    meter = FlowMeter()
    before: _Seen | None = None
    n_frames = 0
    for number, frame in enumerate(frames):
        face_wanted = landmarker is not None and number in near_frames
        seen = _Seen.of(frame.pixels, meter, landmarker if face_wanted else None)
        if before is not None:
            pairs[number] = _between(before, seen, meter, with_face=number in near)
        before = seen
        n_frames = number + 1
    if any(not 1 <= join < n_frames for join in joins) or list(joins) != sorted(wanted):
        raise MediaError(
            f"joins must ascend and lie inside a video of {n_frames} frames",
            got=f"{list(joins)}",
            cure="Give the first frames of the chunks after the first.",
        )
    ordinary = [pairs[number] for number in pairs if number not in wanted]
    scales = {name: _scale(name, [pair[name] for pair in ordinary if name in pair]) for name in MEASURES}
    judged = tuple(Join(join, pairs[join], _z_scores(pairs[join], scales)) for join in joins)
    worst = {name: max((_z_scores(pair, scales).get(name, 0.0) for pair in ordinary), default=0.0) for name in MEASURES}
    return JoinReport(judged, len(ordinary), worst)


def chunks_to_remake(
    report: JoinReport, chunks: Sequence[FrameSpan], *, chained: bool, tries_left: Sequence[int]
) -> tuple[int, ...]:
    """Indices of the chunks to make again with another seed, so that no join jumps.

    It is the later chunk of a join that is made again: a chained one starts from the earlier. A chained generator's
    later chunks then follow anew, as their keys hold the earlier ones' keys; they are listed too. A chunk without
    tries left is not listed (its join is for `join_repair.blended_joins`), nor, in a chain, what would follow it alone.

    Args:
        report: of the video of these chunks.
        chunks: their frames, in order.
        chained: whether each chunk starts from the one before.
        tries_left: how often each chunk may still be made again.

    Raises:
        ValueError: a join that no chunk starts with, or other numbers of chunks and tries.
    """
    if len(chunks) != len(tries_left):
        raise ValueError(f"each chunk needs its tries; got {len(chunks)} chunks and {len(tries_left)} tries")
    starts = {span.start_frame: index for index, span in enumerate(chunks)}
    unknown = [join.frame for join in report.joins if join.frame not in starts]
    if unknown:
        raise ValueError(f"every join must be the start of a chunk; got {unknown}")
    jumping = [starts[join.frame] for join in report.jumps]
    again = [index for index in jumping if tries_left[index] > 0]
    if chained and again:
        return tuple(range(again[0], len(chunks)))
    return tuple(again)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is kept of a frame until the next one came."""

    small: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    face: Face | None

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], meter: FlowMeter, landmarker: FaceLandmarker | None) -> _Seen:
        scale = min(1.0, _SIDE_PX / max(pixels.shape[:2]))
        small = pixels
        if scale < 1:
            small = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        coarse = cv2.resize(small.astype(np.float32), (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA)
        faces = landmarker.find(pixels) if landmarker is not None else ()
        return cls(small, meter.gray(small), np.asarray(coarse, np.float32), faces[0] if faces else None)


def _between(one: _Seen, two: _Seen, meter: FlowMeter, *, with_face: bool) -> Measures:
    height_px, width_px, _ = one.small.shape
    flow = meter.between(two.gray, one.gray, (width_px, height_px))
    followed = pulled(one.small, flow)
    length_px = np.linalg.norm(flow, axis=2)
    values = {
        "colour": float(np.abs(np.median(two.coarse - one.coarse, axis=(0, 1))).max()),
        "movement": float(1000 * np.percentile(length_px, 95) / max(height_px, width_px)),
        "shift": float(1000 * np.linalg.norm(np.median(flow, axis=(0, 1))) / max(height_px, width_px)),
        "residual": float(cv2.absdiff(followed, two.small).mean()),
    }
    if with_face and one.face is not None and two.face is not None:
        values["face"] = _head_moved(one.face, two.face)
    return values


def _head_moved(one: Face, two: Face) -> float:
    before, after = one.landmarks_px[:, :2], two.landmarks_px[:, :2]
    unit_px = float(np.linalg.norm(before[_EYE_CORNERS[0]] - before[_EYE_CORNERS[1]]))
    return float(1000 * np.linalg.norm(after[list(_HEAD)] - before[list(_HEAD)], axis=1).mean() / unit_px)


def _scale(name: str, values: Sequence[float]) -> tuple[float, float] | None:
    """Median and robust standard deviation of the logarithm; None without values."""
    if not values:
        return None
    logs = np.log(np.array(values) + _FLOOR[name])
    middle = float(np.median(logs))
    return middle, max(_LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - middle))))


def _z_scores(pair: Measures, scales: dict[str, tuple[float, float] | None]) -> Measures:
    scores = {}
    for name, value in pair.items():
        scale = scales[name]
        if scale is not None:
            scores[name] = (float(np.log(value + _FLOOR[name])) - scale[0]) / scale[1]
    return scores


def joins_of(chunks: Sequence[FrameSpan]) -> tuple[int, ...]:
    """First frame of each chunk but the first.

    Raises:
        ValueError: chunks that do not follow each other.
    """
    if any(one.stop_frame != two.start_frame for one, two in pairwise(chunks)):
        raise ValueError("chunks must follow each other without a gap")
    return tuple(span.start_frame for span in chunks[1:])
