"""What every implementation of the `Aligner` protocol keeps to, with a transcript or without.

Belongs here: promises of the protocol. Does not belong here: how exact a single aligner is (its own tests).
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.aligner import Aligner, Alignment
from s2v_pipeline.alignment.ctc_aligner import CtcAligner
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.piecewise_aligner import PiecewiseAligner
from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner
from s2v_pipeline.alignment.recogniser_aligner import RecogniserAligner
from s2v_pipeline.audio.voice_activity import Segments, speech_segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.ctc_checkpoints import NEEDS_TORCH, PHONEMES
from s2v_pipeline_tests.alignment.known_speech import NAMES, boundary_errors_s, joined, load

NEW: dict[str, Callable[[Segments], Aligner]] = {
    "pocketsphinx": lambda segments: PocketsphinxAligner(),
    "piecewise": PiecewiseAligner,
    "recogniser": RecogniserAligner,
    "phone_loop": RecogniserAligner,  # with a recogniser that hears nothing: see `make`
    "ctc": lambda segments: CtcAligner(PHONEMES, segments),
}
WITH_TRANSCRIPT = ("pocketsphinx", "piecewise", "ctc")
WITHOUT = ("recogniser", "phone_loop", "ctc")
OTHER = "Yesterday our committee published seventeen pages of angry letters."
Make = Callable[[str, Segments], Aligner]


def _each(names: tuple[str, ...]) -> pytest.MarkDecorator:
    marks = {name: [NEEDS_TORCH] if name == "ctc" else [] for name in names}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in names])


every = _each(tuple(NEW))
with_transcript = _each(WITH_TRANSCRIPT)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes an aligner by its name."""

    def new(name: str, segments: Segments) -> Aligner:
        if name == "phone_loop":
            nothing = lambda *_: ([], "the recogniser heard no phones")  # noqa: E731
            monkeypatch.setattr("s2v_pipeline.alignment.recogniser_aligner.recognise", nothing)
        return NEW[name](segments)

    return new


def _transcript(name: str, text: str) -> str | None:
    return text if name in WITH_TRANSCRIPT else None


def _align(aligner: Aligner, waveform: Waveform, transcript: str | None) -> Alignment:
    alignment = aligner.align(waveform, transcript)
    table = alignment.phonemes
    assert table["start_s"].iloc[0] == 0
    assert table["end_s"].iloc[-1] == float(waveform.duration_s)
    assert (table["start_s"].to_numpy()[1:] == table["end_s"].to_numpy()[:-1]).all()
    spoken = table[table["phone"] != SILENCE]
    assert (spoken["word"] != "").all()
    assert spoken["confidence"].between(0, 1).all()
    indices = spoken["word_index"].to_numpy()
    assert (np.diff(indices) >= 0).all()
    assert set(indices) == set(range(len(set(indices))))
    return alignment


def _words(table: pd.DataFrame) -> list[str]:
    return list(table[table["word_index"] >= 0].drop_duplicates("word_index")["word"])


def _spoken_s(table: pd.DataFrame, from_s: float, until_s: float) -> float:
    """Length of what is not silence between two times."""
    spoken = table[table["phone"] != SILENCE]
    inside = np.minimum(spoken["end_s"], until_s) - np.maximum(spoken["start_s"], from_s)
    return float(inside.clip(lower=0).sum())


def _silence(length_s: float) -> Waveform:
    return Waveform(np.zeros(round(length_s * 16_000), np.float32), 16_000)


@every
def test_a_sentence(name: str, make: Make) -> None:
    known = load(NAMES[0])
    aligner = make(name, speech_segments(known.waveform))
    alignment = _align(aligner, known.waveform, _transcript(name, known.transcript))
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.05
    assert alignment.method
    assert (name == "phone_loop") or alignment.fit > 0.2  # the phone loop scores nothing
    if name in WITH_TRANSCRIPT:
        assert _words(alignment.phonemes) == ["it's", "easy", "to", "tell", "the", "depth", "of", "a", "well"]


@_each(WITHOUT)
def test_a_sentence_without_transcript(name: str, make: Make) -> None:
    known = load(NAMES[1])
    table = _align(make(name, speech_segments(known.waveform)), known.waveform, None).phonemes
    assert len(table) >= 15


@every
def test_calls_leave_nothing_behind(name: str, make: Make) -> None:
    first, second = (load(each) for each in NAMES)
    aligner = make(name, speech_segments(first.waveform))
    once = aligner.align(first.waveform, _transcript(name, first.transcript)).phonemes
    make(name, speech_segments(second.waveform)).align(second.waveform, _transcript(name, second.transcript))
    pd.testing.assert_frame_equal(once, aligner.align(first.waveform, _transcript(name, first.transcript)).phonemes)


def test_the_same_bytes_in_any_process() -> None:
    names = [name for name in NEW if name != "phone_loop" and (NEEDS_TORCH.args[0] is False or name != "ctc")]
    program = (
        "import hashlib; from s2v_pipeline_tests.alignment.known_speech import load, NAMES;"
        "from s2v_pipeline_tests.alignment.test_contract import NEW; known = load(NAMES[0]);"
        f"tables = [NEW[name](((0.15, 2.1),)).align(known.waveform, known.transcript).phonemes for name in {names!r}];"
        "print(hashlib.sha256(''.join(table.to_csv() for table in tables).encode()).hexdigest())"
    )
    known = load(NAMES[0])
    here = [NEW[name](((0.15, 2.1),)).align(known.waveform, known.transcript).phonemes for name in names]
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert ran.stdout.strip() == hashlib.sha256("".join(table.to_csv() for table in here).encode()).hexdigest()


