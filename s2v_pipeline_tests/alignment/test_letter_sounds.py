from __future__ import annotations

import pytest

from s2v_pipeline.alignment.letter_sounds import phones_of_letters
from s2v_pipeline.alignment.phonemes import ARPABET


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("casa", "K AA S AA"),
        ("schön", "S K HH ER N"),
        ("niño", "N IY N Y OW"),
        ("é", "EH"),
        ("привет", "P R IY V Y EH T"),
        ("мышь", "M IH SH"),
        ("θάλασσα", "TH AA L AA S S AA"),
        ("안녕", "AA N N Y AH NG"),
        ("你好", ""),
        ("नमस्ते", ""),
        ("", ""),
    ],
)
def test_words(word: str, phones: str) -> None:
    found = phones_of_letters(word)
    assert " ".join(found) == phones
    assert set(found) <= ARPABET
