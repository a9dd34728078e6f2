"""An alignment as files that other programs read, beside its table in the artifact store.

Belongs here: TextGrid, CTM and the table of words as text; which files there are, and why one is not.
Does not belong here: captions' text (caption_files) and cuts (captions), what a written word is (written_words).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pandas as pd

from s2v_pipeline.alignment.aligner import NO_WORD_INDEX
from s2v_pipeline.alignment.caption_files import srt_text, vtt_text
from s2v_pipeline.alignment.captions import n_cut_words, phrase_captions, word_captions
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.pocketsphinx_aligner import new_decoder
from s2v_pipeline.alignment.written_words import WrittenSpeech, write_words
from s2v_pipeline.artifacts import ArtifactStore

ASSET = "phoneme_alignments"
TEXT_GRID_PART, CTM_PART, WORDS_PART = "alignment.TextGrid", "words.ctm", "words.csv"
PHRASE_CAPTION_PARTS = ("captions.srt", "captions.vtt")
WORD_CAPTION_PARTS = ("words.srt", "words.vtt")
CAPTION_PARTS = (*PHRASE_CAPTION_PARTS, *WORD_CAPTION_PARTS)

WORD_COLUMNS = ("word", "spoken", "start_s", "end_s", "confidence", "phones")
"""Columns of the table of words: `word` as the transcript has it ('' where there is none), `spoken` as it is said (IPA
where it was recognised; several words for "$5"), the rest as in `Alignment`, over all its phones."""

NO_TRANSCRIPT = "no captions: there is no transcript, and recognised sounds (IPA) are not spelling"
TRANSCRIPT_NOT_USED = "no captions: no word of the transcript was placed in the speech"

_MOST_NAMED = 12  # words that a note names
_CHANNEL = 1  # of a CTM line: there is one
_TIMES = ".3f"

Tier = tuple[str, Sequence[tuple[float, float, str]]]


@dataclass(frozen=True, eq=False)
class WordFiles:
    """What was written beside an alignment.

    Attributes:
        words: one row a word, columns `WORD_COLUMNS`.
        parts: names of the files in the store.
        no_captions: why there are none; '' where there are.
        notes: what a reader of the captions should know.
    """

    words: pd.DataFrame
    parts: tuple[str, ...]
    no_captions: str
    notes: tuple[str, ...]

    def to_attrs(self) -> dict[str, str | list[str]]:
        """Plain values for a table's `attrs`; `captions` names the files to show with a video."""
        captions = [part for part in self.parts if part in PHRASE_CAPTION_PARTS]
        return {"captions": captions, "no_captions": self.no_captions, "caption_notes": list(self.notes)}


def write_word_files(
    store: ArtifactStore,
    input_id: str,
    phonemes: pd.DataFrame,
    transcript: str | None,
    duration_s: Fraction,
    *,
    key: str,
) -> WordFiles:
    """Write TextGrid, CTM and words.csv of an alignment's table, and captions where its words are the transcript's.

    Captions of an earlier alignment that this one does not have are removed.

    Raises:
        ArtifactError: the disk is full or may not be written.
    """
    decoder = new_decoder()
    speech = write_words(phonemes, transcript, lambda word: decoder.lookup_word(word) is not None)
    words = words_table(speech)
    no_captions = ""
    if not speech.words:
        no_captions = TRANSCRIPT_NOT_USED if (transcript or "").strip() else NO_TRANSCRIPT
    texts: dict[str, str] = {
        TEXT_GRID_PART: text_grid(text_grid_tiers(speech, phonemes), duration_s),
        CTM_PART: ctm(speech, input_id),
        WORDS_PART: words.to_csv(index=False, float_format=f"%{_TIMES}", lineterminator="\n"),
        **({} if no_captions else _caption_texts(speech, duration_s)),
    }
    for part, text in texts.items():
        store.write(ASSET, input_id, part, _writer(text), key=key, made_by=ASSET)
    for part in CAPTION_PARTS:
        if part not in texts:
            store.remove(ASSET, input_id, part)
    return WordFiles(words, tuple(texts), no_captions, _notes(speech))


def words_table(speech: WrittenSpeech) -> pd.DataFrame:
    """One row a written word in order of time, and one for each recognised word between them."""
    rows: list[tuple[str, str, float, float, float, str]] = []
    last_written = NO_WORD_INDEX
    for placed, number in zip(speech.placed, speech.word_of_placed, strict=True):
        if number == NO_WORD_INDEX:
            rows.append(("", placed.spoken, placed.start_s, placed.end_s, placed.confidence, placed.phones))
        elif number != last_written:
            word = speech.words[number]
            rows.append((word.text, word.spoken, word.start_s, word.end_s, word.confidence, word.phones))
            last_written = number
    table = pd.DataFrame(rows, columns=list(WORD_COLUMNS))
    return table.astype({"start_s": "float64", "end_s": "float64", "confidence": "float64"})


