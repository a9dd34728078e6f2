"""Eyes and brows over time: blinks, looks, raised brows.

Belongs here: when and how they move.
Does not belong here: the head that carries them (head), drawing them (eyelids).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from s2v_pipeline.generation.portrait.noise import Channel, uniform, uniforms, wander
from s2v_pipeline.generation.portrait.speech_events import Pause, Speech
from s2v_pipeline.generation.portrait.style import MotionStyle
from s2v_pipeline.generation.portrait.timegrid import Gesture, TimeGrid, Track, ease

# One blink or none in each cell of time, at most one of them followed by a second one: 60 / 3.2 * 0.88 * 1.08 = 17.8 a
# minute. Adults in conversation blink 10.5 to 32.5 times a minute (M. J. Doughty, "Consideration of three types of
# spontaneous eyeblink activity", Optom. Vis. Sci. 78, 2001).
BLINK_CELL_S = 3.2
BLINK_CHANCE = 0.88
DOUBLE_CHANCE = 0.08
DOUBLE_AFTER_S = 0.42
BLINK_SPAN = (0.14, 0.86)  # part of a cell in which its blink may start: neighbours keep their distance

# Lids close faster than they open (L. Trutoiu et al., "Modeling and animating eye blinks", ACM TAP 8, 2011; closing
# about 100 ms: J. Stern, L. Walrath, R. Goldstein, "The endogenous eyeblink", Psychophysiology 21, 1984).
CLOSING_S = (0.080, 0.100)
CLOSED_S = 0.050
OPENING_S = (0.150, 0.200)

# Speakers blink at the ends of phrases and in pauses (T. Nakano, S. Kitazawa, "Eyeblink entrainment at breakpoints of
# speech", Exp. Brain Res. 205, 2010).
PAUSE_DRAWS_WITHIN_S = 0.45
PAUSE_THAT_DRAWS_S = 0.15
BLINK_AFTER_PHRASE_S = 0.03

# Fixations of one to two seconds and quick shifts between them; a shift of 10 degrees takes 43 ms, 2.2 ms a
# degree and 21 ms (R. H. S. Carpenter, "Movements of the Eyes", 2nd ed., 1988).
GAZE_CELL_S = 1.5
GAZE_SPAN = (0.1, 0.7)
SACCADE_S = 0.040
NEAR_GAZE = 0.10  # of the coefficient's range: between the eyes and the mouth of who looks back
AWAY_CHANCE, AWAY_GAZE = 0.10, 0.35

# Eyes stay on the camera while the head turns (vestibulo-ocular reflex). The renderer's full gaze moves the iris by
# 3.8 mm across and 2.2 mm down on a ball of 12 mm radius: 18 and 11 degrees.
FULL_GAZE_X_DEG, FULL_GAZE_Y_DEG = 18.0, 11.0
REFLEX_GAIN = 0.8  # the relief head turns the eyes less than a real one does

# Brows rise on pitch accents and come down slowly (C. Cave et al., "About the relationship between eyebrow movements
# and F0 variations", ICSLP 1996).
BROW_THRESHOLD = 0.6  # strength of an accent that moves them
BROW_RISE_BEFORE_S, BROW_UP_BEFORE_S, BROW_UP_AFTER_S, BROW_DOWN_AFTER_S = 0.20, 0.03, 0.08, 0.42
BROW_FROM_STRENGTH, BROW_FROM_PITCH = 0.25, 0.35
BROW_DRIFT, BROW_DRIFT_PERIOD_S = 0.08, 1.7

REACH_S = 1.75
"""Nothing here looks farther: a double blink's end (0.42 + 0.36 s) after a start that a pause drew (0.45 s) which lies
within 0.45 s more, and that pause's least length."""


@dataclass(frozen=True)
class Blink:
    """One closing of the lids, from `start_s` on."""

    start_s: float
    closing_s: float
    opening_s: float

    @property
    def closed_middle_s(self) -> float:
        """Middle of the time with the lids shut; the frame nearest to it shows them shut."""
        return self.start_s + self.closing_s + CLOSED_S / 2.0

    @property
    def gesture(self) -> Gesture:
        """The lids' way down and up."""
        shut_s = self.start_s + self.closing_s
        opens_s = shut_s + CLOSED_S
        return Gesture(self.start_s, shut_s, opens_s, opens_s + self.opening_s)


