# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from praatio import textgrid

from s2v_pipeline.alignment.aligner import complete_table
from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.exports import (
    CAPTION_PARTS,
    NO_TRANSCRIPT,
    TRANSCRIPT_NOT_USED,
    WORD_COLUMNS,
    WordFiles,
    ctm,
    text_grid,
    text_grid_tiers,
    words_table,
    write_word_files,
)
from s2v_pipeline.alignment.transcript import spoken_words
from s2v_pipeline.alignment.written_words import WrittenSpeech, write_words
from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline_tests.alignment.known_speech import NAMES, load
from s2v_pipeline_tests.alignment.spoken_tables import HOSTILE, is_word, table_of

PAID = "Dr. Smith paid $5.50 at 3:30 p.m. in 1999."


def _speech(transcript: str, said: list[str] | None = None) -> tuple[WrittenSpeech, pd.DataFrame, Fraction]:
    table, duration_s = table_of(said or spoken_words(transcript, is_word))
    return write_words(table, transcript, is_word), table, duration_s


def _write(
    folder: Path, table: pd.DataFrame, transcript: str | None, duration_s: Fraction
) -> tuple[ArtifactStore, WordFiles]:
    store = ArtifactStore(folder)
    return store, write_word_files(store, "anna", table, transcript, duration_s, key="k")


def _text(store: ArtifactStore, part: str) -> str:
    return store.read_path("phoneme_alignments", "anna", part).read_text(encoding="utf-8")


@pytest.mark.parametrize("transcript", [PAID, HOSTILE, 'He said "no" ""'], ids=["paid", "hostile", "quotes"])
def test_a_text_grid_read_by_another_program(transcript: str, tmp_path: Path) -> None:
    speech, table, duration_s = _speech(transcript)
    path = tmp_path / "a.TextGrid"
    path.write_text(text_grid(text_grid_tiers(speech, table), duration_s), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("words", "phones", "written")
    assert grid.minTimestamp == 0
    assert grid.maxTimestamp == float(duration_s)
    for tier in grid.tiers:  # whole, without gap
        assert tier.entries[0].start == 0
        assert tier.entries[-1].end == float(duration_s)
        assert all(a.end == b.start for a, b in zip(tier.entries, tier.entries[1:], strict=False))
    for name, words in (
        ("words", [(word.start_s, word.end_s, word.spoken) for word in speech.placed]),
        ("written", [(word.start_s, word.end_s, word.text) for word in speech.words]),
    ):
        assert [tuple(entry) for entry in grid.getTier(name).entries if entry.label] == words
    assert len(grid.getTier("phones").entries) == len(table)


def test_a_text_grid_without_words() -> None:
    table = complete_table([], Fraction(2))
    text = text_grid(text_grid_tiers(write_words(table, None, is_word), table), Fraction(2))
    assert text.count("intervals: size = 1 ") == 2
    assert text.endswith('            xmin = 0.0 \n            xmax = 2.0 \n            text = "" \n')


def test_ctm_has_one_line_a_spoken_word() -> None:
    speech, _, _ = _speech("He paid $5.")
    assert ctm(speech, "anna").splitlines() == [
        "anna 1 0.000 0.300 he 0.600",
        "anna 1 0.300 0.300 paid 0.600",
        "anna 1 0.600 0.300 five 0.600",
        "anna 1 0.900 0.300 dollars 0.600",
    ]
    odd, _, _ = _speech("", ["a b"])
    assert [len(line.split()) for line in ctm(odd, "anna").splitlines()] == [6]


def test_the_table_of_words_has_what_is_written_and_what_is_only_heard() -> None:
    speech, _, _ = _speech("First $5. Then", ["first", "five", "dollars", "ðəs", "then"])
    table = words_table(speech)
    assert tuple(table.columns) == WORD_COLUMNS
    assert table["word"].tolist() == ["First", "$5.", "", "Then"]
    assert table["spoken"].tolist() == ["first", "five dollars", "ðəs", "then"]
    assert table["start_s"].tolist() == pytest.approx([0, 0.3, 0.9, 1.2])
    assert table["end_s"].tolist() == pytest.approx([0.3, 0.9, 1.2, 1.5])


def test_files_of_a_real_sentence_with_its_transcript(tmp_path: Path) -> None:
    known = load(NAMES[0])
    aligned = align_speech(known.waveform, known.transcript, speech_segments(known.waveform))
    store, files = _write(tmp_path, aligned.phonemes, known.transcript, known.waveform.duration_s)
    assert files.parts == ("alignment.TextGrid", "words.ctm", "words.csv", *CAPTION_PARTS)
    assert files.no_captions == ""
    assert files.notes == ()
    assert json.loads(json.dumps(files.to_attrs()))["captions"] == ["captions.srt", "captions.vtt"]
    assert " ".join(files.words["word"]) == known.transcript
    assert " ".join(_text(store, "captions.srt").splitlines()[2:]).strip() == known.transcript
    rows = list(csv.DictReader(_text(store, "words.csv").splitlines()))
    assert [row["word"] for row in rows] == known.transcript.split()
    # The words' boundaries are those of the truth, as far as the aligner goes.
    assert float(rows[0]["start_s"]) == pytest.approx(aligned.phonemes["start_s"][1], abs=1e-3)


def test_recognised_speech_has_no_captions_and_says_why(tmp_path: Path) -> None:
    known = load(NAMES[0])
    aligned = align_speech(known.waveform, None, speech_segments(known.waveform))
    store, files = _write(tmp_path, aligned.phonemes, None, known.waveform.duration_s)
    assert files.parts == ("alignment.TextGrid", "words.ctm", "words.csv")
    assert files.no_captions == NO_TRANSCRIPT
    assert (files.words["word"] == "").all()
    assert len(_text(store, "words.ctm").splitlines()) == len(files.words) > 0


def test_a_transcript_of_something_else_has_no_captions(tmp_path: Path) -> None:
    table, duration_s = table_of(["ðɪs", "wəz", "ðæt"])
    _, files = _write(tmp_path, table, "Nobody says any of it.", duration_s)
    assert files.no_captions == TRANSCRIPT_NOT_USED
    assert not set(files.parts) & set(CAPTION_PARTS)


def test_captions_of_an_earlier_alignment_do_not_stay(tmp_path: Path) -> None:
    table, duration_s = table_of(["he", "left"])
    store, _ = _write(tmp_path, table, "He left.", duration_s)
    assert store.provenance("phoneme_alignments", "anna", "captions.srt") is not None
    _write(tmp_path, table, None, duration_s)
    assert (
        sorted(path.name for path in (tmp_path / "phoneme_alignments" / "anna").iterdir() if "srt" in path.name) == []
    )


def test_what_captions_leave_out_is_said(tmp_path: Path) -> None:
    said = ["first", "we", "paid", "ðəs", "then", "left"]
    table, duration_s = table_of(said)
    transcript = f"First we paid. Nobody says this. Then left {'x' * 100}."
    _, files = _write(tmp_path, table, transcript, duration_s)
    assert files.notes == (
        f"captions leave out what is not heard: 4 words of the transcript: Nobody says this. {'x' * 100}.",
        "no captions for 0.3 s of speech that the transcript does not have",
    )


def test_silence_is_written(tmp_path: Path) -> None:
    store, files = _write(tmp_path, complete_table([], Fraction(2)), "Hello.", Fraction(2))
    assert files.no_captions == TRANSCRIPT_NOT_USED
    assert _text(store, "words.ctm") == ""
    assert _text(store, "words.csv").splitlines() == [",".join(WORD_COLUMNS)]
