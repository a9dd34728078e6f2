"""Clips as they were made to clips as they are delivered: decoded, through the stages, encoded once more.

Belongs here: reading frames across clips, measuring joins, running the stages, cutting at chunks, what was found.
Does not belong here: which stages (finish_plan), joining the clips and the sound (mux).

All stages are one stream of frames: a few windows of frames are in memory, however long the video is. It is cut where
chunks start, so that what follows (joining by copying packets, HLS, DASH) is the same as without any stage.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.label import Stamp, stamped
from s2v_pipeline.errors import MediaError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan, frame_start_s
from s2v_pipeline.video.enhance.drift import DriftSample, worst_drift
from s2v_pipeline.video.enhance.stage import chained
from s2v_pipeline.video.finish_plan import PicturePlan, chunk_starts
from s2v_pipeline.video.frames import ShownFrame, iter_frames
from s2v_pipeline.video.joins import JoinReport, measure_joins

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedClips:
    """Clips to be delivered.

    Attributes:
        clips: in order, with `frame_counts` and `fps`.
        report: for generation_metadata.json; empty where nothing was asked for.
    """

    clips: tuple[Path, ...]
    frame_counts: tuple[int, ...]
    fps: Fraction
    report: dict[str, Any]


def frames_of_clips(clips: Sequence[Path], frame_counts: Sequence[int], fps: Fraction) -> Iterator[ShownFrame]:
    """Frames of clips one after another, numbered and timed from the video's first one; one frame is held at a time.

    Raises:
        MediaError: a clip that cannot be read, or of another number of frames.
    """
    start = 0
    for clip, n_frames in zip(clips, frame_counts, strict=True):
        n_read = 0
        for frame in iter_frames(clip):
            index = start + frame.index
            yield ShownFrame(index, frame_start_s(index, fps), frame.pixels)
            n_read += 1
        if n_read != n_frames:
            raise MediaError(
                f"{clip.name} must hold {n_frames} frames as planned",
                got=f"{n_read}",
                cure="Materialise rendered_clips for this partition again.",
            )
        start += n_frames


def finish_clips(
    clips: Sequence[Path],
    plan: PicturePlan,
    folder: Path,
    *,
    video: VideoSettings,
    encoder: str,
    stamp: Stamp | None = None,
    face_model: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FinishedClips:
    """The delivered clips: those given where no stage is on, else new ones in `folder`.

    Args:
        clips: of `clips.encode`, in order.
        plan: the stages and what they need.
        folder: an empty one, on a disk with room for the video.
        video: encoding of the delivered picture.
        encoder: FFmpeg's name of its encoder.
        stamp: the visible label, in the delivered size; laid over after all stages, which would blur it.
        face_model: another copy of the landmarker's model.
        on_progress: told (frames encoded, frames of the video).

    Raises:
        MediaError: clips that do not fit the plan, or a stage or the encoder that failed.
    """
    wanted = plan.enhance
    report: dict[str, Any] = {}
    # 1. joins, after the correction that they would be measured after
    jumps: tuple[int, ...] = ()
    if wanted.joins != "off":
        frames = chained(plan.before_joins(), frames_of_clips(clips, plan.frame_counts, plan.fps))
        joins = measure_joins(frames, plan.joins, landmarker=FaceLandmarker(face_model))
        jumps = tuple(join.frame for join in joins.jumps)
        report["joins"] = _joins_report(joins, softened=wanted.joins == "blend", fps=plan.fps)
    if not plan.changes_pictures:
        return FinishedClips(tuple(clips), plan.frame_counts, plan.fps, report)
    # 2. one stream of frames through all stages
    drift: list[DriftSample] = []
    stages = plan.stages(jumps, drift.append)
    pictures = chained(stages, frames_of_clips(clips, plan.frame_counts, plan.fps))
    # 3. cut where chunks start, encoded
    edges = [*chunk_starts(plan.frame_counts, plan.fps, plan.fps_out), plan.n_frames_out]
    # At a lower rate a chunk of one frame may have none of its own.
    spans = [FrameSpan(start, stop) for start, stop in pairwise(edges) if stop > start]
    width_px, height_px = plan.size_out
    made: list[Path] = []
    for number, span in enumerate(spans):
        path = folder / f"{number:05d}.mp4"
        encode_clip(
            stamped(_batches(islice(pictures, len(span)), plan.fps_out), stamp),
            path,
            frames=span,
            fps=plan.fps_out,
            width_px=width_px,
            height_px=height_px,
            settings=video,
            encoder=encoder,
        )
        made.append(path)
        if on_progress is not None:
            on_progress(span.stop_frame, plan.n_frames_out)
    if next(pictures, None) is not None:
        raise MediaError(
            f"the stages must give {plan.n_frames_out} frames", got="more", cure="Switch `enhance` settings off."
        )
    report["stages"] = [stage.name for stage in stages]
    report["settings"] = wanted.model_dump(mode="json", exclude_defaults=True)
    if drift:
        report["drift"] = _drift_report(drift)
    return FinishedClips(tuple(made), tuple(len(span) for span in spans), plan.fps_out, report)


def _batches(frames: Iterator[ShownFrame], fps: Fraction) -> Iterator[FrameBatch]:
    for frame in frames:
        yield FrameBatch(frame.pixels[None], fps, frame.index)


def _joins_report(found: JoinReport, *, softened: bool, fps: Fraction) -> dict[str, Any]:
    for join in found.jumps:
        done = "softened" if softened else "left as it is"
        _log.warning("the picture jumps where chunks meet, at %.2f s (%s): %s", join.frame / fps, join.summary, done)
    return {
        "pairs_compared_with": found.n_ordinary,
        "joins": [
            {
                "frame": join.frame,
                "values": {name: round(value, 3) for name, value in join.values.items()},
                "z": {name: round(value, 2) for name, value in join.z.items()},
                "jumps": list(join.beyond),
                "softened": softened and bool(join.beyond),
            }
            for join in found.joins
        ],
    }


def _drift_report(samples: Sequence[DriftSample]) -> dict[str, Any]:
    worst = worst_drift(samples)
    if worst is None:
        raise ValueError("drift of no frames")
    return {
        "median_levels": round(statistics.median(sample.levels for sample in samples), 3),
        "worst_levels": round(worst.levels, 3),
        "worst_frame": worst.index,
        "frames_limited": sum(sample.limited for sample in samples),
    }
