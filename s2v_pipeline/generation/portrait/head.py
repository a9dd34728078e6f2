"""Head pose and breath over time.

Belongs here: drift, nods and beats on accents, breathing, how lively a moment is.
Does not belong here: turning pixels (renderer), eyes.

Heads of speakers drift slowly and beat with the prosody: movement follows pitch and loudness (K. Munhall et al.,
"Visual prosody and speech intelligibility", Psychol. Sci. 15, 2004), with nods on accents (H. P. Graf et al., "Visual
prosody: facial movements accompanying speech", FG 2002). The amplitudes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2v_pipeline.generation.portrait.noise import Channel, uniform, uniforms, wander
from s2v_pipeline.generation.portrait.speech_events import Accent, Speech
from s2v_pipeline.generation.portrait.style import MotionStyle
from s2v_pipeline.generation.portrait.timegrid import Gesture, TimeGrid, Track, ease, limit_speed, smooth, steps


@dataclass(frozen=True)
class _Drift:
    """Two layers of noise of one axis: amplitudes in degrees, periods in seconds."""

    slow: Channel
    slow_deg: float
    slow_s: float
    fast: Channel
    fast_deg: float
    fast_s: float


# Periods have no small common multiple, so that the axes never fall into step.
_PITCH = _Drift(Channel.PITCH_SLOW, 2.8, 2.3, Channel.PITCH_FAST, 1.8, 0.83)
_YAW = _Drift(Channel.YAW_SLOW, 4.6, 2.7, Channel.YAW_FAST, 2.1, 0.97)
_ROLL = _Drift(Channel.ROLL_SLOW, 2.6, 3.1, Channel.ROLL_FAST, 1.3, 1.09)

START_EASE_S = 0.8  # the video starts with the portrait's own pose

NOD_CHANCE = 0.85
UP_NOD_CHANCE = 0.15  # of the nods go up instead
NOD_DEG = 2.6
UP_NOD_DEG = -1.4
BEAT_YAW_DEG, BEAT_ROLL_DEG = 1.2, 0.9
NOD_FROM_BEFORE_S, NOD_TOP_BEFORE_S, NOD_TOP_AFTER_S, NOD_UNTIL_AFTER_S = 0.20, -0.03, 0.06, 0.46

QUIET_LIVELINESS = 0.5  # of the drift, in long pauses
QUIET_DELAY_S, QUIET_COMES_S = 0.2, 0.8
QUIET_LEAVES_BEFORE_S, QUIET_LEFT_BEFORE_S = 0.6, 0.0

MOST_DEG_PER_S = 20.0  # of each axis
SPEED_WINDOW_S = 0.2
SMOOTHING_S = 0.04

# Quiet breathing is 12 to 18 breaths a minute; speakers breathe in quickly before a phrase and out while they speak
# (A. Winkworth et al., "Breathing patterns during spontaneous speech", JSHR 38, 1995).
BREATH_CELL_S = 4.1
BREATH_IN_SHARE = 0.4
BREATH_DEPTH = (0.45, 0.75)
INHALE_FROM_BEFORE_S, INHALE_FULL_BEFORE_S, EXHALE_FROM_AFTER_S, EXHALE_UNTIL_AFTER_S = 0.55, 0.05, 0.1, 1.0
INHALE_LEAST_PAUSE_S, INHALE_FULL_PAUSE_S = 0.15, 0.60
BREATH_PITCH_DEG = -0.5  # the chin rises with the chest

REACH_S = 1.9
"""Nothing here looks farther: breathing out until 1.0 s after a pause whose length counts up to 0.6 s, with the speed
window and smoothing."""


@dataclass(frozen=True, eq=False)
class HeadTracks:
    """Pose in degrees and breath on a grid."""

    pitch_deg: Track
    yaw_deg: Track
    roll_deg: Track
    breath: Track


def head_tracks(seed: int, speech: Speech, grid: TimeGrid, style: MotionStyle) -> HeadTracks:
    """Coefficients head_pitch_deg, head_yaw_deg, head_roll_deg and breath on a grid."""
    window, smoothing = steps(SPEED_WINDOW_S), steps(SMOOTHING_S)
    wide = grid.widened(window + smoothing)
    times_s = wide.times_s
    started = ease(times_s / START_EASE_S)
    share = liveliness(speech, wide) * started * style.head
    pitch_deg = _drift(seed, _PITCH, times_s) * share
    yaw_deg = _drift(seed, _YAW, times_s) * share
    roll_deg = _drift(seed, _ROLL, times_s) * share
    for accent in speech.accents:
        beat = _beat(seed, accent, style)
        where, size = _nod(accent).on(wide, times_s)
        size *= started[where]
        pitch_deg[where] += beat[0] * size
        yaw_deg[where] += beat[1] * size
        roll_deg[where] += beat[2] * size
    breath = _breath(seed, speech, wide)
    pitch_deg += BREATH_PITCH_DEG * breath * started
    trim = slice(window + smoothing, window + smoothing + grid.n_steps)
    slowed = [smooth(limit_speed(axis, MOST_DEG_PER_S, window), smoothing) for axis in (pitch_deg, yaw_deg, roll_deg)]
    return HeadTracks(slowed[0], slowed[1], slowed[2], breath[trim])


def liveliness(speech: Speech, grid: TimeGrid) -> Track:
    """1 while there is speech, less in long pauses."""
    times_s = grid.times_s
    lively = np.ones(grid.n_steps)
    for pause in speech.pauses:
        quiet = Gesture(
            pause.start_s + QUIET_DELAY_S,
            pause.start_s + QUIET_DELAY_S + QUIET_COMES_S,
            pause.end_s - QUIET_LEAVES_BEFORE_S,
            pause.end_s - QUIET_LEFT_BEFORE_S,
        )
        where, size = quiet.on(grid, times_s)
        lively[where] -= (1.0 - QUIET_LIVELINESS) * size
    return lively


def _drift(seed: int, drift: _Drift, times_s: Track) -> Track:
    slow = drift.slow_deg * wander(seed, drift.slow, times_s, drift.slow_s)
    return slow + drift.fast_deg * wander(seed, drift.fast, times_s, drift.fast_s)


def _nod(accent: Accent) -> Gesture:
    return Gesture(
        accent.time_s - NOD_FROM_BEFORE_S,
        accent.time_s - NOD_TOP_BEFORE_S,
        accent.time_s + NOD_TOP_AFTER_S,
        accent.time_s + NOD_UNTIL_AFTER_S,
    )


def _beat(seed: int, accent: Accent, style: MotionStyle) -> tuple[float, float, float]:
    """Degrees of pitch, yaw and roll at the top of an accent's movement; all 0 for accents that move nothing."""
    index = round(accent.time_s * 1000.0)  # milliseconds name an accent, whichever chunk sees it
    choice = uniform(seed, Channel.NOD_CHOICE, index)
    if choice >= NOD_CHANCE:
        return 0.0, 0.0, 0.0
    size = style.nods * accent.strength * (0.7 + 0.6 * uniform(seed, Channel.NOD_SIZE, index))
    pitch_deg = UP_NOD_DEG if choice < NOD_CHANCE * UP_NOD_CHANCE else NOD_DEG
    yaw_deg = BEAT_YAW_DEG * (2.0 * uniform(seed, Channel.NOD_YAW, index) - 1.0)
    roll_deg = BEAT_ROLL_DEG * (2.0 * uniform(seed, Channel.NOD_ROLL, index) - 1.0)
    return size * pitch_deg, size * yaw_deg, size * roll_deg


