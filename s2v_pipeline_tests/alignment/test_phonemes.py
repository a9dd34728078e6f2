# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import pytest
from hama.vocab import Vocabulary
from pocketsphinx import get_model_path

from s2v_pipeline.alignment.phonemes import (
    ARPABET,
    BILABIALS,
    LABIODENTALS,
    PHONE_OPENNESS,
    ROUNDED,
    SILENCE,
    VOWELS,
    arpabet_from_ipa,
)


def test_the_set_is_the_dictionary_s() -> None:
    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as file:  # noqa: PTH123
        used = {phone for line in file for phone in line.split()[1:]}
    assert used == ARPABET
    assert len(ARPABET) == 39
    assert ARPABET >= BILABIALS | LABIODENTALS | ROUNDED | VOWELS


def test_openness_follows_articulation() -> None:
    assert set(PHONE_OPENNESS) == ARPABET | {SILENCE}
    assert all(0.0 <= value <= 1.0 for value in PHONE_OPENNESS.values())
    assert all(PHONE_OPENNESS[phone] == 0.0 for phone in BILABIALS | {SILENCE})
    assert PHONE_OPENNESS["AA"] > PHONE_OPENNESS["EH"] > PHONE_OPENNESS["IH"] > PHONE_OPENNESS["IY"]
    assert min(PHONE_OPENNESS[phone] for phone in VOWELS) > max(PHONE_OPENNESS[phone] for phone in ("S", "P", "F"))


@pytest.mark.parametrize(
    ("symbol", "phones"),
    [
        ("t͡ʃ", ("CH",)),
        ("oʊ", ("OW",)),
        ("kʰ", ("K",)),
        ("ju", ("Y", "UW")),
        ("ɲ", ("N", "Y")),
        ("ã", ("AA",)),
        ("ː", ()),
    ],
)
def test_ipa(symbol: str, phones: tuple[str, ...]) -> None:
    assert arpabet_from_ipa(symbol) == phones


def test_every_sound_of_hama_has_phones() -> None:
    letters = [symbol for symbol in Vocabulary.load(None).decoder if symbol.isalpha() and symbol.islower()]
    soundless = {symbol for symbol in letters if not arpabet_from_ipa(symbol)}
    # Modifier letters change a neighbour; the tones, digits and Chinese characters are not sounds.
    assert soundless <= {"ʰ", "ʱ", "ʲ", "ʷ", "ˀ", "ˤ", "ᵝ", "ʔ"}
    assert all(phone in ARPABET for symbol in letters for phone in arpabet_from_ipa(symbol))
