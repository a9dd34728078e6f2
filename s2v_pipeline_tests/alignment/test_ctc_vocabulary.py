# ruff: noqa: RUF001  IPA letters are meant to be the letters they are.

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s2v_pipeline.alignment.ctc_vocabulary import CtcVocabulary, phones_of_symbol, read_vocabulary
from s2v_pipeline.alignment.phonemes import ARPABET
from s2v_pipeline.errors import WeightsError

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def _read(folder: Path, tokens: list[str], **tokenizer: object) -> CtcVocabulary:
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    if tokenizer:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return read_vocabulary(folder, n_labels=len(tokens), pad_id=0)


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        ([*"|'ABCDEFGHIJKLMNOPQRSTUVWXYZ"], "characters"),
        ([*"|abcdefghijklmnopqrstuvwxyzäöüß"], "characters"),
        ([*"|абвгдежзийклмнопрстуфхцчшщъыьэюя"], "characters"),
        ([*"|αβγδεζηθικλμνξοπρσςτυφχψω"], "characters"),
        ([*"|abdɖeɛfƒgɣhikloɔprstuʋvwz"], "characters"),  # Ewe spells with letters of IPA
        (["|", *sorted(ARPABET)], "phonemes"),
        ([f"{phone.lower()}" for phone in sorted(ARPABET)], "phonemes"),
        (["n", "s", "t", "ə", "l", "a", "i", "k", "d", "m", "ɛ", "ɾ", "ɪ", "iː", "ʃ", "tʃ", "aɪ"], "phonemes"),
    ],
)
def test_letters_are_told_from_phonemes(tmp_path: Path, tokens: list[str], kind: str) -> None:
    vocabulary = _read(tmp_path, [*SPECIAL, *tokens])
    assert vocabulary.kind == kind
    assert vocabulary.blank == 0
    assert vocabulary.delimiter == (4 if "|" in tokens else None)
    assert vocabulary.tokens[:4] == ("", "", "", "")
    assert vocabulary.upper_case is (tokens[2] in {"A", "AE"} or tokens[2] == "A" or "Z" in tokens)


@pytest.mark.parametrize(
    ("token", "phones"),
    [
        ("AA1", ("AA",)), ("ah", ("AH",)), ("T", ("T",)), ("b", ("B",)), ("iː", ("IY",)), ("tʃ", ("CH",)),
        ("dʒ", ("JH",)), ("aɪ", ("AY",)), ("oʊ", ("OW",)), ("əʊ", ("OW",)), ("aɪɚ", ("AY", "ER")), ("ts", ("T", "S")),
        ("ɲ", ("N", "Y")), ("ɡ", ("G",)), ("ɜː", ("ER",)), ("n̩", ("N",)), ("ʔ", ()), ("ˈ", ()),
    ],
)  # fmt: skip
def test_what_symbols_sound_like(token: str, phones: tuple[str, ...]) -> None:
    assert phones_of_symbol(token) == phones


def test_the_tokenizer_names_blank_and_mark(tmp_path: Path) -> None:
    vocabulary = _read(tmp_path, ["a", "b", " ", "[PAD]"], pad_token={"content": "[PAD]"}, word_delimiter_token=" ")  # noqa: S106
    assert (vocabulary.blank, vocabulary.delimiter, vocabulary.tokens) == (3, 2, ("a", "b", "", ""))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("{}", "must number"),
        ('{"a": 7}', "must number"),
        ('{"a": true}', "must number"),
        ('{"a": 0, "b": 0}', "must number"),
        ('{"<pad>": 0, "<s>": 1, "|": 2}', "symbols for sounds"),
        ('{"deu": {"a": 0}, "eng": {"a": 0}}', "one vocabulary"),
        ("[1]", "JSON object"),
        ("{", "JSON file"),
        ("[" * 100_000, "JSON file"),
    ],
)
def test_what_is_no_vocabulary(tmp_path: Path, content: str, rule: str) -> None:
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(WeightsError, match=rule):
        read_vocabulary(tmp_path, n_labels=3, pad_id=0)


def test_no_vocabulary_and_no_blank(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="must be a JSON file"):
        read_vocabulary(tmp_path, n_labels=3, pad_id=0)
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "c": 2}')
    with pytest.raises(WeightsError, match="must have a blank"):
        read_vocabulary(tmp_path, n_labels=3, pad_id=None)