def ctm(speech: WrittenSpeech, name: str) -> str:
    """NIST CTM: one line a spoken word with file, channel, start and duration in seconds, word, confidence.

    The format is that of NIST's sclite. `name` must hold no white space; confidence is a fit, not a probability.
    """
    lines = []
    for word in speech.placed:
        start_s, end_s = round(word.start_s, 3), round(word.end_s, 3)
        spoken = "_".join(word.spoken.split())
        lines.append(
            f"{name} {_CHANNEL} {start_s:{_TIMES}} {end_s - start_s:{_TIMES}} {spoken} {word.confidence:{_TIMES}}\n"
        )
    return "".join(lines)


def text_grid_tiers(speech: WrittenSpeech, phonemes: pd.DataFrame) -> tuple[Tier, ...]:
    """Tiers `words` (as spoken), `phones`, and `written` where there is a transcript; silence has no label."""
    phones = zip(phonemes["start_s"].tolist(), phonemes["end_s"].tolist(), phonemes["phone"].tolist(), strict=True)
    tiers: list[Tier] = [
        ("words", [(word.start_s, word.end_s, word.spoken) for word in speech.placed]),
        ("phones", [(start_s, end_s, "" if phone == SILENCE else phone) for start_s, end_s, phone in phones]),
    ]
    if speech.words:
        tiers.append(("written", [(word.start_s, word.end_s, word.text) for word in speech.words]))
    return tuple(tiers)


def text_grid(tiers: Sequence[Tier], duration_s: Fraction) -> str:
    """Praat's long text format (its manual, "TextGrid file formats"): tiers of (start_s, end_s, label), sorted.

    What lies between intervals becomes intervals without label, so that each tier is whole from 0 to the end.
    """
    end_s = float(duration_s)
    head = (
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = {end_s!r} \n'
        f"tiers? <exists> \nsize = {len(tiers)} \nitem []: \n"
    )
    blocks = [head]
    for number, (name, intervals) in enumerate(tiers, start=1):
        whole = list(_without_gaps(intervals, end_s))
        blocks.append(
            f'    item [{number}]:\n        class = "IntervalTier" \n        name = {_quoted(name)} \n'
            f"        xmin = 0 \n        xmax = {end_s!r} \n        intervals: size = {len(whole)} \n"
        )
        blocks.extend(
            f"        intervals [{at}]:\n            xmin = {start_s!r} \n            xmax = {stop_s!r} \n"
            f"            text = {_quoted(label)} \n"
            for at, (start_s, stop_s, label) in enumerate(whole, start=1)
        )
    return "".join(blocks)


def _without_gaps(intervals: Iterable[tuple[float, float, str]], end_s: float) -> Iterable[tuple[float, float, str]]:
    time_s = 0.0
    for start_s, stop_s, label in intervals:
        if start_s > time_s:
            yield time_s, start_s, ""
        yield start_s, stop_s, label
        time_s = stop_s
    if time_s < end_s:
        yield time_s, end_s, ""


def _quoted(label: str) -> str:
    doubled = label.replace('"', '""')
    return f'"{doubled}"'


def _caption_texts(speech: WrittenSpeech, duration_s: Fraction) -> Mapping[str, str]:
    phrases, words = phrase_captions(speech.words, duration_s), word_captions(speech.words, duration_s)
    return dict(
        zip(CAPTION_PARTS, (srt_text(phrases), vtt_text(phrases), srt_text(words), vtt_text(words)), strict=True)
    )


def _notes(speech: WrittenSpeech) -> tuple[str, ...]:
    if not speech.words:
        return ()
    notes = []
    if speech.not_said:
        named = " ".join(speech.not_said[:_MOST_NAMED]) + (" ..." if len(speech.not_said) > _MOST_NAMED else "")
        notes.append(f"captions leave out what is not heard: {len(speech.not_said)} words of the transcript: {named}")
    recognised_s = sum(
        placed.end_s - placed.start_s
        for placed, number in zip(speech.placed, speech.word_of_placed, strict=True)
        if number == NO_WORD_INDEX
    )
    if recognised_s:
        notes.append(f"no captions for {recognised_s:.1f} s of speech that the transcript does not have")
    if n_cut := n_cut_words(speech.words):
        notes.append(f"captions show the beginning alone of words that do not fit on two lines: {n_cut}")
    return tuple(notes)


def _writer(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8", newline="\n")

    return write
