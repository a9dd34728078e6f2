from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.alignment.choose import MAX_ONE_SEARCH_S, SILENT_METHOD, align_speech
from s2v_pipeline.alignment.piecewise_aligner import METHOD as PIECEWISE_METHOD
from s2v_pipeline.alignment.pocketsphinx_aligner import METHOD as TRANSCRIPT_METHOD
from s2v_pipeline.alignment.recogniser_aligner import METHOD as RECOGNISER_METHOD
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.errors import AlignmentError, SettingsError, WeightsError
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AlignmentSettings
from s2v_pipeline_tests.alignment.known_speech import NAMES, boundary_errors_s, joined, load, tiled


def test_a_fitting_transcript_is_used() -> None:
    known = load(NAMES[0])
    alignment = align_speech(known.waveform, known.transcript, speech_segments(known.waveform))
    assert (alignment.method, alignment.fallbacks, alignment.notes) == (TRANSCRIPT_METHOD, (), ())


@pytest.mark.parametrize("transcript", [None, "", " \n"])
def test_without_transcript(transcript: str | None) -> None:
    known = load(NAMES[0])
    alignment = align_speech(known.waveform, transcript, [list(span) for span in speech_segments(known.waveform)])
    assert (alignment.method, alignment.fallbacks) == (RECOGNISER_METHOD, ())


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        ("Four hours of steady work faced us.", "fit"),
        ("Entirely another sentence, of which not one word is spoken here at all.", "fit"),
        ("It's easy to.", "no word in it"),
        ("안녕하세요", "English words"),
    ],
)
def test_a_transcript_that_does_not_fit_is_given_up_loudly(
    transcript: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = load(NAMES[0])
    with caplog.at_level(logging.WARNING):
        alignment = align_speech(known.waveform, transcript, speech_segments(known.waveform))
    assert alignment.method == RECOGNISER_METHOD
    assert len(alignment.fallbacks) == 1
    assert reason in alignment.fallbacks[0]
    assert alignment.fallbacks[0] in caplog.text


def test_what_short_speech_does_not_say_is_named_and_the_rest_is_placed() -> None:
    known = load(NAMES[0])
    alignment = align_speech(known.waveform, f"{known.transcript} " * 4, speech_segments(known.waveform))
    assert alignment.method == PIECEWISE_METHOD
    assert "27 words, due at" in alignment.notes[0]
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.015


def test_a_wrong_sentence_in_short_speech_is_named_with_its_place() -> None:
    known, said = tiled(4, pause_s=0.5)
    assert known.waveform.duration_s < MAX_ONE_SEARCH_S
    other = "Yesterday our committee published seventeen pages."
    alignment = align_speech(known.waveform, " ".join([*said[:2], other, *said[3:]]), speech_segments(known.waveform))
    (fallback,) = alignment.fallbacks
    assert float(fallback.split("-")[0]) == pytest.approx(float(known.waveform.duration_s) / 2, abs=0.6)
    assert "the transcript was not used" in fallback
    assert "committee" in " ".join(alignment.notes)
    assert np.mean(boundary_errors_s(known.truth, alignment.phonemes) <= 0.05) >= 0.85


@pytest.mark.parametrize("aligner", ["auto", "recogniser"])
def test_another_language_without_a_checkpoint_is_said(aligner: str, caplog: pytest.LogCaptureFixture) -> None:
    known = load(NAMES[0])
    german = AlignmentSettings.model_validate({"aligner": aligner, "language": "de"})
    with caplog.at_level(logging.WARNING):
        alignment = align_speech(known.waveform, "Es ist leicht.", speech_segments(known.waveform), german)
    assert alignment.method == RECOGNISER_METHOD
    assert "transcript was not used" in alignment.fallbacks[0]
    assert alignment.fallbacks[0] in caplog.text
    assert any("language de" in note for note in alignment.notes)


def test_what_pocketsphinx_alone_refuses() -> None:
    known = load(NAMES[0])
    segments = speech_segments(known.waveform)
    alone = AlignmentSettings(aligner="pocketsphinx")
    assert align_speech(known.waveform, known.transcript, segments, alone).method == TRANSCRIPT_METHOD
    with pytest.raises(AlignmentError, match="needs a transcript"):
        align_speech(known.waveform, None, segments, alone)
    with pytest.raises(AlignmentError, match="heard in the speech"):
        align_speech(known.waveform, "Four hours of steady work faced us.", segments, alone)
    with pytest.raises(SettingsError, match="knows English alone"):
        align_speech(known.waveform, "Hallo", segments, AlignmentSettings(aligner="pocketsphinx", language="de"))


def test_a_checkpoint_must_be_named_and_there(tmp_path: Path) -> None:
    known = load(NAMES[0])
    segments = speech_segments(known.waveform)
    with pytest.raises(SettingsError, match=r"needs alignment\.ctc_checkpoint"):
        align_speech(known.waveform, None, segments, AlignmentSettings(aligner="ctc"))
    with pytest.raises((WeightsError, SettingsError), match=r"must be a folder|needs torch"):
        align_speech(known.waveform, None, segments, AlignmentSettings(ctc_checkpoint=tmp_path / "nothing"))


def test_a_transcript_that_leaves_a_part_out_is_said_with_the_place() -> None:
    parts = [load(name) for name in NAMES]
    whole = joined(*(part.waveform for part in [*parts, parts[0], parts[1], parts[0]]))
    said = " ".join(part.transcript for part in [*parts, parts[0], parts[1]])
    alignment = align_speech(whole, said, speech_segments(whole))
    missing_s = float(whole.duration_s) - float(parts[0].waveform.duration_s)
    (fallback,) = alignment.fallbacks
    start_s, end_s = (float(edge) for edge in fallback.split(" s:")[0].split("-"))
    assert start_s <= missing_s + 0.5
    assert end_s >= missing_s + 1.5
    assert "the transcript was not used" in fallback


def test_no_speech_is_silence() -> None:
    noise = Waveform((0.1 * np.random.default_rng(0).standard_normal(32_001)).astype(np.float32), 16_000)
    alignment = align_speech(noise, "hello there", speech_segments(noise))
    assert alignment.method == SILENT_METHOD
    assert list(alignment.phonemes["phone"]) == ["SIL"]
    assert alignment.phonemes["end_s"].iloc[0] == 32_001 / 16_000
    assert "no speech" in alignment.notes[0]
    assert "transcript was not used" in alignment.fallbacks[0]
    assert align_speech(noise, None, ()).fallbacks == ()
