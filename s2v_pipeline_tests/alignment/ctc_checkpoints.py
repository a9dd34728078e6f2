"""The committed CTC checkpoint (see s2v_pipeline_tests/data/README.md), and one of letters made from it.

Belongs here: folders that tests of the ctc aligner point at. Does not belong here: tests.
"""

# ruff: noqa: RUF001  Letters of other alphabets are meant to be the letters they are.

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from s2v_pipeline.alignment.ctc_vocabulary import phones_of_symbol
from s2v_pipeline_tests.alignment.known_speech import DATA

PHONEMES = DATA / "ctc_phonemes"
NEEDS_TORCH = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="the extra ctc is not installed",
)

LETTERS = {
    "AA": "а", "AE": "æ", "AH": "ă", "AO": "å", "B": "б", "CH": "ч", "D": "д", "DH": "ð", "EH": "э", "ER": "ø",
    "F": "ф", "G": "г", "HH": "х", "IH": "ы", "IY": "и", "JH": "џ", "K": "к", "L": "л", "M": "м", "N": "н",
    "NG": "ŋ", "OW": "о", "P": "п", "R": "р", "S": "с", "SH": "ш", "T": "т", "TH": "þ", "UW": "у", "V": "в", "W": "ў",
    "Y": "й", "Z": "з", "ZH": "ж", "AW": "ѫ", "AY": "ѧ", "EY": "ѣ", "OY": "ѵ", "UH": "ѩ",
}  # fmt: skip
"""A language of our own, whose writing has one letter a sound; diphthongs and UH have letters that no table knows."""


def written(phones: list[str]) -> str:
    """A word of that language."""
    return "".join(LETTERS[phone] for phone in phones)


def copied(folder: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    shutil.copytree(PHONEMES, folder)
    return folder


def of_letters(folder: Path) -> Path:
    """The checkpoint with that language's letters for its phonemes."""
    copied(folder)
    numbers = json.loads((PHONEMES / "vocab.json").read_text(encoding="utf-8"))
    letters = {
        LETTERS[phones_of_symbol(token)[0]] if number > 4 else token: number for token, number in numbers.items()
    }
    (folder / "vocab.json").write_text(json.dumps(letters))
    return folder
