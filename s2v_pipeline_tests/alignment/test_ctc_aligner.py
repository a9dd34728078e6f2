# ruff: noqa: RUF001  The odd letters are the point.

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.ctc_aligner import METHOD, CtcAligner
from s2v_pipeline.alignment.ctc_search import CtcSearch
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.errors import AlignmentError, SettingsError
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AlignmentSettings
from s2v_pipeline_tests.alignment.ctc_checkpoints import NEEDS_TORCH, PHONEMES, of_letters, written
from s2v_pipeline_tests.alignment.known_speech import NAMES, KnownSpeech, boundary_errors_s, load, tiled

pytestmark = NEEDS_TORCH

OTHER = "Yesterday our committee published seventeen pages of angry letters."
WORDS = {
    NAMES[0]: ["IH T S", "IY Z IY", "T AH", "T EH L", "DH AH", "D EH P TH", "AH V", "AH", "W EH L"],
    NAMES[1]: ["DH AH", "JH UW S", "AH V", "L EH M AH N Z", "M EY K S", "F AY N", "P AH N CH"],
}


def _aligner(known: KnownSpeech, checkpoint: Path = PHONEMES, language: str = "en") -> CtcAligner:
    return CtcAligner(checkpoint, speech_segments(known.waveform), language)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_letters(tmp_path_factory.mktemp("checkpoints") / "letters")


@pytest.mark.parametrize("name", NAMES)
def test_boundaries_with_the_transcript(name: str) -> None:
    known = load(name)
    alignment = _aligner(known).align(known.waveform, known.transcript)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert (alignment.method, alignment.fallbacks, alignment.notes) == (CtcSearch.method, (), ())
    assert len(errors_s) >= 0.9 * (known.truth["phone"] != SILENCE).sum()
    assert np.median(errors_s) <= 0.015
    assert np.mean(errors_s) <= 0.025
    assert np.mean(errors_s <= 0.03) >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_boundaries_without_a_transcript(name: str) -> None:
    known = load(name)
    alignment = _aligner(known).align(known.waveform)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert (alignment.method, alignment.fallbacks) == (METHOD, ())
    assert len(errors_s) >= 0.7 * (known.truth["phone"] != SILENCE).sum()
    assert np.median(errors_s) <= 0.02
    assert alignment.fit > 0.4


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_has_no_bias_in_time(name: str) -> None:
    """Frames stand for the middle of what they hear: boundaries come neither early nor late."""
    known = load(name)
    table = _aligner(known).align(known.waveform, known.transcript).phonemes
    found, true = (each[each["phone"] != SILENCE] for each in (table, known.truth))
    pairs = [
        (row.start_s, float(near.iloc[(near["start_s"] - row.start_s).abs().argmin()]["start_s"]))
        for row in true.itertuples()
        if len(near := found[found["phone"] == row.phone])
    ]
    signed_s = np.array([got - want for want, got in pairs if abs(got - want) < 0.05])
    assert signed_s.size >= 15
    assert abs(signed_s.mean()) <= 0.008


def test_a_shifted_sound_shifts_the_phones() -> None:
    known = load(NAMES[0])
    shift = 7 * 320 + 160
    later = Waveform(np.concatenate([np.zeros(shift, np.float32), known.waveform.samples]), 16_000)
    spans = speech_segments(known.waveform)
    moved = tuple((a + shift / 16_000, b + shift / 16_000) for a, b in spans)
    one = CtcAligner(PHONEMES, spans).align(known.waveform, known.transcript).phonemes
    two = CtcAligner(PHONEMES, moved).align(later, known.transcript).phonemes
    first, second = (each[each["phone"] != SILENCE]["start_s"].to_numpy() for each in (one, two))
    assert np.median(second - first) == pytest.approx(shift / 16_000, abs=0.011)


def test_a_language_of_letters_with_a_transcript(letters: Path) -> None:
    known = load(NAMES[0])
    text = " ".join(written(word.split()) for word in WORDS[NAMES[0]])
    alignment = _aligner(known, letters, "rue").align(known.waveform, text.title() + "!")
    table = alignment.phonemes
    assert list(table[table["word_index"] >= 0].drop_duplicates("word_index")["word"]) == text.split()
    assert np.median(boundary_errors_s(known.truth, table)) <= 0.02
    assert any("share a word's letters" in note for note in alignment.notes)
    assert any("language rue" in note for note in alignment.notes)


def test_a_language_of_letters_without_a_transcript(letters: Path) -> None:
    known = load(NAMES[0])
    alignment = _aligner(known, letters, "rue").align(known.waveform)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert len(errors_s) >= 0.6 * (known.truth["phone"] != SILENCE).sum()
    assert np.median(errors_s) <= 0.03


def test_a_transcript_in_the_checkpoints_own_phonemes() -> None:
    known = load(NAMES[0])
    text = "ɪts iːziː tə tɛl ðə dɛpθ əv ə wɛl"
    alignment = _aligner(known, language="und").align(known.waveform, text)
    assert [word for word in alignment.phonemes["word"].unique() if word] == text.split()
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.015


@pytest.mark.parametrize("text", ["你好世界", "1984 2001", "...", "नमस्ते दुनिया"])
def test_words_that_the_checkpoint_cannot_spell(text: str, letters: Path) -> None:
    known = load(NAMES[0])
    with pytest.raises(AlignmentError, match="language zh") as caught:
        _aligner(known, letters, "zh").align(known.waveform, text)
    assert "alignment.language" in caught.value.cure


def test_a_word_that_it_cannot_spell_is_noted_and_the_others_placed(letters: Path) -> None:
    known = load(NAMES[0])
    words = [written(word.split()) for word in WORDS[NAMES[0]]]
    alignment = _aligner(known, letters, "rue").align(known.waveform, " ".join([*words[:4], "世界", *words[4:]]))
    assert any("世界" in note for note in alignment.notes)
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.02


def test_a_wrong_transcript_is_given_up_loudly(caplog: pytest.LogCaptureFixture) -> None:
    known = load(NAMES[0])
    settings = AlignmentSettings(ctc_checkpoint=PHONEMES)
    with caplog.at_level(logging.WARNING):
        alignment = align_speech(known.waveform, OTHER, speech_segments(known.waveform), settings)
    assert alignment.method == METHOD
    assert "the transcript was not used" in alignment.fallbacks[0]
    assert alignment.fallbacks[0] in caplog.text


def test_a_wrong_sentence_is_named_with_its_place() -> None:
    known, said = tiled(4, pause_s=0.5)
    alignment = _aligner(known).align(known.waveform, " ".join([*said[:2], OTHER, *said[3:]]))
    (fallback,) = alignment.fallbacks
    assert float(fallback.split("-")[0]) == pytest.approx(float(known.waveform.duration_s) / 2, abs=0.6)
    assert "committee" in " ".join(alignment.notes)
    assert np.mean(boundary_errors_s(known.truth, alignment.phonemes) <= 0.05) >= 0.8


def test_long_speech_in_pieces() -> None:
    known, _ = tiled(10, pause_s=0.3)
    assert known.waveform.duration_s > 22  # more than one piece
    alignment = _aligner(known).align(known.waveform, known.transcript)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert np.median(errors_s) <= 0.015
    assert np.mean(errors_s <= 0.05) >= 0.9


def test_without_torch_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "s2v_pipeline.alignment.ctc", raising=False)
    known = load(NAMES[0])
    with pytest.raises(SettingsError, match="needs torch") as caught:
        _aligner(known).align(known.waveform, None)
    assert "[ctc]" in caught.value.cure
