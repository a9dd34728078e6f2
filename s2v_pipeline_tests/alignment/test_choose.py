from __future__ import annotations

import logging

import numpy as np
import pytest

from s2v_pipeline.alignment.choose import SILENT_METHOD, align_speech
from s2v_pipeline.alignment.pocketsphinx_aligner import METHOD as TRANSCRIPT_METHOD
from s2v_pipeline.alignment.recogniser_aligner import METHOD as RECOGNISER_METHOD
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import NAMES, joined, load


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
        ("It's easy to tell the depth of a well. " * 4, "fit"),
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


def test_a_transcript_that_leaves_a_part_out_is_noted() -> None:
    parts = [load(name) for name in NAMES]
    whole = joined(*(part.waveform for part in [*parts, parts[0], parts[1], parts[0]]))
    said = " ".join(part.transcript for part in [*parts, parts[0], parts[1]])
    alignment = align_speech(whole, said, speech_segments(whole))
    assert alignment.method == TRANSCRIPT_METHOD
    assert "speech without phonemes at" in " ".join(alignment.notes) or "badly" in " ".join(alignment.notes)


def test_no_speech_is_silence() -> None:
    noise = Waveform((0.1 * np.random.default_rng(0).standard_normal(32_001)).astype(np.float32), 16_000)
    alignment = align_speech(noise, "hello there", speech_segments(noise))
    assert alignment.method == SILENT_METHOD
    assert list(alignment.phonemes["phone"]) == ["SIL"]
    assert alignment.phonemes["end_s"].iloc[0] == 32_001 / 16_000
    assert "no speech" in alignment.notes[0]
    assert "transcript was not used" in alignment.fallbacks[0]
    assert align_speech(noise, None, ()).fallbacks == ()
