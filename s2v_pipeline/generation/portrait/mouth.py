"""The mouth over time: jaw, lips, tongue, and the portrait's smile giving way to speech.

Belongs here: blending visemes, closures that must be seen, the lips at rest.
Does not belong here: the visemes' numbers (visemes), drawing a mouth (renderer).

Jaw, width and pucker are weighted means of the targets of all phones near by (Cohen and Massaro 1993; see visemes).
Dominance is a polynomial that ends, where theirs falls exponentially: a chunk must not depend on phones that it cannot
see. Lips meeting, lip under teeth and tongue at teeth are contacts: they happen or they do not, so they are gestures of
their own and not part of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from s2v_pipeline.generation.portrait.speech_events import Pause, Speech, SpokenPhone
from s2v_pipeline.generation.portrait.style import MotionStyle
from s2v_pipeline.generation.portrait.timegrid import Gesture, TimeGrid, Track, limit_speed, smooth, steps
from s2v_pipeline.generation.portrait.visemes import VISEMES, Pull, Segment, Viseme, segments_of

LEAD_S = 0.0
"""How much the mouth is ahead of the sound, on purpose. Viewers accept early lips more readily than late ones (ITU-R
BT.1359: sound is noticed 45 ms early, but late only from 125 ms on), but blending already starts each shape before its
phone: measured on rendered readings, lips are 0 to 10 ms early without any lead."""

# How far a phone's pull reaches beyond its core. Rounding is prepared earliest (F. Bell-Berti and K. Harris, "Temporal
# patterns of coarticulation: lip rounding", JASA 71, 1982).
JAW_REACH_S = 0.08
WIDTH_REACH_S = 0.12
PUCKER_REACH_S = 0.16
# How steeply a pull falls on the way. The jaw serves nearly one phone at a time; its faint far end only bridges short
# pauses inside a phrase.
JAW_POWER, LIPS_POWER = 10, 3
# A phone's pull is full in its core, which starts and ends inside it by this share of its length; in long phones by no
# more than so many seconds, or two long neighbours would both let go before they meet.
CORE_INSET_SHARE, CORE_INSET_MOST_S = 0.4, 0.035

REST_PULL = 1e-6  # faint pull to the closed mouth: decides only where nothing else pulls
PAUSE_DOMINANCE = 1.2
PAUSE_FULL_S = 0.30  # in shorter pauses the jaw stays half open, ready for the next word
PAUSE_CORE_AFTER_S = 0.08  # the jaw comes to rest this much after the last phone
PAUSE_CORE_BEFORE_S = 0.07  # and leaves it this much before the next

LIPS_MOST_PER_S = 14.0
JAW_MOST_PER_S = 7.0
"""Ranges a second. A jaw has a highest speed and acceleration (W. Nelson, J. Perkell, J. Westbury, "Mandible movements
during increasingly rapid articulations of single syllables", JASA 75, 1984), and a lower lip is faster than the jaw
that carries it (P. Birkholz, P. Hoole, "Intrinsic velocity differences of lip and jaw movements", Interspeech 2012).
The numbers are ours: for a range of 18 mm about 125 mm/s for the chin and twice that for the lip."""
LIPS_SPEED_WINDOW_S = 1.0 / LIPS_MOST_PER_S  # within it the limit is exact for a range of 1
JAW_SPEED_WINDOW_S = 1.0 / JAW_MOST_PER_S
SMOOTHING_S = 0.015  # half width; takes the corners off, which muscles cannot make
OPENING_SMOOTHING_S = 0.030  # short vowels do not reach their targets (B. Lindblom, JASA 35, 1963)
JAW_SMOOTHING_S = 0.035  # a chin is heavier than a lip

LOUDNESS_SLOPE_PER_DB = 1.0 / 60.0  # louder speech opens the mouth more: 10 dB change the opening by a sixth
LOUDNESS_GAIN = (0.65, 1.2)
LOUDNESS_SMOOTHING_S = 0.3  # half width: of a phrase, because how open each phone is is known already

# Lips are near their highest speed when they meet, because they aim beyond each other (A. Löfqvist and V. Gracco, "Lip
# and jaw kinematics in bilabial stop consonant production", JSLHR 40, 1997). So a contact's gesture goes on to
# `BEYOND_CONTACT` of the way, and contact is made before its end. Lengths and the share are ours.
CLOSING_S, PARTING_S = 0.065, 0.060
BEYOND_CONTACT = 1.5
CONTACT_AT_SHARE = 0.614  # of the time: there 3 u^2 - 2 u^3 has just passed 1 / BEYOND_CONTACT
CONTACT_LATE_S = 0.005
TONGUE_MOVES_S = 0.05

# Lips come together softly after the last phone and part shortly before the next.
REST_DELAY_S, REST_CLOSING_S = 0.05, 0.20
REST_PARTS_BEFORE_S, REST_PARTED_BEFORE_S = 0.15, 0.0

# A smile comes back slowly when speech has ended for good: between two sentences lips keep still. It leaves with the
# next word.
SMILE_DELAY_S, SMILE_RETURN_S = 1.0, 0.85
SMILE_LEAVES_BEFORE_S, SMILE_LEFT_AFTER_S = 0.42, 0.15

REACH_S = 1.9
"""Nothing here looks farther than this: the smile's return, with room for the grids' margins."""


@dataclass(frozen=True)
class Contact:
    """A moment that a viewer must see: the frame nearest to `time_s` shows at least `value` in `column`."""

    column: str
    time_s: float
    value: float


@dataclass(frozen=True, eq=False)
class MouthTracks:
    """The mouth's columns on a grid, and the contacts that a frame may not miss."""

    columns: dict[str, Track]
    contacts: tuple[Contact, ...]


def mouth_tracks(speech: Speech, grid: TimeGrid, style: MotionStyle) -> MouthTracks:
    """The mouth's coefficients on `grid`, by name. `LEAD_S` is applied by who samples them."""
    segments = [segment for phone in speech.phones for segment in segments_of(phone.name, phone.start_s, phone.end_s)]
    opening, jaw = _opening(speech, segments, grid, style)
    columns = {
        "jaw_open": jaw,
        "lips_apart": opening - jaw,
        "lip_width": _lip_track(speech, segments, grid, "width"),
        "lip_pucker": _lip_track(speech, segments, grid, "pucker"),
        "lips_closed": np.zeros(grid.n_steps),
        "lip_press": np.zeros(grid.n_steps),
        "lip_tuck": np.zeros(grid.n_steps),
        "tongue_tip": np.zeros(grid.n_steps),
        "smile_relax": np.full(grid.n_steps, style.smile_talking_relax),
    }
    times_s = grid.times_s
    for phone, following in zip_longest(speech.phones, speech.phones[1:]):
        for column, gesture, value in _contact_gestures(phone, following):
            _raise_to(columns[column], grid, times_s, gesture, value)
    for pause in speech.pauses:
        _raise_to(columns["lips_closed"], grid, times_s, _rest(pause), 1.0)
        where, back = _smile_returns(pause).on(grid, times_s)
        columns["smile_relax"][where] -= (style.smile_talking_relax - style.smile_resting_relax) * back
    return MouthTracks(columns, _contacts(speech.phones))


def _opening(speech: Speech, segments: list[Segment], grid: TimeGrid, style: MotionStyle) -> tuple[Track, Track]:
    """How far the lips are open, and how far the slower jaw that carries them is."""
    lips = (steps(LIPS_SPEED_WINDOW_S), steps(OPENING_SMOOTHING_S))
    jaw = (steps(JAW_SPEED_WINDOW_S), steps(JAW_SMOOTHING_S))
    wide = grid.widened(sum(lips) + sum(jaw))
    gain = style.mouth * _loudness_gain(speech, wide)

    def moved_by_lips(pulls: list[tuple[Segment, Pull]]) -> Track:
        wanted = np.minimum(gain * _blend(speech.pauses, pulls, wide, JAW_REACH_S, JAW_POWER), 1.0)
        return smooth(limit_speed(wanted, LIPS_MOST_PER_S, lips[0]), lips[1])

    opening = moved_by_lips([(segment, segment.viseme.opening) for segment in segments])
    carried = moved_by_lips([(segment, segment.viseme.jaw) for segment in segments])
    jaw_track = smooth(limit_speed(carried, JAW_MOST_PER_S, jaw[0]), jaw[1])
    return opening[sum(jaw) : sum(jaw) + grid.n_steps], jaw_track


def _lip_track(speech: Speech, segments: list[Segment], grid: TimeGrid, articulator: str) -> Track:
    smoothing = steps(SMOOTHING_S)
    is_width = articulator == "width"
    pulls = [(segment, segment.viseme.width if is_width else segment.viseme.pucker) for segment in segments]
    reach_s = WIDTH_REACH_S if is_width else PUCKER_REACH_S
    return smooth(_blend(speech.pauses, pulls, grid.widened(smoothing), reach_s, LIPS_POWER), smoothing)


def _blend(
    pauses: tuple[Pause, ...], pulls: list[tuple[Segment, Pull]], grid: TimeGrid, reach_s: float, power: int
) -> Track:
    """Mean of the targets, each weighted by its dominance at that moment; 0 in silence."""
    times_s = grid.times_s
    weighted = np.zeros(grid.n_steps)
    weight = np.full(grid.n_steps, REST_PULL)
    for segment, pull in pulls:
        inset_s = min(CORE_INSET_SHARE * (segment.end_s - segment.start_s), CORE_INSET_MOST_S)
        core = (segment.start_s + inset_s, segment.end_s - inset_s)
        where, share = _dominance(grid, times_s, core, reach_s, power)
        share *= pull.dominance
        weighted[where] += share * pull.target
        weight[where] += share
    for pause in pauses:
        # The target of silence is 0: it adds weight and nothing else.
        where, share = _dominance(grid, times_s, _pause_core(pause), reach_s, power)
        weight[where] += share * (PAUSE_DOMINANCE * _pause_share(pause))
    blended: Track = weighted / weight
    return blended


def _dominance(
    grid: TimeGrid, times_s: Track, core: tuple[float, float], reach_s: float, power: int
) -> tuple[slice, Track]:
    """1 inside the core, falling as (1 - d^2)^power to 0 at `reach_s` from it."""
    where = grid.between(core[0] - reach_s, core[1] + reach_s)
    near_s = times_s[where]
    distance = np.maximum(np.maximum(core[0] - near_s, near_s - core[1]), 0.0) / reach_s
    left = np.maximum(1.0 - distance * distance, 0.0)
    share = left.copy()
    for _ in range(power - 1):
        share *= left
    return where, share


def _pause_core(pause: Pause) -> tuple[float, float]:
    start_s, end_s = pause.start_s + PAUSE_CORE_AFTER_S, pause.end_s - PAUSE_CORE_BEFORE_S
    if start_s <= end_s:
        return start_s, end_s
    middle_s = (pause.start_s + pause.end_s) / 2.0
    return middle_s, middle_s


def _pause_share(pause: Pause) -> float:
    u = min(1.0, (pause.end_s - pause.start_s) / PAUSE_FULL_S)
    return u * u * u


def _loudness_gain(speech: Speech, grid: TimeGrid) -> Track:
    margin = steps(LOUDNESS_SMOOTHING_S)
    level_db = smooth(speech.features.level_at(grid.widened(margin).times_s), margin)
    least, most = LOUDNESS_GAIN
    gain: Track = np.minimum(np.maximum(1.0 + (level_db - speech.level_db) * LOUDNESS_SLOPE_PER_DB, least), most)
    return gain


def _contact_gestures(phone: SpokenPhone, following: SpokenPhone | None) -> list[tuple[str, Gesture, float]]:
    """(column, gesture, value at its top) of a phone that touches something; none for vowels."""
    viseme = VISEMES.get(phone.name)
    gestures: list[tuple[str, Gesture, float]] = []
    if viseme is None:
        return gestures
    start_s, end_s = phone.start_s, phone.end_s
    if viseme.closes:
        gestures.append(("lips_closed", _closure(phone, viseme, following), 1.0))
        middle_s = (start_s + _release_s(phone, viseme)) / 2.0
        press = Gesture(start_s - CONTACT_LATE_S, middle_s, middle_s, _release_s(phone, viseme) + CONTACT_LATE_S)
        gestures.append(("lip_press", press, viseme.press))
    if viseme.tuck:
        contact_s = start_s + CONTACT_LATE_S
        gestures.append(("lip_tuck", _contact(contact_s, max(contact_s, end_s - CONTACT_LATE_S)), viseme.tuck))
    if viseme.tongue:
        contact_s = start_s + CONTACT_LATE_S
        tongue = Gesture(contact_s - TONGUE_MOVES_S, contact_s, max(contact_s, end_s), end_s + TONGUE_MOVES_S)
        gestures.append(("tongue_tip", tongue, viseme.tongue))
    return gestures


def _release_s(phone: SpokenPhone, viseme: Viseme) -> float:
    return phone.start_s + viseme.release_share * phone.length_s


def _closure(phone: SpokenPhone, viseme: Viseme, following: SpokenPhone | None = None) -> Gesture:
    contact_s = phone.start_s + CONTACT_LATE_S
    release_s = max(contact_s, _release_s(phone, viseme))
    if following is not None and following.name in VISEMES and VISEMES[following.name].closes:
        # Two closures in a row ("stop by") are made without parting the lips between them.
        next_contact_s = following.start_s + CONTACT_LATE_S
        release_s = next_contact_s if next_contact_s - phone.end_s < CLOSING_S else release_s
    return _contact(contact_s, release_s)


def _contact(contact_s: float, release_s: float) -> Gesture:
    """A movement beyond contact, for `_touch`: it is 1 / BEYOND_CONTACT at both times."""
    early, late = CONTACT_AT_SHARE, 1.0 - CONTACT_AT_SHARE
    return Gesture(
        contact_s - early * CLOSING_S,
        contact_s + late * CLOSING_S,
        release_s - late * PARTING_S,
        release_s + early * PARTING_S,
    )


def _rest(pause: Pause) -> Gesture:
    """Closed lips in a pause; they simply stay closed from or to a P, B or M beside it."""
    rise = (pause.start_s + REST_DELAY_S, pause.start_s + REST_DELAY_S + REST_CLOSING_S)
    fall = (pause.end_s - REST_PARTS_BEFORE_S, pause.end_s - REST_PARTED_BEFORE_S)
    if pause.before is not None and pause.before.name in VISEMES and VISEMES[pause.before.name].closes:
        closure = _closure(pause.before, VISEMES[pause.before.name])
        rise = (closure.rise_from_s, closure.rise_to_s)
    if pause.after is not None and pause.after.name in VISEMES and VISEMES[pause.after.name].closes:
        closure = _closure(pause.after, VISEMES[pause.after.name])
        fall = (closure.fall_from_s, closure.fall_to_s)
    return Gesture(*rise, *fall)


def _smile_returns(pause: Pause) -> Gesture:
    return Gesture(
        pause.start_s + SMILE_DELAY_S,
        pause.start_s + SMILE_DELAY_S + SMILE_RETURN_S,
        pause.end_s - SMILE_LEAVES_BEFORE_S,
        pause.end_s + SMILE_LEFT_AFTER_S,
    )


def _raise_to(track: Track, grid: TimeGrid, times_s: Track, gesture: Gesture, value: float) -> None:
    """Highest of the track and a gesture: two closures in a row are one long one, not twice as closed."""
    where, size = gesture.on(grid, times_s)
    track[where] = np.maximum(track[where], value * np.minimum(BEYOND_CONTACT * size, 1.0))


def _contacts(phones: tuple[SpokenPhone, ...]) -> tuple[Contact, ...]:
    contacts = []
    for phone in phones:
        viseme = VISEMES.get(phone.name)
        if viseme is None:
            continue
        # The middle of the phone, which the listener's eye goes by; stops are still closed then.
        for column, value in (
            ("lips_closed", 1.0 if viseme.closes else 0.0),
            ("lip_press", viseme.press),
            ("lip_tuck", viseme.tuck),
            ("tongue_tip", viseme.tongue),
        ):
            if value:
                contacts.append(Contact(column, phone.middle_s, value))
    return tuple(contacts)
