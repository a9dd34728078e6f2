"""What a CTC checkpoint can write: its symbols, and what each of them sounds like.

Belongs here: reading vocab.json and its companions, telling letters from phonemes, symbols to ARPABET.
Does not belong here: the network (ctc), words of a transcript (ctc_words), searching (ctc_paths).
"""

# ruff: noqa: RUF003  IPA letters are meant to be the letters they are.

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from s2v_pipeline.alignment.phonemes import ARPABET, arpabet_from_ipa
from s2v_pipeline.errors import WeightsError

MAX_JSON_BYTES = 4 << 20
"""The largest public vocabulary (Chinese characters) has 0.3 MB."""

_SPECIAL = re.compile(r"<[^<>]*>|\[(?:PAD|UNK|CLS|SEP|MASK)\]")  # <pad>, <s>, <unk>, [PAD] ...
_BLANKS = ("<pad>", "[PAD]", "<blank>", "<ctc_blank>")
_SPOKEN_IPA = frozenset("əɛɪʃʒɹʊʌɔɑɡːɐɾʔɕɲɣʁɯɤ")  # hardly in alphabets that people spell with
_LEAST_IPA = 5  # so many of them make a phoneme set: alphabets of Africa have up to four
_LEAST_ARPABET = 30  # of the 39; alphabets share AA or AH with them at most
CURE = "Point alignment.ctc_checkpoint at the whole folder of a Wav2Vec2ForCTC model as transformers saves it."


@dataclass(frozen=True)
class CtcVocabulary:
    """Symbols by their number in the network's output.

    Attributes:
        tokens: one each, '' for what is no sound (<s>, <unk> and the like).
        blank: number of CTC's "no new symbol".
        delimiter: number of the mark between words, None without one.
        kind: whether symbols are letters or phonemes (IPA or ARPABET).
    """

    tokens: tuple[str, ...]
    blank: int
    delimiter: int | None
    kind: Literal["characters", "phonemes"]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Symbol -> number."""
        return {token: number for number, token in enumerate(self.tokens) if token}

    @cached_property
    def upper_case(self) -> bool:
        """Whether letters are capitals."""
        text = "".join(self.tokens)
        return sum(map(str.isupper, text)) > sum(map(str.islower, text))

    @cached_property
    def phones(self) -> tuple[tuple[str, ...], ...]:
        """ARPABET phones of each symbol, where symbols are phonemes; empty for marks that are no sound."""
        return tuple(phones_of_symbol(token) for token in self.tokens)


def phones_of_symbol(token: str) -> tuple[str, ...]:
    """ARPABET phones of a phoneme symbol: ARPABET with or without stress, or IPA of one or more letters."""
    arpabet = token.rstrip("0123456789").upper()
    if arpabet in ARPABET and token[:1].isascii() and (token.isupper() or len(arpabet) > 1 or token[-1:].isdigit()):
        return (arpabet,)
    whole = _SPELT_APART.get(token) or arpabet_from_ipa(token)
    if whole or len(token) < 2:
        return whole
    # A symbol of several letters (t + ʃ, aɪ + ɚ): the longest known part from the left, then the rest.
    for length in range(len(token) - 1, 0, -1):
        head = _SPELT_APART.get(token[:length]) or arpabet_from_ipa(token[:length])
        if head:
            return head + phones_of_symbol(token[length:])
    return phones_of_symbol(token[1:])


_SPELT_APART: Mapping[str, tuple[str, ...]] = {
    "tʃ": ("CH",), "dʒ": ("JH",), "ts": ("T", "S"), "dz": ("D", "Z"), "tɕ": ("CH",), "dʑ": ("JH",), "əʊ": ("OW",),
}  # fmt: skip


def read_vocabulary(folder: Path, *, n_labels: int, pad_id: object) -> CtcVocabulary:
    """The vocabulary of a checkpoint folder.

    Args:
        folder: holds vocab.json, and tokenizer_config.json if any.
        n_labels: the network's outputs.
        pad_id: `pad_token_id` of config.json: the blank, unless the tokenizer names another.

    Raises:
        WeightsError: no vocabulary, one of another network, or without blank or sounds.
    """
    values, path = read_json(folder / "vocab.json"), folder / "vocab.json"
    if any(isinstance(value, dict) for value in values.values()):
        got = f"vocabularies of {len(values)} languages"
        raise WeightsError(
            f"{path} must hold one vocabulary", got=got, cure="Save the model with one language's alone."
        )
    wrong = [token for token, number in values.items() if type(number) is not int or not 0 <= number < n_labels]
    if wrong or not values or len(set(values.values())) != len(values):
        got = f"{len(values)} symbols" + (f", among them {wrong[0][:20]!r} out of range" if wrong else "")
        raise WeightsError(f"{path} must number {n_labels} symbols of the network from 0", got=got, cure=CURE)
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    blank = _blank(values, settings, pad_id)
    if blank is None or not 0 <= blank < n_labels:
        raise WeightsError(f"{path} must have a blank, such as <pad>", got="none", cure=CURE)
    mark = settings.get("word_delimiter_token", "|")
    delimiter = values.get(mark) if isinstance(mark, str) else None
    tokens = [""] * n_labels
    for token, number in values.items():
        if number not in (blank, delimiter) and not _SPECIAL.fullmatch(token) and token.strip():
            tokens[number] = token
    if not any(tokens):
        raise WeightsError(f"{path} must have symbols for sounds", got="none", cure=CURE)
    return CtcVocabulary(tuple(tokens), blank, delimiter, _kind([token for token in tokens if token]))


def _blank(values: Mapping[str, Any], settings: Mapping[str, Any], pad_id: object) -> int | None:
    named = settings.get("pad_token")
    named = named.get("content") if isinstance(named, dict) else named
    for token in (named, *_BLANKS):
        if isinstance(token, str) and isinstance(values.get(token), int):
            return int(values[token])
    return pad_id if type(pad_id) is int else None


def _kind(tokens: list[str]) -> Literal["characters", "phonemes"]:
    arpabet = {token.rstrip("0123456789").upper() for token in tokens} & ARPABET
    ipa = set("".join(tokens)) & _SPOKEN_IPA
    return "phonemes" if len(arpabet) >= _LEAST_ARPABET or len(ipa) >= _LEAST_IPA else "characters"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; its size is looked at first.

    Raises:
        WeightsError: not readable, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise WeightsError(f"{path} may have at most {MAX_JSON_BYTES} bytes", got="more", cure=CURE)
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {str(error)[:120]}"
        raise WeightsError(f"{path} must be a JSON file", got=got, cure=CURE) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a JSON object", got=f"a {type(content).__name__}", cure=CURE)
    return content
