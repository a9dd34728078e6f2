"""Requests of a whole plan, cut from the input's tables and its sound.

Belongs here: slicing phonemes, features and sound to what each chunk may look at; the keys of a chain.
Does not belong here: the request's own rules and hash (request), where chunks start and stop (plan).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from s2v_pipeline.chunks.plan import ChunkPlan, chunk_seed
from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, ChunkRequest, FileRef
from s2v_pipeline.chunks.speech_window import cut_window, rounded_level_rms
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import frame_start_s


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
    with_tables: bool = True,
    sound: Waveform | None = None,
    chained: bool = False,
) -> tuple[ChunkRequest, ...]:
    """One request a chunk, each with `context_s` seconds of phonemes, features and sound on both sides.

    A chunk sees nothing beyond its context and its segment, so an edit there leaves its key, and thus the chunk, as it
    is.

    Args:
        video: what is the same for all of them.
        plan: which frames each one makes.
        phonemes, features: of the whole speech.
        context_s: how far a chunk looks beyond its frames.
        with_tables: whether the generator takes phonemes and features; where not, it is given none, and what is derived
            from them is zero.
        sound: the whole speech, where the generator listens to it.
        chained: whether the generator needs to know which chunk no other one continues.

    Raises:
        ValueError: the features do not have exactly one row a frame of the plan.
    """
    if len(features) != plan.n_frames or features["frame"].tolist() != list(range(plan.n_frames)):
        raise ValueError(f"features must have one row a frame, 0 to {plan.n_frames - 1}; got {len(features)} rows")
    # Exact seconds, rounded up to whole frames: the feature context is never shorter than the phoneme context.
    context_exact_s = Fraction(repr(context_s))
    context_frames = -int(-(context_exact_s * video.fps) // 1)
    # Without rows, tables have no share in the requests.
    n_phonemes, n_features = (len(phonemes), len(features)) if with_tables else (0, 0)
    phoneme_table = phonemes.loc[:, list(PHONEME_COLUMNS)].head(n_phonemes)
    feature_table = features.loc[:, list(FEATURE_COLUMNS)].head(n_features)
    level_rms = rounded_level_rms(sound) if sound is not None else 0.0

    requests: list[ChunkRequest] = []
    position = 0  # in the segment
    for index, frames in enumerate(plan.chunks):
        segment = plan.segment_of(frames)
        inner_start = segment.start_frame or None
        inner_stop = segment.stop_frame if segment.stop_frame < plan.n_frames else None
        position = 0 if frames.start_frame == segment.start_frame else position + 1
        from_s = float(frame_start_s(frames.start_frame, video.fps) - context_exact_s)
        until_s = float(frame_start_s(frames.stop_frame, video.fps) + context_exact_s)
        # The ends of the video limit nothing: its last frame may end before the last phoneme does.
        if inner_start is not None:
            from_s = max(from_s, float(frame_start_s(inner_start, video.fps)))
        if inner_stop is not None:
            until_s = min(until_s, float(frame_start_s(inner_stop, video.fps)))
        touches = (phoneme_table["end_s"] > from_s) & (phoneme_table["start_s"] < until_s)
        seen = frames.widened(context_frames, within=segment)
        requests.append(
            ChunkRequest(
                input_id=video.input_id,
                index=index,
                frames=frames,
                fps=video.fps,
                width_px=video.width_px,
                height_px=video.height_px,
                seed=chunk_seed(video.input_seed, position, segment.start_frame),
                input_seed=video.input_seed,
                prompt=video.prompt,
                portrait=video.portrait,
                phonemes=phoneme_table[touches].reset_index(drop=True),
                features=feature_table.iloc[seen.start_frame : seen.stop_frame].reset_index(drop=True),
                speech_level_db=video.speech_level_db if with_tables else 0,
                median_f0_hz=video.median_f0_hz if with_tables else 0,
                sound=None
                if sound is None
                else cut_window(
                    sound,
                    frames,
                    video.fps,
                    context_s=context_exact_s,
                    level_rms=level_rms,
                    from_frame=segment.start_frame,
                    until_frame=inner_stop,
                ),
                is_last=chained and frames.stop_frame == segment.stop_frame,
                segment_start_frame=segment.start_frame,
            )
        )
    return tuple(requests)


def chain_keys(requests: Sequence[ChunkRequest], fingerprint: str) -> tuple[str, ...]:
    """Keys of chained chunks, each of which depends on the one before it in its segment; known in advance."""
    keys: list[str] = []
    for request in requests:
        keys.append(request.key(fingerprint, keys[-1] if keys and request.continues else ""))
    return tuple(keys)


def keys_before(requests: Sequence[ChunkRequest], fingerprint: str) -> tuple[str, ...]:
    """For each of a chain's chunks the key of the one that it continues; "" where it continues none."""
    keys = ("", *chain_keys(requests, fingerprint)[:-1])
    return tuple(key if request.continues else "" for key, request in zip(keys, requests, strict=True))
