"""How a word that no dictionary knows is said.

Belongs here: letters to ARPABET phones, by model and by rule.
Does not belong here: which words a transcript holds (transcript), the dictionary itself (pocketsphinx_aligner).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from hama import G2PModel

from s2v_pipeline.alignment.phonemes import arpabet_from_ipa

Lookup = Callable[[str], tuple[str, ...] | None]
"""Phones of a word that the dictionary knows, else None."""

_POSSESSIVE = "'s"
_SIBILANTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})


def pronounce(word: str, lookup: Lookup) -> tuple[str, ...]:
    """ARPABET phones of a lower-case word; empty if it holds nothing that can be said.

    The dictionary comes first, then the word before a possessive 's, then hama's grapheme-to-phoneme model
    (Apache-2.0; 10.1 % phone errors on 400 dictionary words, measured).
    """
    known = lookup(word)
    if known is not None:
        return known
    if word.endswith(_POSSESSIVE) and len(word) > len(_POSSESSIVE):
        stem = pronounce(word.removesuffix(_POSSESSIVE), lookup)
        return stem + _possessive_ending(stem[-1]) if stem else ()
    bare = word.strip("'")
    if bare != word:
        return pronounce(bare, lookup) if bare else ()
    return _letters_to_phones(word)


def _possessive_ending(last_phone: str) -> tuple[str, ...]:
    """The regular English ending: after a sibilant IH Z, after another voiceless phone S, else Z."""
    if last_phone in _SIBILANTS:
        return ("IH", "Z")
    return ("S",) if last_phone in _VOICELESS else ("Z",)


def _letters_to_phones(word: str) -> tuple[str, ...]:
    predicted = _model().predict(word)
    return tuple(phone for letter in predicted.alignments for phone in arpabet_from_ipa(letter.phoneme))


@lru_cache(maxsize=1)
def _model() -> G2PModel:
    return G2PModel()
