"""What the mouth wants to do for each phone.

Belongs here: targets and their strengths for the 39 ARPABET phones, and diphthongs as two targets.
Does not belong here: how targets blend in time (mouth), times (speech_events).

The blend is M. M. Cohen and D. W. Massaro, "Modeling coarticulation in synthetic visual speech", in Models and
Techniques in Computer Animation, 1993: every phone pulls each articulator to its target with a dominance of its own, so
that a strong phone (UW rounds) holds against a weak neighbour (T takes the vowel's lips). The numbers are ours: jaw
heights follow the vowel heights of P. Ladefoged and K. Johnson, "A Course in Phonetics", and the consonants' order in
P. Keating et al., "Variability in jaw height for segments in English and Swedish VCVs", J. Phonetics 22, 1994.

Teeth that are nearly together do not close lips: consonants made at the teeth keep lips apart from a jaw that is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Pull:
    """Where an articulator is drawn to, and how strongly."""

    target: float
    dominance: float


@dataclass(frozen=True)
class Viseme:
    """One mouth shape.

    Attributes:
        jaw, width, pucker: pulls on `jaw_open`, `lip_width`, `lip_pucker`.
        apart: how much more the lips open than the jaw.
        closes: the lips meet.
        press: how much they press together then.
        release_share: part of the phone's length after which the lips part again.
        tuck: the lower lip goes under the upper teeth.
        tongue: how far the tongue's tip comes to the upper teeth.
    """

    jaw: Pull
    width: Pull
    pucker: Pull
    apart: float = 0.0
    closes: bool = False
    press: float = 0.0
    release_share: float = 1.0
    tuck: float = 0.0
    tongue: float = 0.0

    @property
    def opening(self) -> Pull:
        """Pull on the lips' opening, of which the jaw's is a part."""
        return Pull(self.jaw.target + self.apart, self.jaw.dominance)


def _vowel(jaw: float, width: float, pucker: float) -> Viseme:
    # Vowels decide over the jaw; rounding and spreading need effort, neutral lips follow their neighbours.
    effort = max(abs(width), pucker)
    return Viseme(Pull(jaw, 1.0), Pull(width, 0.6 + 0.5 * effort), Pull(pucker, 0.6 + 0.7 * pucker))


def _consonant(
    jaw: float,
    jaw_dominance: float,
    *,
    apart: float = 0.0,
    width: float = 0.0,
    pucker: float = 0.0,
    lips_dominance: float = 0.15,
    tongue: float = 0.0,
    tuck: float = 0.0,
) -> Viseme:
    lips = lips_dominance
    pulls = (Pull(jaw, jaw_dominance), Pull(width, lips), Pull(pucker, lips))
    return Viseme(*pulls, apart=apart, tuck=tuck, tongue=tongue)


def _bilabial(press: float, release_share: float) -> Viseme:
    # The jaw rises to help but lips do the closing: Keating et al. find bilabials' jaw lower than sibilants'.
    return Viseme(
        Pull(0.12, 0.9), Pull(0.0, 0.3), Pull(0.0, 0.25), closes=True, press=press, release_share=release_share
    )


VISEMES: Mapping[str, Viseme] = MappingProxyType(
    {
        "AA": _vowel(1.00, 0.05, 0.00),
        "AE": _vowel(0.88, 0.40, 0.00),
        "AH": _vowel(0.55, 0.05, 0.00),
        "AO": _vowel(0.68, -0.45, 0.45),
        "EH": _vowel(0.60, 0.35, 0.00),
        "ER": _vowel(0.42, -0.30, 0.40),
        "IH": _vowel(0.40, 0.40, 0.00),
        "IY": _vowel(0.32, 0.85, 0.00),
        "UH": _vowel(0.38, -0.45, 0.50),
        "UW": _vowel(0.26, -0.90, 1.00),
        # Stops: P is released long before its voicing starts (aspiration), M only when it ends.
        "P": _bilabial(1.00, 0.60),
        "B": _bilabial(0.95, 0.85),
        "M": _bilabial(0.80, 0.95),
        "F": _consonant(0.10, 0.80, lips_dominance=0.4, tuck=1.0),
        "V": _consonant(0.10, 0.80, lips_dominance=0.4, tuck=1.0),
        "TH": _consonant(0.18, 0.60, apart=0.07, tongue=1.0),
        "DH": _consonant(0.18, 0.55, apart=0.07, tongue=1.0),
        "L": _consonant(0.33, 0.45, apart=0.03, tongue=1.0),
        "T": _consonant(0.17, 0.55, apart=0.07, tongue=0.60),
        "D": _consonant(0.19, 0.55, apart=0.07, tongue=0.60),
        "N": _consonant(0.23, 0.50, apart=0.05, tongue=0.60),
        # Sibilants cannot be made with the teeth apart, hence the high dominance.
        "S": _consonant(0.08, 0.95, apart=0.12, width=0.50, lips_dominance=0.5),
        "Z": _consonant(0.08, 0.90, apart=0.12, width=0.50, lips_dominance=0.5),
        "SH": _consonant(0.12, 0.95, apart=0.06, width=-0.40, pucker=0.80, lips_dominance=1.1),
        "ZH": _consonant(0.12, 0.95, apart=0.06, width=-0.40, pucker=0.80, lips_dominance=1.1),
        "CH": _consonant(0.12, 0.95, apart=0.06, width=-0.40, pucker=0.75, lips_dominance=1.1),
        "JH": _consonant(0.12, 0.90, apart=0.06, width=-0.40, pucker=0.75, lips_dominance=1.1),
        "K": _consonant(0.34, 0.30),
        "G": _consonant(0.34, 0.30),
        "NG": _consonant(0.34, 0.35),
        "HH": _consonant(0.45, 0.15, lips_dominance=0.05),
        "Y": _consonant(0.25, 0.60, width=0.60, lips_dominance=0.6),
        "W": _consonant(0.14, 0.85, width=-0.95, pucker=1.00, lips_dominance=1.3),
        "R": _consonant(0.24, 0.55, width=-0.40, pucker=0.55, lips_dominance=0.8),
    }
)
"""Shapes of the phones that have one."""

# The glide seldom arrives at the high vowel that it is written with, and less so the faster one speaks (T. Gay, "Effect
# of speaking rate on diphthong formant movements", JASA 44, 1968).
DIPHTHONGS: Mapping[str, tuple[Viseme, Viseme]] = MappingProxyType(
    {
        "AW": (_vowel(1.00, 0.00, 0.00), _vowel(0.58, -0.50, 0.50)),
        "AY": (_vowel(1.00, 0.05, 0.00), _vowel(0.58, 0.45, 0.00)),
        "EY": (_vowel(0.60, 0.50, 0.00), _vowel(0.40, 0.90, 0.00)),
        "OW": (_vowel(0.62, -0.60, 0.60), _vowel(0.36, -0.90, 0.95)),
        "OY": (_vowel(0.72, -0.45, 0.45), _vowel(0.44, 0.45, 0.00)),
    }
)
"""Vowels that move from one shape to another."""

FIRST_SHARE = 0.6
"""Part of a diphthong that belongs to its first target: the glide starts past the middle in American English."""

VOWEL_PHONES = frozenset({"AA", "AE", "AH", "AO", "EH", "ER", "IH", "IY", "UH", "UW"}) | frozenset(DIPHTHONGS)
"""Phones that carry a syllable."""

PHONES = frozenset(VISEMES) | frozenset(DIPHTHONGS)
"""Every phone that the mouth can show; SIL is not one of them."""


@dataclass(frozen=True)
class Segment:
    """One shape over a span of time."""

    viseme: Viseme
    start_s: float
    end_s: float


def segments_of(phone: str, start_s: float, end_s: float) -> tuple[Segment, ...]:
    """One segment, or two for a diphthong.

    Raises:
        KeyError: not one of `PHONES`.
    """
    if phone not in DIPHTHONGS:
        return (Segment(VISEMES[phone], start_s, end_s),)
    first, second = DIPHTHONGS[phone]
    turn_s = start_s + FIRST_SHARE * (end_s - start_s)
    return (Segment(first, start_s, turn_s), Segment(second, turn_s, end_s))
