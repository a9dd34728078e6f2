"""What letters sound like in languages that no dictionary here knows: one sound a letter, near enough for lips.

Belongs here: letters of the Latin, Cyrillic and Greek alphabets to ARPABET phones.
Does not belong here: English (pronunciation), symbols of phonetics (phonemes), times.

Latin letters have the values that most languages of Europe give them, not the English ones. Digraphs, silent letters
and rules of single languages are not known: "chien" is read K HH IY EH N. A result made so says so in its notes.
"""

# ruff: noqa: RUF001  Letters of other alphabets are meant to be the letters they are.

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from hama import G2PModel

from s2v_pipeline.alignment.phonemes import arpabet_from_ipa

_SOUNDS: Mapping[str, str] = {
    "a": "AA", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IY", "j": "Y", "k": "K",
    "l": "L", "m": "M", "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "UW", "v": "V",
    "w": "V", "x": "K S", "y": "IY", "z": "Z",
    "ä": "EH", "ö": "ER", "ü": "UW", "ß": "S", "å": "AO", "æ": "AE", "ø": "ER", "œ": "ER", "ñ": "N Y", "ç": "S",
    "š": "SH", "ž": "ZH", "č": "CH", "ć": "CH", "đ": "JH", "ł": "W", "ń": "N Y", "ś": "SH", "ź": "ZH", "ż": "ZH",
    "ř": "ZH", "ş": "SH", "ğ": "G", "ı": "AH", "ð": "DH", "þ": "TH", "ă": "AH", "ț": "T S", "ș": "SH", "ŋ": "NG",
    "а": "AA", "б": "B", "в": "V", "г": "G", "д": "D", "е": "Y EH", "ё": "Y OW", "ж": "ZH", "з": "Z", "и": "IY",
    "й": "Y", "к": "K", "л": "L", "м": "M", "н": "N", "о": "OW", "п": "P", "р": "R", "с": "S", "т": "T", "у": "UW",
    "ф": "F", "х": "HH", "ц": "T S", "ч": "CH", "ш": "SH", "щ": "SH", "ъ": "", "ы": "IH", "ь": "", "э": "EH",
    "ю": "Y UW", "я": "Y AA", "і": "IY", "ї": "Y IY", "є": "Y EH", "ґ": "G", "ў": "W", "ј": "Y", "љ": "L Y",
    "њ": "N Y", "ђ": "JH", "ћ": "CH", "џ": "JH", "ѕ": "D Z", "ѓ": "G", "ќ": "K",
    "α": "AA", "β": "V", "γ": "G", "δ": "DH", "ε": "EH", "ζ": "Z", "η": "IY", "θ": "TH", "ι": "IY", "κ": "K",
    "λ": "L", "μ": "M", "ν": "N", "ξ": "K S", "ο": "OW", "π": "P", "ρ": "R", "σ": "S", "ς": "S", "τ": "T", "υ": "IY",
    "φ": "F", "χ": "HH", "ψ": "P S", "ω": "OW",
}  # fmt: skip
_HANGUL = ("\uac00", "\ud7a3")


def phones_of_letters(word: str) -> tuple[str, ...]:
    """ARPABET phones of a word; empty if none of its letters has a known sound.

    Hangul is read by hama's model, which was trained on Korean as on English; other alphabets letter by letter.
    """
    if any(_HANGUL[0] <= character <= _HANGUL[1] for character in word):
        return tuple(phone for each in _korean(word) for phone in arpabet_from_ipa(each))
    return tuple(phone for letter in word.lower() for phone in _sounds(letter))


def _sounds(letter: str) -> tuple[str, ...]:
    found = _SOUNDS.get(letter)
    if found is None:
        # An accent that the table does not list leaves the letter's sound.
        found = _SOUNDS.get(unicodedata.normalize("NFD", letter)[0], "")
    return tuple(found.split())


@lru_cache(maxsize=4096)
def _korean(word: str) -> tuple[str, ...]:
    return tuple(each.phoneme for each in _model().predict(word).alignments)


@lru_cache(maxsize=1)
def _model() -> G2PModel:
    return G2PModel()