def blinks_between(
    seed: int, pauses: tuple[Pause, ...], from_s: float, until_s: float, style: MotionStyle
) -> tuple[Blink, ...]:
    """Every blink that may touch [from_s, until_s], by cell; blinks start at the audio's start at the earliest."""
    margin_s = REACH_S
    first = max(0, math.floor((from_s - margin_s) / BLINK_CELL_S))
    last = math.floor((until_s + margin_s) / BLINK_CELL_S)
    breaks = [pause.start_s for pause in pauses if pause.end_s - pause.start_s >= PAUSE_THAT_DRAWS_S]
    blinks = []
    for cell in range(first, last + 1):
        if uniform(seed, Channel.BLINK_SKIP, cell) >= BLINK_CHANCE * style.blinks:
            continue
        share = BLINK_SPAN[0] + (BLINK_SPAN[1] - BLINK_SPAN[0]) * uniform(seed, Channel.BLINK_TIME, cell)
        start_s = _drawn_to_break((cell + share) * BLINK_CELL_S, breaks)
        blink = _blink_at(start_s, uniform(seed, Channel.BLINK_LENGTH, cell))
        blinks.append(blink)
        if uniform(seed, Channel.BLINK_DOUBLE, cell) < DOUBLE_CHANCE:
            blinks.append(_blink_at(start_s + DOUBLE_AFTER_S, uniform(seed, Channel.BLINK_LENGTH, -1 - cell)))
    return tuple(blinks)


def blink_track(blinks: tuple[Blink, ...], grid: TimeGrid) -> Track:
    """Coefficient blink on a grid."""
    times_s = grid.times_s
    track = np.zeros(grid.n_steps)
    for blink in blinks:
        where, size = blink.gesture.on(grid, times_s)
        track[where] = np.maximum(track[where], size)
    return track


def gaze_tracks(seed: int, grid: TimeGrid, yaw_deg: Track, pitch_deg: Track, style: MotionStyle) -> tuple[Track, Track]:
    """Coefficients gaze_x and gaze_y on a grid, for a head that turns as given."""
    times_s = grid.times_s
    cell = np.floor(times_s / GAZE_CELL_S)
    index = cell.astype(np.int64)
    share = GAZE_SPAN[0] + (GAZE_SPAN[1] - GAZE_SPAN[0]) * uniforms(seed, Channel.GAZE_TIME, index)
    moved = ease((times_s - (cell + share) * GAZE_CELL_S) / SACCADE_S)
    tracks = []
    for channel, turned_deg, full_deg in (
        (Channel.GAZE_X, yaw_deg, FULL_GAZE_X_DEG),
        # Pitch looks down where it is positive, and so does gaze_y.
        (Channel.GAZE_Y, pitch_deg, FULL_GAZE_Y_DEG),
    ):
        before, after = _gaze_target(seed, channel, index - 1), _gaze_target(seed, channel, index)
        looks = style.gaze * (before + (after - before) * moved)
        tracks.append(np.clip(looks - turned_deg * (REFLEX_GAIN / full_deg), -1.0, 1.0))
    return tracks[0], tracks[1]


def brow_track(seed: int, speech: Speech, grid: TimeGrid, liveliness: Track, style: MotionStyle) -> Track:
    """Coefficient brow_raise on a grid; `liveliness` is less in long pauses."""
    times_s = grid.times_s
    raised = np.zeros(grid.n_steps)
    for accent in speech.accents:
        if accent.strength < BROW_THRESHOLD:
            continue
        gesture = Gesture(
            accent.time_s - BROW_RISE_BEFORE_S,
            accent.time_s - BROW_UP_BEFORE_S,
            accent.time_s + BROW_UP_AFTER_S,
            accent.time_s + BROW_DOWN_AFTER_S,
        )
        where, size = gesture.on(grid, times_s)
        height = BROW_FROM_STRENGTH * accent.strength + BROW_FROM_PITCH * accent.pitch_rise
        raised[where] = np.maximum(raised[where], height * size)
    drift = BROW_DRIFT * wander(seed, Channel.BROW_DRIFT, times_s, BROW_DRIFT_PERIOD_S) * liveliness
    return np.clip(style.brows * (raised + drift), -1.0, 1.0)


def _gaze_target(seed: int, channel: Channel, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Track:
    away = uniforms(seed, Channel.GAZE_AWAY, index) < AWAY_CHANCE
    return (2.0 * uniforms(seed, channel, index) - 1.0) * np.where(away, AWAY_GAZE, NEAR_GAZE)


def _drawn_to_break(planned_s: float, breaks: list[float]) -> float:
    """The end of the nearest phrase, where one is near enough."""
    nearest_s = planned_s
    least_s = PAUSE_DRAWS_WITHIN_S
    for break_s in breaks:
        distance_s = abs(break_s - planned_s)
        if distance_s < least_s:
            least_s = distance_s
            nearest_s = break_s + BLINK_AFTER_PHRASE_S
    return nearest_s


def _blink_at(start_s: float, length: float) -> Blink:
    closing_s = CLOSING_S[0] + (CLOSING_S[1] - CLOSING_S[0]) * length
    opening_s = OPENING_S[0] + (OPENING_S[1] - OPENING_S[0]) * length
    return Blink(start_s, closing_s, opening_s)
