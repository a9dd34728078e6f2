"""The words of a transcript as they are written, with the times at which they are said.

Belongs here: cutting a transcript into words, and finding each one's spoken words in an alignment's table.
Does not belong here: how writing is spoken (transcript), captions, files.

"$5" is written as one word and said as two: it lasts from the first to the last of them. What is written but said by
no word of its own (a dash, an emoji, a script that cannot be read aloud) goes with the word before it. Stage
directions, and words that the alignment leaves out as not said, have no time and are left out here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.aligner import NO_WORD_INDEX
from s2v_pipeline.alignment.shared_words import shared_words
from s2v_pipeline.alignment.transcript import SpokenWord, is_abbreviation, is_title, spoken_places, stage_directions


class Closes(IntEnum):
    """What ends behind a word."""

    NOTHING = 0
    CLAUSE = 1
    SENTENCE = 2


class PlacedWord(NamedTuple):
    """A word of an alignment's table: what was said (IPA where recognised), when, how well it fits, its phones."""

    spoken: str
    start_s: float
    end_s: float
    confidence: float
    phones: str


@dataclass(frozen=True)
class WrittenWord:
    """A word as the transcript has it, punctuation included.

    Attributes:
        text: one or more signs without line breaks; spaces only where a reading spans them ("3:30 p.m.").
        joiner: what stands between it and the next word: a space, or nothing behind a dash within a word.
        closes: what ends behind it.
        spoken: the words that are said for it, as the aligner has them.
        start_s, end_s: from the first of those to the last.
        confidence: as in `Alignment`, the mean over its length.
        phones: ARPABET, one space between.

    Raises:
        ValueError: no text, or it ends before it starts.
    """

    text: str
    joiner: str
    closes: Closes
    spoken: str
    start_s: float
    end_s: float
    confidence: float
    phones: str

    def __post_init__(self) -> None:
        if not self.text.strip() or not 0 <= self.start_s < self.end_s:
            raise ValueError(f"a written word needs text and a span; got {self.text!r}, {self.start_s}, {self.end_s}")


@dataclass(frozen=True)
class WrittenSpeech:
    """A transcript against its alignment.

    Attributes:
        placed: every word of the table, in order.
        words: the written ones that are said, in order.
        word_of_placed: for each of `placed` the number of its written word, -1 for recognised sounds.
        not_said: written words that the alignment leaves out, in order.
    """

    placed: tuple[PlacedWord, ...]
    words: tuple[WrittenWord, ...]
    word_of_placed: tuple[int, ...]
    not_said: tuple[str, ...]


class _Unit(NamedTuple):
    """A written word before it has a time; its spoken words are [first, stop)."""

    text: str
    joiner: str
    closes: Closes
    first: int
    stop: int


# Signs that a file of captions cannot hold or that would turn the text around them.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]")
_DASH = r"(?:[\u2013\u2014\u2026]|-{2,}|\.{3,})+(?=\w)"  # a line may break behind it: "well\u2014you know"
_TOKEN = re.compile(rf"\S+?(?:{_DASH}|(?!\S))")
_PARAGRAPH = re.compile(r"\n\s*\n|\u2029")
_PLAIN_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_CLOSING = "\"'\u2019\u201d\u00bb)]}*_"
_AFTERTHOUGHT = re.compile(rf"[{re.escape(_CLOSING)}\s\u200d\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]+$")  # emoji too
_SENTENCE_ENDS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f", "\u061f", "\u0964")
_CLAUSE_ENDS = (",", ";", ":", "-", "\u2013", "\u2014", "\u060c", "\u3001", "\uff0c", "\uff1b", "\uff1a")
_LEAST_MATCHED = 0.5  # of the placed words; below, the aligner has read the transcript in another way


def write_words(phonemes: pd.DataFrame, transcript: str | None, is_word: Callable[[str], bool]) -> WrittenSpeech:
    """Lay a transcript along the words of an alignment's table (columns `ALIGNMENT_COLUMNS`).

    `is_word` is the aligner's dictionary, as for `spoken_words`. An aligner that takes words as they are spelled, in
    any language, is understood too: the reading that more words agree with counts. Without a transcript there are no
    written words.
    """
    placed = placed_words(phonemes)
    if not placed or not (transcript or "").strip():
        return WrittenSpeech(placed, (), (NO_WORD_INDEX,) * len(placed), ())
    text = str(transcript)
    said = [_folded(word.spoken) for word in placed]
    spoken = spoken_places(text, is_word)
    pairs = shared_words(said, [word.word for word in spoken])
    if len(pairs) < _LEAST_MATCHED * len(said):
        spelled = [SpokenWord(_folded(found[0]), *found.span()) for found in _PLAIN_WORD.finditer(_shown(text))]
        other_pairs = shared_words(said, [word.word for word in spelled])
        if len(other_pairs) > len(pairs):
            spoken, pairs = tuple(spelled), other_pairs
    return _placed_units(placed, _units(text, spoken), {at: number for number, at in pairs})


