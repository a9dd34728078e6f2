"""Words for a CTC checkpoint: a transcript as words with phones, words as the checkpoint's labels, letters as phones.

Belongs here: reading a transcript of any language, which labels spell a word, sharing a word's time among its phones.
Does not belong here: the vocabulary's files (ctc_vocabulary), searching (ctc_paths), sounds of letters (letter_sounds).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.alignment.ctc_vocabulary import CtcVocabulary, phones_of_symbol
from s2v_pipeline.alignment.letter_sounds import phones_of_letters
from s2v_pipeline.alignment.likeness import LIKENESS, PHONE_NUMBERS
from s2v_pipeline.alignment.passage_search import Word
from s2v_pipeline.alignment.phonemes import VOWELS
from s2v_pipeline.alignment.pocketsphinx_aligner import Phones, dictionary_phones, new_decoder, sayable_words
from s2v_pipeline.alignment.pronunciation import pronounce
from s2v_pipeline.alignment.transcript import without_stage_directions
from s2v_pipeline.errors import AlignmentError

_MARKS = re.compile(r"[\W_]+", re.UNICODE)
_MOST_NAMED = 10  # words in a note
_LEAST_SPELT = 0.5  # share of a word's letters that the checkpoint must have


def is_english(language: str) -> bool:
    """Whether a language tag (en, en-GB, de) names English."""
    return language.lower().partition("-")[0] == "en"


class WordReader:
    """Reads words of one language for one vocabulary."""

    def __init__(self, vocabulary: CtcVocabulary, language: str) -> None:
        self._vocabulary = vocabulary
        self._language = language

    @property
    def notes(self) -> tuple[str, ...]:
        """How sounds of words and letters were found."""
        notes = []
        if self._vocabulary.kind == "characters":
            notes.append(
                "the checkpoint knows letters: words are placed exactly, phonemes share a word's letters evenly"
            )
        if not is_english(self._language):
            notes.append(f"language {self._language}: phonemes are the nearest English ones, good for lips")
        return tuple(notes)

    def words_of(self, transcript: str) -> tuple[list[Word], tuple[str, ...]]:
        """Words in the order in which they are said, each with its phones, and notes.

        Raises:
            AlignmentError: none of the transcript can be said with the vocabulary.
        """
        if is_english(self._language) and not self._is_phonemes(transcript):
            found, notes = sayable_words(self._dictionary, transcript)
            said: list[Word] = [(text, phones or dictionary_phones(self._dictionary, text)) for text, phones in found]
        else:
            texts = self._written_words(transcript)
            said = [(text, self.phones_of(text)) for text in texts]
            notes = ()
        kept = [word for word in said if word[1] and self._is_spelt(word[0])]
        lost = sorted({text for text, _ in said} - {text for text, _ in kept})
        if not kept:
            raise AlignmentError(
                f"a transcript must have words that the checkpoint can spell (language {self._language})",
                got=repr(transcript.strip()[:60]),
                cure="Set alignment.language to the transcript's, take a checkpoint of it, or remove the transcript.",
            )
        if lost:
            more = " ..." if len(lost) > _MOST_NAMED else ""
            notes += (f"not placed, as the checkpoint cannot spell them: {', '.join(lost[:_MOST_NAMED])}{more}",)
        return kept, notes

    def phones_of(self, text: str) -> Phones:
        """ARPABET phones of a written word (or of one in the checkpoint's phonemes); empty for what cannot be said."""
        if self._vocabulary.kind == "phonemes" and self._is_phonemes(text):
            return tuple(phone for symbol in self._symbols(text) or () for phone in phones_of_symbol(symbol))
        if is_english(self._language):
            word = text.lower()
            return pronounce(word, lambda known: dictionary_phones(self._dictionary, known))
        return phones_of_letters(text)

    def labels(self, text: str) -> list[int]:
        """Numbers of the letters that spell a word; letters that the checkpoint lacks are left out."""
        cased = text.upper() if self._vocabulary.upper_case else text.lower()
        found = []
        for letter in unicodedata.normalize("NFC", cased):
            number = self._vocabulary.numbers.get(letter)
            if number is None:  # a checkpoint without the accented letter may have the plain one
                number = self._vocabulary.numbers.get(unicodedata.normalize("NFD", letter)[0])
            if number is not None:
                found.append(number)
        return found

    def _is_spelt(self, text: str) -> bool:
        if self._vocabulary.kind == "phonemes":
            return True
        letters = sum(character.isalpha() for character in unicodedata.normalize("NFC", text))
        return len(self.labels(text)) >= max(1, _LEAST_SPELT * letters)

    def _written_words(self, transcript: str) -> list[str]:
        text = unicodedata.normalize("NFC", without_stage_directions(transcript))
        if self._is_phonemes(text):
            return text.split()
        return [word for word in (_MARKS.sub("", part) for part in text.lower().split()) if word]

    def _is_phonemes(self, text: str) -> bool:
        """Whether a text is written in the checkpoint's own phonemes, of which some are no letters of a language."""
        if self._vocabulary.kind != "phonemes" or text.isascii():
            return False
        words = text.split()
        return bool(words) and all(self._symbols(word) for word in words)

    def _symbols(self, word: str) -> list[str] | None:
        """A word as the checkpoint's phonemes, the longest first; None if it is not all of them."""
        known, found, at = self._vocabulary.numbers, [], 0
        longest = max(map(len, known))
        while at < len(word):
            size = next((n for n in range(min(longest, len(word) - at), 0, -1) if word[at : at + n] in known), 0)
            if not size:
                return None
            found.append(word[at : at + size])
            at += size
        return found

    @cached_property
    def _dictionary(self) -> Any:
        return new_decoder()


def phone_columns(vocabulary: CtcVocabulary) -> Mapping[str, NDArray[np.int64]]:
    """ARPABET phone -> numbers of the symbols that stand for it, where symbols are phonemes.

    A symbol of two sounds stands for both. A phone that the checkpoint lacks is heard as the likest one it has.
    """
    if vocabulary.kind != "phonemes":
        return {}
    symbols = {phone: [n for n, said in enumerate(vocabulary.phones) if phone in said] for phone in PHONE_NUMBERS}
    had = [phone for phone, numbers in symbols.items() if numbers]
    return {
        phone: np.array(numbers or symbols[_most_alike(phone, had)], np.int64) for phone, numbers in symbols.items()
    }


def _most_alike(phone: str, among: Sequence[str]) -> str:
    scores = LIKENESS[PHONE_NUMBERS[phone]]
    is_vowel = phone in VOWELS

    def alikeness(other: str) -> tuple[int, bool, str]:
        return int(scores[PHONE_NUMBERS[other]]), (other in VOWELS) is is_vowel, other

    return max(among, key=alikeness)


def spread(phones: Phones, times: Sequence[tuple[float, float]]) -> list[tuple[str, float, float]]:
    """Phones over the times of a word's letters: n phones share m letters evenly, each letter lasts as it was heard."""
    inner_s = [(before[1] + after[0]) / 2 for before, after in pairwise(times)]
    edges_s = np.array([times[0][0], *inner_s, times[-1][1]])
    at = np.linspace(0, len(times), len(phones) + 1)
    cuts_s = np.interp(at, np.arange(len(times) + 1), edges_s).tolist()
    return list(zip(phones, cuts_s[:-1], cuts_s[1:], strict=True))
