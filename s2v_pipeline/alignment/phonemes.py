"""The phones that the package speaks of, and what is known of each.

Belongs here: the ARPABET set, its classes, mouth openness, and the way from IPA symbols to it.
Does not belong here: mouth shapes (generation), times (aligner), spelling (transcript, pronunciation).
"""

# ruff: noqa: RUF001  IPA letters are meant to be the letters they are.

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

SILENCE = "SIL"
"""No speech: pauses, breath, noise."""

BILABIALS = frozenset({"P", "B", "M"})
"""Made by closing the lips: a viewer sees at once when they do not close."""

LABIODENTALS = frozenset({"F", "V"})
"""Lower lip against the upper teeth."""

ROUNDED = frozenset({"UW", "UH", "OW", "AO", "OY", "AW", "W", "R", "SH", "ZH", "CH", "JH", "ER"})
"""Lips pushed forward for some of the phone."""

PHONE_OPENNESS: Mapping[str, float] = MappingProxyType(
    {
        SILENCE: 0.0,
        # Lips closed, or lip at the teeth.
        "P": 0.0, "B": 0.0, "M": 0.0, "F": 0.1, "V": 0.1,
        # Jaw nearly shut: sibilants and affricates need the teeth together.
        "S": 0.15, "Z": 0.15, "SH": 0.2, "ZH": 0.2, "CH": 0.2, "JH": 0.2,
        # Tongue tip and blade at the teeth or the ridge behind them.
        "T": 0.2, "D": 0.2, "N": 0.25, "TH": 0.25, "DH": 0.25, "L": 0.35,
        # The jaw takes little part and follows the neighbours.
        "K": 0.3, "G": 0.3, "NG": 0.3, "HH": 0.45, "R": 0.25, "W": 0.15, "Y": 0.25,
        # Vowels by height: high, near-high, mid, near-low, low; diphthongs by the opener of their two ends.
        "IY": 0.35, "UW": 0.3, "IH": 0.45, "UH": 0.4, "EY": 0.6, "OW": 0.55, "ER": 0.45,
        "EH": 0.65, "AH": 0.6, "AO": 0.75, "OY": 0.75, "AE": 0.9, "AY": 0.95, "AW": 0.95, "AA": 1.0,
    }
)  # fmt: skip
"""How far the mouth opens, 0 closed to 1 as far as in speech, for each phone and SIL.

The order follows the vowel heights of P. Ladefoged and K. Johnson, "A Course in Phonetics" (ch. 1, 4), and the jaw
heights of consonants of P. Keating, B. Lindblom, J. Lubker and J. Kreiman, "Variability in jaw height for segments in
English and Swedish VCVs", J. Phonetics 22, 1994 (sibilants highest, /h/ lowest). The values between 0 and 1 are ours.
"""

ARPABET = frozenset(PHONE_OPENNESS) - {SILENCE}
"""The 39 phones of the CMU Pronouncing Dictionary, without stress."""

VOWELS = frozenset({"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"})
"""Phones that carry a syllable."""

_IPA_TO_ARPABET: Mapping[str, str] = {
    "p": "P", "b": "B", "ɓ": "B", "ʙ": "B", "β": "V", "ʋ": "V", "m": "M", "ɱ": "M", "f": "F", "ɸ": "F", "v": "V",
    "t": "T", "d": "D", "ʈ": "T", "ɖ": "D", "ɗ": "D", "ɾ": "D", "ɽ": "D", "n": "N", "ɲ": "N Y", "ŋ": "NG", "ɴ": "NG",
    "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "ɕ": "SH", "ʑ": "ZH", "ʂ": "SH", "ʐ": "ZH",
    "t͡ʃ": "CH", "d͡ʒ": "JH", "t͡ɕ": "CH", "k": "K", "g": "G", "ɡ": "G", "ɟ": "G", "ɣ": "G", "c": "K", "x": "HH",
    "χ": "HH", "ç": "HH", "h": "HH", "ɦ": "HH", "ħ": "HH", "l": "L", "ɫ": "L", "ɮ": "L", "ʎ": "L Y",
    "r": "R", "ɹ": "R", "ɻ": "R", "ʀ": "R", "ʁ": "R", "j": "Y", "ʝ": "Y", "w": "W", "ɥ": "W", "ɰ": "W",
    "i": "IY", "y": "UW", "ɨ": "IH", "ʉ": "UW", "ɯ": "UW", "u": "UW", "ɪ": "IH", "ʏ": "UH", "ʊ": "UH",
    "e": "EH", "ø": "ER", "ɘ": "AH", "ɵ": "UH", "ɤ": "AH", "o": "OW", "ə": "AH", "ᵊ": "AH", "ɚ": "ER", "ɝ": "ER",
    "ɜ": "ER", "ɛ": "EH", "œ": "ER", "ʌ": "AH", "ɔ": "AO", "æ": "AE", "ɐ": "AH", "a": "AA", "ɑ": "AA", "ɒ": "AA",
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY", "eə": "EH", "ɪə": "IH AH", "ɯi": "UW IY",
    "ja": "Y AA", "je": "Y EH", "jo": "Y OW", "ju": "Y UW", "jʌ": "Y AH",
    "wa": "W AA", "we": "W EH", "wi": "W IY", "wʌ": "W AH",
}  # fmt: skip


def arpabet_from_ipa(symbol: str) -> tuple[str, ...]:
    """ARPABET phones nearest to one IPA symbol of hama's vocabulary; empty for marks that are no sound of their own.

    Length, stress, tone, aspiration and other marks are taken off; what English lacks becomes its nearest phone.
    """
    known = _IPA_TO_ARPABET.get(symbol)
    if known is None:
        known = _IPA_TO_ARPABET.get(_without_marks(symbol), "")
    return tuple(known.split())


def _without_marks(symbol: str) -> str:
    kept = []
    for character in unicodedata.normalize("NFD", symbol):
        # The tie bar U+0361 joins affricates, which are symbols of their own.
        is_mark = unicodedata.category(character) in {"Mn", "Lm", "Sk", "Po"} and character != "\u0361"
        if not is_mark or character == "ᵊ":
            kept.append(character)
    return "".join(kept)