def placed_words(phonemes: pd.DataFrame) -> tuple[PlacedWord, ...]:
    """The words of an alignment's table; silence inside a word belongs to it."""
    rows = phonemes[phonemes["word_index"] != NO_WORD_INDEX]
    if rows.empty:
        return ()
    starts_s, ends_s = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
    lengths_s = ends_s - starts_s
    firsts = np.flatnonzero(np.diff(rows["word_index"].to_numpy(), prepend=-2))
    stops = np.append(firsts[1:], len(rows))
    fits = np.add.reduceat(rows["confidence"].to_numpy() * lengths_s, firsts) / np.add.reduceat(lengths_s, firsts)
    words, phones = rows["word"].tolist(), rows["phone"].tolist()
    return tuple(
        PlacedWord(str(words[a]), float(starts_s[a]), float(ends_s[b - 1]), float(fit), " ".join(phones[a:b]))
        for a, b, fit in zip(firsts.tolist(), stops.tolist(), fits, strict=True)
    )


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word.replace("\u2019", "'")).casefold()


def _shown(transcript: str) -> str:
    """The transcript with spaces in the place of stage directions; offsets stay."""
    pieces, at = [], 0
    for start, stop in stage_directions(transcript):
        pieces += [transcript[at:start], " " * (stop - start)]
        at = stop
    return "".join([*pieces, transcript[at:]])


def _units(transcript: str, spoken: Sequence[SpokenWord]) -> list[_Unit]:
    """Written words in order: tokens between spaces, joined where one reading spans several."""
    text = _shown(transcript)
    spans = [found.span() for found in _TOKEN.finditer(text) if _UNSHOWABLE.sub("", found[0]).strip()]
    if not spans or not spoken:
        return []
    token_starts, token_stops = np.array(spans).T
    firsts = np.searchsorted(token_stops, [word.start for word in spoken], side="right").clip(max=len(spans) - 1)
    lasts = np.searchsorted(token_starts, [max(word.start, word.stop - 1) for word in spoken], side="right") - 1
    lasts = np.maximum(firsts, lasts)
    # A cut before token t opens a unit: none within a reading, none before what no word says.
    is_cut = np.ones(len(spans), np.bool_)
    is_said = np.zeros(len(spans), np.bool_)
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        is_cut[first + 1 : last + 1] = False
        is_said[first : last + 1] = True
    for token in range(1, len(spans)):
        if not is_said[token]:
            opens = unicodedata.category(text[spans[token][0]]) in ("Ps", "Pi") and token + 1 < len(spans)
            is_cut[token + opens] = False
    is_cut[1 : int(np.argmax(is_said)) + 1] = False  # what nobody says at the start goes with the first word
    opening = np.flatnonzero(is_cut)
    closing = np.append(opening[1:], len(spans)) - 1
    words_before = np.searchsorted(firsts, opening)
    words_after = np.append(words_before[1:], len(spoken))
    texts = [_clean(text, spans[a : b + 1]) for a, b in zip(opening.tolist(), closing.tolist(), strict=True)]
    units = []
    for number, (last, first_word, stop_word) in enumerate(
        zip(closing.tolist(), words_before.tolist(), words_after.tolist(), strict=True)
    ):
        between = text[spans[last][1] : spans[last + 1][0]] if last + 1 < len(spans) else "\n\n"
        following = texts[number + 1] if number + 1 < len(texts) else ""
        closes = Closes.SENTENCE if _PARAGRAPH.search(between) else _closing(texts[number], following)
        units.append(_Unit(texts[number], " " if between else "", closes, first_word, stop_word))
    return units


def _clean(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The tokens with one space between them where the text has any, without unshowable signs."""
    pieces, end = [], None
    for start, stop in spans:
        pieces += [" " if end is not None and start > end else "", _UNSHOWABLE.sub("", text[start:stop])]
        end = stop
    return "".join(pieces).strip()


def _closing(text: str, following: str) -> Closes:
    bare = _AFTERTHOUGHT.sub("", text)
    if not bare.endswith(_SENTENCE_ENDS):
        return Closes.CLAUSE if bare.endswith(_CLAUSE_ENDS) else Closes.NOTHING
    stem = bare[:-1].lstrip(_CLOSING + "(\u201c\u2018\u00ab[")
    if not bare.endswith(".") or not (len(stem) == 1 or "." in stem or is_abbreviation(stem)):
        return Closes.SENTENCE
    if is_title(stem) or (len(stem) == 1 and stem != "I"):
        return Closes.NOTHING  # Dr. Smith, J. Austen
    return Closes.SENTENCE if following[:1].isupper() or not following else Closes.NOTHING


def _placed_units(placed: Sequence[PlacedWord], units: Sequence[_Unit], number_of: dict[int, int]) -> WrittenSpeech:
    """Units with the times of their spoken words; `number_of` says which of `placed` a spoken word is."""
    words: list[WrittenWord] = []
    word_of_placed = [NO_WORD_INDEX] * len(placed)
    not_said: list[str] = []
    for unit in units:
        numbers = [number_of[at] for at in range(unit.first, unit.stop) if at in number_of]
        if not numbers:
            not_said.append(unit.text)
            continue
        parts = [placed[number] for number in numbers]
        for number in numbers:
            word_of_placed[number] = len(words)
        lengths_s = [part.end_s - part.start_s for part in parts]
        words.append(
            WrittenWord(
                text=unit.text,
                joiner=unit.joiner,
                closes=unit.closes,
                spoken=" ".join(part.spoken for part in parts),
                start_s=parts[0].start_s,
                end_s=parts[-1].end_s,
                confidence=float(np.average([part.confidence for part in parts], weights=lengths_s)),
                phones=" ".join(part.phones for part in parts),
            )
        )
    return WrittenSpeech(tuple(placed), tuple(words), tuple(word_of_placed), tuple(not_said))
