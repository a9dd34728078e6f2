"""From a chunk's request to its face motion.

Belongs here: putting the parts together, reading them at frames, what a chunk needs to see.
Does not belong here: any part's own rules (mouth, eyes, head), drawing (renderer).

A frame's row depends on its time, the input's seed, the prompt, and the phonemes and features within `CONTEXT_S`: never
on where its chunk starts or ends. Rows are equal to the last bit however a video is cut.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENTS, FaceMotion
from s2v_pipeline.generation.portrait.eyes import blink_track, blinks_between, brow_track, gaze_tracks
from s2v_pipeline.generation.portrait.head import head_tracks, liveliness
from s2v_pipeline.generation.portrait.mouth import LEAD_S, mouth_tracks
from s2v_pipeline.generation.portrait.speech_events import read_speech
from s2v_pipeline.generation.portrait.style import style_from_prompt
from s2v_pipeline.generation.portrait.timegrid import Track, frame_positions, grid_around, sample

CONTEXT_S = 2.0
"""Seconds of phonemes and features that a request must hold on both sides of its frames, as far as the input has them.
Rows that are missing within it can only lie outside the video. More than any `REACH_S` of the parts."""


def make_motion(request: ChunkRequest) -> FaceMotion:
    """Coefficients of the request's frames: the state at each frame's middle, the mouth `LEAD_S` ahead.

    Pure; the same row for a frame in whatever chunk it is made, if the request holds `CONTEXT_S` of context.

    Raises:
        GenerationError: phonemes or features that do not fit the request.
    """
    style = style_from_prompt(request.prompt)
    speech = read_speech(request)
    seed = request.input_seed
    columns: dict[str, Track] = {}

    positions = frame_positions(request.frames, request.fps, LEAD_S)
    grid = grid_around(positions)
    mouth = mouth_tracks(speech, grid, style)
    for name, track in mouth.columns.items():
        columns[name] = sample(grid, track, positions)
    for contact in mouth.contacts:
        _show(columns[contact.column], request, contact.time_s, contact.value)

    positions = frame_positions(request.frames, request.fps)
    grid = grid_around(positions)
    times_s = grid.times_s
    head = head_tracks(seed, speech, grid, style)
    blinks = blinks_between(seed, speech.pauses, float(times_s[0]), float(times_s[-1]), style)
    gaze_x, gaze_y = gaze_tracks(seed, grid, head.yaw_deg, head.pitch_deg, style)
    for name, track in (
        ("blink", blink_track(blinks, grid)),
        ("brow_raise", brow_track(seed, speech, grid, liveliness(speech, grid), style)),
        ("gaze_x", gaze_x),
        ("gaze_y", gaze_y),
        ("head_pitch_deg", head.pitch_deg),
        ("head_yaw_deg", head.yaw_deg),
        ("head_roll_deg", head.roll_deg),
        ("breath", head.breath),
    ):
        columns[name] = sample(grid, track, positions)
    for blink in blinks:
        _show(columns["blink"], request, blink.closed_middle_s, 1.0)

    return FaceMotion(request.frames, _table(columns))


def _show(column: Track, request: ChunkRequest, time_s: float, value: float) -> None:
    """Let the frame on screen at a time show at least a value: something short must not fall between two middles."""
    index = math.floor(time_s * float(request.fps)) - request.frames.start_frame
    if 0 <= index < column.size:
        column[index] = max(float(column[index]), value)


def _table(columns: dict[str, Track]) -> NDArray[np.float32]:
    values = [np.clip(columns[coefficient.name], coefficient.least, coefficient.most) for coefficient in COEFFICIENTS]
    return np.stack(values, axis=1).astype(np.float32)
