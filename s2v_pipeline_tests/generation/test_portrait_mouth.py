"""The mouth: contacts that must be seen at any frame rate, shapes, rest, speed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from s2v_pipeline.alignment.phonemes import ARPABET, PHONE_OPENNESS, VOWELS
from s2v_pipeline.generation.portrait.coefficients import FaceMotion
from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline.generation.portrait.mouth import JAW_MOST_PER_S, LEAD_S
from s2v_pipeline.generation.portrait.visemes import DIPHTHONGS, PHONES, VISEMES, VOWEL_PHONES, segments_of
from s2v_pipeline_tests.generation.portrait_speech import (
    READING,
    PhoneRow,
    features_for,
    frames_until,
    middles_s,
    phones_in_a_row,
    requests_for,
)

FRAME_RATES = (Fraction(16), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60))
MOUTH = ("jaw_open", "lips_apart", "lips_closed", "lip_press", "lip_width", "lip_pucker", "lip_tuck", "tongue_tip")

# Every contact, some shorter than a frame at 16 fps, two in a row, one before and one after a pause.
CONTACTS = phones_in_a_row(
    "M AA P AA B IY M B AA F AA V UW TH AA DH AA L AA T AA D AA N AA M _ _ _ _ _ _ P AA", phone_s=0.05
)


def _motion(phones: tuple[PhoneRow, ...], fps: Fraction = Fraction(25), *, prompt: str = "") -> FaceMotion:
    return make_motion(requests_for(phones, fps=fps, end_s=phones[-1][2] + 0.5, prompt=prompt)[0])


def _seen(motion: FaceMotion, column: str, start_s: float, end_s: float, fps: Fraction) -> float:
    """Highest value on screen while a phone sounds."""
    first, last = int(start_s * fps), int(end_s * fps)
    return float(motion.column(column)[first : last + 1].max())


@pytest.mark.parametrize("fps", FRAME_RATES, ids=str)
@pytest.mark.parametrize("phones", [CONTACTS, READING], ids=["contacts", "reading"])
def test_every_contact_is_seen(phones: tuple[PhoneRow, ...], fps: Fraction) -> None:
    motion = _motion(phones, fps)
    for name, start_s, end_s in phones:
        if name in ("P", "B", "M"):
            assert _seen(motion, "lips_closed", start_s, end_s, fps) == 1, (name, start_s)
            assert _seen(motion, "lip_press", start_s, end_s, fps) >= VISEMES[name].press - 1e-6, (name, start_s)
        elif name in ("F", "V"):
            assert _seen(motion, "lip_tuck", start_s, end_s, fps) >= 0.9, (name, start_s)
        elif name in ("TH", "DH", "L"):
            assert _seen(motion, "tongue_tip", start_s, end_s, fps) >= 0.9, (name, start_s)
        elif name in ("T", "D", "N"):
            assert _seen(motion, "tongue_tip", start_s, end_s, fps) >= 0.5, (name, start_s)


@pytest.mark.parametrize("offset_s", np.arange(0.0, 0.0625, 0.004).round(3).tolist())
def test_a_closure_of_20_ms_is_seen_wherever_it_falls_between_frames(offset_s: float) -> None:
    start_s = 1.0 + offset_s
    phones = (("AA", 0.5, start_s), ("B", start_s, start_s + 0.02), ("AA", start_s + 0.02, 1.5))
    motion = _motion(phones, Fraction(16))
    closed = motion.column("lips_closed")[12:22]
    assert closed.max() == 1
    assert (closed == 1).sum() <= 2


@pytest.mark.parametrize("pair", ["M B", "P B", "B P", "M P"])
def test_lips_part_between_closures_and_stay_shut_over_two_in_a_row(pair: str) -> None:
    motion = _motion(phones_in_a_row(f"AA {pair} AA P AA", phone_s=0.12), Fraction(60))
    time_s = middles_s(len(motion.frames), Fraction(60))
    closed = motion.column("lips_closed")
    assert (closed[(time_s > 0.64) & (time_s < 0.80)] == 1).all()
    assert closed[(time_s > 0.90) & (time_s < 0.94)].max() < 0.3
    assert closed[(time_s > 1.15) & (time_s < 1.19)].max() < 0.3


def test_open_close_and_rounded_spread_vowels_differ() -> None:
    shapes = {}
    for name in ("AA", "IY", "UW", "S", "SH"):
        motion = _motion(phones_in_a_row(f"T {name} T", phone_s=0.16))
        frame = int(0.74 * 25)
        shapes[name] = {column: float(motion.column(column)[frame]) for column in MOUTH}
    assert shapes["AA"]["jaw_open"] > 0.85
    assert shapes["IY"]["jaw_open"] < 0.45
    assert shapes["S"]["jaw_open"] < 0.15
    assert shapes["IY"]["lip_width"] > 0.6
    assert shapes["S"]["lip_width"] > 0.2
    assert shapes["UW"]["lip_width"] < -0.6
    assert shapes["UW"]["lip_pucker"] > 0.8
    assert shapes["SH"]["lip_pucker"] > 0.6
    assert shapes["AA"]["lip_pucker"] < 0.05


@pytest.mark.parametrize("name", ["S", "Z", "T", "D"])
def test_consonants_at_the_teeth_leave_the_lips_apart_over_a_jaw_that_is_up(name: str) -> None:
    motion = _motion(phones_in_a_row(f"IY {name} IY", phone_s=0.16))
    frame = int(0.74 * 25)
    jaw = float(motion.column("jaw_open")[frame])
    opening = jaw + float(motion.column("lips_apart")[frame])
    assert jaw < 0.24
    assert opening > jaw + 0.04
    assert opening > 0.17
    assert motion.column("lips_closed")[frame] == 0


def test_rounding_is_prepared_while_the_consonants_before_it_sound() -> None:
    # Coarticulation: the S of "soon" is rounded, the S of "seen" is not.
    frame = int(0.70 * 25)  # late in the S
    soon = _motion(phones_in_a_row("AA S UW N", phone_s=0.12)).column("lip_pucker")[frame]
    seen = _motion(phones_in_a_row("AA S IY N", phone_s=0.12)).column("lip_pucker")[frame]
    assert soon > 0.25
    assert seen < 0.02


def test_a_diphthong_moves_from_its_first_shape_to_its_second() -> None:
    motion = _motion(phones_in_a_row("T AY T", phone_s=0.25))
    time_s = middles_s(len(motion.frames), Fraction(25))
    jaw, width = motion.column("jaw_open"), motion.column("lip_width")
    early, late = np.argmin(np.abs(time_s - 0.82)), np.argmin(np.abs(time_s - 0.96))
    assert jaw[early] > jaw[late] + 0.3
    assert width[late] > width[early] + 0.2


def test_the_mouth_rests_in_pauses_and_does_not_move() -> None:
    phones = phones_in_a_row("AA T UW _ _ _ _ _ _ _ _ _ _ AA M _ _ _ _ _ _ _ _ IY", phone_s=0.1)
    motion = _motion(phones, Fraction(50))
    time_s = middles_s(len(motion.frames), Fraction(50))
    # From 0.3 s after the last phone until the next one is prepared; before, between and after the words.
    for from_s, until_s in ((0.0, 0.32), (1.1, 1.62), (2.3, 2.62), (3.2, 3.4)):
        still = (time_s >= from_s) & (time_s < until_s)
        for name in MOUTH:
            assert np.ptp(motion.column(name)[still]) == 0, (name, from_s)
        assert (motion.column("lips_closed")[still] == 1).all()
        assert (motion.column("jaw_open")[still] == 0).all()
        assert (motion.column("lip_press")[still] == 0).all()


def test_lips_part_shortly_before_speech_and_not_earlier() -> None:
    motion = _motion((("SIL", 0.0, 1.0), ("AA", 1.0, 1.4)), Fraction(60))
    time_s = middles_s(len(motion.frames), Fraction(60))
    closed = motion.column("lips_closed")
    parts_s = time_s[np.flatnonzero(closed < 1)[0]]
    assert 0.08 <= 1.0 - parts_s <= 0.12 + LEAD_S + 1 / 60
    assert (closed[(time_s > 1.02) & (time_s < 1.35)] == 0).all()


def test_lips_stay_together_before_a_first_p() -> None:
    motion = _motion((("SIL", 0.0, 1.0), ("P", 1.0, 1.1), ("AA", 1.1, 1.4)), Fraction(60))
    time_s = middles_s(len(motion.frames), Fraction(60))
    assert (motion.column("lips_closed")[time_s < 1.04] == 1).all()


def test_a_short_pause_inside_a_phrase_does_not_shut_the_mouth() -> None:
    phones = (("AA", 0.5, 0.8), ("SIL", 0.8, 0.87), ("AE", 0.87, 1.2))
    motion = _motion(phones)
    time_s = middles_s(len(motion.frames), Fraction(25))
    gap = (time_s > 0.78) & (time_s < 0.89)
    assert motion.column("lips_closed")[gap].max() < 0.1
    assert motion.column("jaw_open")[gap].min() > 0.4


def test_the_jaw_never_moves_faster_than_a_jaw() -> None:
    fps = Fraction(60)
    phones = phones_in_a_row("AA S AA S AA B AE Z AA", phone_s=0.07)
    jaw = _motion(phones, fps).column("jaw_open").astype(np.float64)
    fastest = np.abs(np.diff(jaw)).max() * float(fps)
    assert 0.5 * JAW_MOST_PER_S < fastest <= JAW_MOST_PER_S * (1 + 1e-5)


def test_loud_speech_opens_the_mouth_more_than_soft_speech() -> None:
    phones = phones_in_a_row("T EH T EH T", phone_s=0.15)
    n_frames = frames_until(phones[-1][2], Fraction(25))
    openings = []
    for change_db in (-12.0, 0.0, 8.0):
        features = features_for(phones, n_frames, Fraction(25))
        features["rms_db"] = np.where(features["rms_db"] > -60, features["rms_db"] + change_db, -65.0)
        openings.append(float(make_motion(requests_for(phones, features=features)[0]).column("jaw_open").max()))
    assert openings[0] < 0.85 * openings[1]
    assert openings[2] > 1.05 * openings[1]


def test_the_smile_is_relaxed_in_speech_and_comes_back_partly_in_long_pauses() -> None:
    phones = (("SIL", 0.0, 3.0), ("AA", 3.0, 5.0), ("SIL", 5.0, 8.0))
    motion = _motion(phones)
    relax = motion.column("smile_relax")
    assert relax[100] == pytest.approx(0.8)
    assert relax[25] == pytest.approx(0.35)
    assert relax[-1] == pytest.approx(0.35)
    assert np.abs(np.diff(relax)).max() * 25 < 1.2
    smiling = _motion(phones, prompt="a smiling woman").column("smile_relax")
    assert smiling.max() < 0.5


def test_between_two_sentences_the_smile_does_not_come_and_go() -> None:
    relax = _motion((("AA", 0.5, 2.0), ("SIL", 2.0, 3.4), ("AA", 3.4, 4.0))).column("smile_relax")
    assert np.ptp(relax[int(2.0 * 25) : int(3.4 * 25)]) < 0.06


def test_visemes_and_the_alignment_speak_of_the_same_phones() -> None:
    assert PHONES == ARPABET
    assert VOWEL_PHONES == VOWELS
    assert {name for name, viseme in VISEMES.items() if viseme.closes} == {"P", "B", "M"}
    assert {name for name, viseme in VISEMES.items() if viseme.tuck} == {"F", "V"}
    jaw = [segments_of(name, 0.0, 1.0)[0].viseme.jaw.target for name in sorted(PHONES)]
    openness = [PHONE_OPENNESS[name] for name in sorted(PHONES)]
    assert np.corrcoef(jaw, openness)[0, 1] > 0.95


@pytest.mark.parametrize("name", sorted(DIPHTHONGS))
def test_a_diphthong_is_two_segments_without_a_gap(name: str) -> None:
    first, second = segments_of(name, 1.0, 1.2)
    assert first.start_s == 1.0
    assert second.end_s == 1.2
    assert first.end_s == second.start_s
    assert first.viseme is not second.viseme