def _breath(seed: int, speech: Speech, grid: TimeGrid) -> Track:
    times_s = grid.times_s
    breath = _quiet_breath(seed, times_s)
    for pause in speech.pauses:
        if pause.after is None:
            continue
        length = (pause.end_s - pause.start_s - INHALE_LEAST_PAUSE_S) / (INHALE_FULL_PAUSE_S - INHALE_LEAST_PAUSE_S)
        depth = min(1.0, max(0.0, length))
        inhale = Gesture(
            pause.end_s - INHALE_FROM_BEFORE_S,
            pause.end_s - INHALE_FULL_BEFORE_S,
            pause.end_s + EXHALE_FROM_AFTER_S,
            pause.end_s + EXHALE_UNTIL_AFTER_S,
        )
        where, size = inhale.on(grid, times_s)
        breath[where] += (1.0 - breath[where]) * (depth * size)
    return np.clip(breath, 0.0, 1.0)


def _quiet_breath(seed: int, times_s: Track) -> Track:
    """In faster than out, each breath of its own depth, at zero between them."""
    position = times_s / BREATH_CELL_S + uniform(seed, Channel.BREATH_PHASE, 0)
    cell = np.floor(position)
    share = position - cell
    least, most = BREATH_DEPTH
    depth = least + (most - least) * uniforms(seed, Channel.BREATH_DEPTH, cell.astype(np.int64))
    rise = ease(share / BREATH_IN_SHARE)
    fall = ease((share - BREATH_IN_SHARE) / (1.0 - BREATH_IN_SHARE))
    return depth * (rise - fall)
