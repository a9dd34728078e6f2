"""Requests of a whole plan, cut from the input's tables.

Belongs here: slicing phonemes and features to what each chunk may look at.
Does not belong here: the request's own rules and hash (request), where chunks start and stop (plan).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from s2v_pipeline.chunks.plan import ChunkPlan, chunk_seed
from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, ChunkRequest, FileRef
from s2v_pipeline.timebase import FrameSpan, frame_start_s


@dataclass(frozen=True)
class VideoRequest:
    """What is the same for every chunk of one video; see `ChunkRequest` for the attributes."""

    input_id: str
    fps: Fraction
    width_px: int
    height_px: int
    input_seed: int
    prompt: str
    portrait: FileRef
    speech_level_db: int
    median_f0_hz: int


def build_requests(
    video: VideoRequest,
    plan: ChunkPlan,
    *,
    phonemes: pd.DataFrame,
    features: pd.DataFrame,
    context_s: float,
) -> tuple[ChunkRequest, ...]:
    """One request a chunk, each with `context_s` seconds of phonemes and features on both sides.

    A chunk sees nothing beyond its context, so an edit there leaves its key, and thus the chunk, as it is.

    Raises:
        ValueError: the features do not have exactly one row a frame of the plan.
    """
    if len(features) != plan.n_frames or features["frame"].tolist() != list(range(plan.n_frames)):
        raise ValueError(f"features must have one row a frame, 0 to {plan.n_frames - 1}; got {len(features)} rows")
    whole = FrameSpan(0, plan.n_frames)
    # Exact seconds, rounded up to whole frames: the feature context is never shorter than the phoneme context.
    context_exact_s = Fraction(repr(context_s))
    context_frames = -int(-(context_exact_s * video.fps) // 1)
    phoneme_table = phonemes.loc[:, list(PHONEME_COLUMNS)]
    feature_table = features.loc[:, list(FEATURE_COLUMNS)]

    requests = []
    for index, frames in enumerate(plan.chunks):
        from_s = float(frame_start_s(frames.start_frame, video.fps) - context_exact_s)
        until_s = float(frame_start_s(frames.stop_frame, video.fps) + context_exact_s)
        touches = (phoneme_table["end_s"] > from_s) & (phoneme_table["start_s"] < until_s)
        seen = frames.widened(context_frames, within=whole)
        requests.append(
            ChunkRequest(
                input_id=video.input_id,
                index=index,
                frames=frames,
                fps=video.fps,
                width_px=video.width_px,
                height_px=video.height_px,
                seed=chunk_seed(video.input_seed, index),
                input_seed=video.input_seed,
                prompt=video.prompt,
                portrait=video.portrait,
                phonemes=phoneme_table[touches].reset_index(drop=True),
                features=feature_table.iloc[seen.start_frame : seen.stop_frame].reset_index(drop=True),
                speech_level_db=video.speech_level_db,
                median_f0_hz=video.median_f0_hz,
            )
        )
    return tuple(requests)