@every
def test_silence_is_silence(name: str, make: Make) -> None:
    silence = _silence(1.5)
    alignment = _align(make(name, ()), silence, _transcript(name, "hello there"))
    assert list(alignment.phonemes["phone"]) == [SILENCE]
    assert alignment.fit == 0


@every
@pytest.mark.parametrize("length_s", [0.2, 0.03])
def test_very_short_speech(name: str, length_s: float, make: Make) -> None:
    known = load(NAMES[0])
    syllable = Waveform(known.waveform.samples[28_000 : 28_000 + round(length_s * 16_000)].copy(), 16_000)
    try:
        alignment = _align(make(name, ((0.0, length_s),)), syllable, _transcript(name, "well"))
    except AlignmentError:
        refused = True
    else:
        refused = False
        assert len(alignment.phonemes) <= 6
    assert not refused or name in WITH_TRANSCRIPT


@every
def test_long_pauses_stay_silent(name: str, make: Make) -> None:
    known = load(NAMES[0])
    length_s, pause_s = float(known.waveform.duration_s), 4.0
    whole = joined(known.waveform, _silence(pause_s), known.waveform)
    aligner = make(name, speech_segments(whole))
    table = _align(aligner, whole, _transcript(name, f"{known.transcript} {known.transcript}")).phonemes
    assert _spoken_s(table, length_s, length_s + pause_s) <= 0.1
    for from_s in (0.0, length_s + pause_s):
        assert _spoken_s(table, from_s, from_s + length_s) >= 1.2


@with_transcript
def test_writing_that_nobody_says(name: str, make: Make) -> None:
    known = load(NAMES[0])
    text = "[applause] It’s EASY -- to tell (the 'depth' of a well)... *laughs*"  # noqa: RUF001
    table = _align(make(name, speech_segments(known.waveform)), known.waveform, text).phonemes
    assert _words(table) == ["it's", "easy", "to", "tell", "the", "depth", "of", "a", "well"]


@with_transcript
def test_numbers_are_spoken_out_and_unknown_words_pronounced(name: str, make: Make) -> None:
    known = load(NAMES[0])
    alignment = _align(
        make(name, speech_segments(known.waveform)), known.waveform, "It's eezee 2 tell the depth of a well"
    )
    assert _words(alignment.phonemes) == ["it's", "eezee", "two", "tell", "the", "depth", "of", "a", "well"]
    assert any("eezee" in note for note in alignment.notes)
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.05


@every
def test_other_rates_are_refused(name: str, make: Make) -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        make(name, ((0.0, 1.0),)).align(Waveform(np.zeros(8_000, np.float32), 8_000), "hello")


@with_transcript
def test_words_of_something_else_are_refused_or_fit_badly(name: str, make: Make) -> None:
    known = load(NAMES[0])
    aligner = make(name, speech_segments(known.waveform))
    right = aligner.align(known.waveform, known.transcript).fit
    try:
        wrong = aligner.align(known.waveform, OTHER).fit
    except AlignmentError:
        wrong = 0.0
    assert wrong < 0.6 * right


@with_transcript
def test_what_the_transcript_lacks_does_not_move_the_rest(name: str, make: Make) -> None:
    """A hesitation before the sentence: the synthesiser's own vowel, as "uh", with a pause behind it."""
    known = load(NAMES[0])
    vowel = known.truth[known.truth["phone"] == "IY"].iloc[0]
    sound = known.waveform.samples[round(vowel.start_s * 16_000) : round(vowel.end_s * 16_000)]
    hesitation = Waveform(np.concatenate([np.tile(sound, 3), np.zeros(8_000, np.float32)]), 16_000)
    whole = joined(hesitation, known.waveform)
    at_s = float(hesitation.duration_s)
    table = _align(make(name, speech_segments(whole)), whole, known.transcript).phonemes
    truth = known.truth.assign(start_s=known.truth["start_s"] + at_s, end_s=known.truth["end_s"] + at_s)
    errors_s = boundary_errors_s(truth, table)
    assert np.median(errors_s) <= 0.05
    assert np.mean(errors_s <= 0.1) >= 0.8


@with_transcript
def test_silence_inside_a_word(name: str, make: Make) -> None:
    known = load(NAMES[0])
    cut = round(1.427 * 16_000)  # dep-th
    whole = joined(
        Waveform(known.waveform.samples[:cut].copy(), 16_000),
        _silence(0.4),
        Waveform(known.waveform.samples[cut:].copy(), 16_000),
    )
    table = _align(make(name, speech_segments(whole)), whole, known.transcript).phonemes
    assert _words(table)[-3:] == ["of", "a", "well"]
    after = table[table["word"].isin(["of", "a", "well"])]
    assert after["start_s"].iloc[0] == pytest.approx(1.488 + 0.4, abs=0.12)
    assert after["end_s"].iloc[-1] == pytest.approx(2.066 + 0.4, abs=0.12)


@functools.lru_cache
def _fit_of(name: str) -> float:
    known = load(NAMES[0])
    return NEW[name](speech_segments(known.waveform)).align(known.waveform, known.transcript).fit


@with_transcript
def test_level_does_not_matter(name: str) -> None:
    known = load(NAMES[0])
    quiet = Waveform((known.waveform.samples * np.float32(0.01)).astype(np.float32), 16_000)
    fit = NEW[name](speech_segments(known.waveform)).align(quiet, known.transcript).fit
    assert fit == pytest.approx(_fit_of(name), abs=0.05)
