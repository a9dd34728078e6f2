# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import pytest

from s2v_pipeline.alignment.ctc_vocabulary import CtcVocabulary
from s2v_pipeline.alignment.ctc_words import WordReader, is_english, phone_columns, spread
from s2v_pipeline.alignment.phonemes import ARPABET
from s2v_pipeline.errors import AlignmentError

ENGLISH = CtcVocabulary(("", "", *"'ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 0, 1, "characters")
GERMAN = CtcVocabulary(("", "", *"abcdefghijklmnopqrstuvwxyzäöü"), 0, 1, "characters")
IPA = CtcVocabulary(("", "t", "tʃ", "ʃ", "a", "aɪ", "ɪ", "ɲ", "s", "m", "ə", "ʔ"), 0, None, "phonemes")


@pytest.mark.parametrize(
    ("language", "english"), [("en", True), ("en-GB", True), ("EN", True), ("eng-US", False), ("de", False)]
)
def test_which_languages_are_english(language: str, english: bool) -> None:
    assert is_english(language) is english


def test_english_for_a_vocabulary_of_capitals() -> None:
    reader = WordReader(ENGLISH, "en")
    words, notes = reader.words_of("[music] It's 2 well-known cafés, zyxqu!")
    assert [text for text, _ in words] == ["it's", "two", "well", "known", "cafes", "zyxqu"]
    assert dict(words)["two"] == ("T", "UW")
    assert "zyxqu" in notes[0]
    assert [ENGLISH.tokens[number] for number in reader.labels("it's")] == ["I", "T", "'", "S"]


def test_german_for_its_own_vocabulary() -> None:
    reader = WordReader(GERMAN, "de")
    words, notes = reader.words_of("»Schön, Straße«  (leise) *hustet* 1984 ж Ärger-los.")
    assert [text for text, _ in words] == ["schön", "straße", "leise", "ärgerlos"]
    assert dict(words)["leise"] == ("L", "EH", "IY", "S", "EH")
    assert "1984" in notes[0]
    assert "ж" in notes[0]
    assert [GERMAN.tokens[number] for number in reader.labels("straße")] == [*"strae"]
    assert any("language de" in note for note in reader.notes)


def test_nothing_that_can_be_spelt() -> None:
    with pytest.raises(AlignmentError, match="language ru"):
        WordReader(GERMAN, "ru").words_of("привет мир")


def test_a_transcript_in_phonemes_is_told_from_words() -> None:
    reader = WordReader(IPA, "de")
    assert reader.words_of("tʃaɪ mata")[0] == [("tʃaɪ", ("CH", "AY")), ("mata", ("M", "AA", "T", "AA"))]
    assert reader.words_of("mit")[0] == [("mit", ("M", "IY", "T"))]


def test_every_phone_has_symbols_that_stand_for_it() -> None:
    columns = phone_columns(IPA)
    assert set(columns) == ARPABET
    said = {phone: [IPA.tokens[number] for number in numbers] for phone, numbers in columns.items()}
    assert said["CH"] == ["tʃ"]
    assert said["N"] == ["ɲ"]
    assert said["Y"] == ["ɲ"]
    assert said["IY"] == ["ɪ"]  # the likest that there is
    assert said["Z"] == ["s"]
    assert all("" not in each and "ʔ" not in each for each in said.values())
    assert phone_columns(ENGLISH) == {}


def test_phones_share_the_letters_of_their_word() -> None:
    times = [(0.0, 0.1), (0.1, 0.3), (0.3, 0.4), (0.4, 0.8)]
    assert spread(("A", "B"), times) == [("A", 0.0, pytest.approx(0.3)), ("B", pytest.approx(0.3), 0.8)]
    assert [phone for phone, _, _ in spread(("A", "B", "C", "D", "E"), times)] == [*"ABCDE"]
    assert spread(("A",), times) == [("A", 0.0, 0.8)]
