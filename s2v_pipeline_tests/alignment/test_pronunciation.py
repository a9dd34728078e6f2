from __future__ import annotations

from s2v_pipeline.alignment.phonemes import ARPABET
from s2v_pipeline.alignment.pronunciation import pronounce

DICTIONARY = {"cat": ("K", "AE", "T"), "dog": ("D", "AO", "G"), "judge": ("JH", "AH", "JH")}


def test_dictionary_comes_first() -> None:
    assert pronounce("cat", DICTIONARY.get) == ("K", "AE", "T")


def test_possessives() -> None:
    assert pronounce("cat's", DICTIONARY.get)[-1] == "S"
    assert pronounce("dog's", DICTIONARY.get)[-1] == "Z"
    assert pronounce("judge's", DICTIONARY.get)[-2:] == ("IH", "Z")


def test_unknown_words_by_model() -> None:
    assert pronounce("obama", DICTIONARY.get) == ("OW", "B", "AA", "M", "AH")
    phones = pronounce("zorbulate", DICTIONARY.get)
    assert phones[0] == "Z"
    assert set(phones) <= ARPABET
    assert pronounce("'zorbulate'", DICTIONARY.get) == phones


def test_nothing_to_say() -> None:
    assert pronounce("'", DICTIONARY.get) == ()
    assert pronounce("'s", DICTIONARY.get) != ()
