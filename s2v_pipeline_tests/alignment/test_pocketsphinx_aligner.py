# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner, pcm16
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import DATA, NAMES, boundary_errors_s, joined, load


@pytest.mark.parametrize("name", NAMES)
def test_boundaries_of_known_speech(name: str) -> None:
    known = load(name)
    alignment = PocketsphinxAligner().align(known.waveform, known.transcript)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert len(errors_s) >= 0.9 * (known.truth["phone"] != "SIL").sum()
    assert np.median(errors_s) <= 0.015
    assert np.mean(errors_s <= 0.05) >= 0.9
    assert alignment.phonemes["end_s"].iloc[-1] == float(known.waveform.duration_s)
    assert alignment.fallbacks == alignment.notes == ()
    assert alignment.fit > 0.6


def test_words_are_named_in_order() -> None:
    known = load(NAMES[0])
    table = PocketsphinxAligner().align(known.waveform, "It’s easy to tell the depth of a WELL!").phonemes
    words = table[table["word_index"] >= 0].drop_duplicates("word_index")
    assert list(words["word"]) == ["it's", "easy", "to", "tell", "the", "depth", "of", "a", "well"]
    assert list(words["word_index"]) == list(range(9))


def test_level_does_not_matter() -> None:
    known = load(NAMES[0])
    quiet = Waveform((known.waveform.samples * np.float32(0.001)).astype(np.float32), 16_000)
    loud_table = PocketsphinxAligner().align(known.waveform, known.transcript).phonemes
    quiet_table = PocketsphinxAligner().align(quiet, known.transcript).phonemes
    pd.testing.assert_frame_equal(loud_table, quiet_table, atol=0.021)


def test_words_that_no_dictionary_knows() -> None:
    known = load(NAMES[0])
    alignment = PocketsphinxAligner().align(known.waveform, "It's eezee to tell the depth of a well.")
    assert "eezee" in alignment.notes[0]
    table = alignment.phonemes
    assert list(table.loc[table["word"] == "eezee", "phone"]) == ["IY", "Z", "IY"]
    assert np.median(boundary_errors_s(known.truth, table)) <= 0.025


def test_long_speech() -> None:
    parts = [load(name) for name in NAMES] * 5
    whole = joined(*(part.waveform for part in parts))
    table = PocketsphinxAligner().align(whole, " ".join(part.transcript for part in parts)).phonemes
    offsets_s = np.cumsum([0.0, *(float(part.waveform.duration_s) for part in parts[:-1])])
    truth = pd.concat(
        [part.truth.assign(start_s=part.truth["start_s"] + at_s, end_s=part.truth["end_s"] + at_s)
         for part, at_s in zip(parts, offsets_s, strict=True)]
    )  # fmt: skip
    assert np.median(boundary_errors_s(truth, table)) <= 0.015


@pytest.mark.parametrize("transcript", [None, "", "안녕", "..."])
def test_no_words(transcript: str | None) -> None:
    with pytest.raises(AlignmentError, match="English words"):
        PocketsphinxAligner().align(load(NAMES[0]).waveform, transcript)


def test_far_too_many_words_and_too_little_sound() -> None:
    known = load(NAMES[0])
    with pytest.raises(AlignmentError, match="fit the sound"):
        PocketsphinxAligner().align(known.waveform, "and so on and on it goes " * 40)
    with pytest.raises(AlignmentError, match="fit the sound"):
        PocketsphinxAligner().align(Waveform(np.full(100, 0.1, np.float32), 16_000), "hello")
    # The failure leaves nothing behind.
    assert PocketsphinxAligner().align(known.waveform, known.transcript).fit > 0.6


def test_other_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        pcm16(Waveform(np.zeros(100, np.float32), 8_000))


def test_the_same_bytes_in_any_process() -> None:
    program = (
        "import hashlib; from s2v_pipeline_tests.alignment.known_speech import load;"
        "from s2v_pipeline.alignment.choose import align_speech;"
        f"known = load({NAMES[0]!r});"
        "tables = [align_speech(known.waveform, text, ((0.15, 2.3),)).phonemes for text in (known.transcript, None)];"
        "print(hashlib.sha256(''.join(table.to_csv() for table in tables).encode()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=DATA.parents[1])
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == hashlib.sha256().digest_size * 2
    assert runs[0].stderr == ""
