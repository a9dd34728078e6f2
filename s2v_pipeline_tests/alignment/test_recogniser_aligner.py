from __future__ import annotations

import logging

import numpy as np
import pytest

from s2v_pipeline.alignment import recogniser_aligner
from s2v_pipeline.alignment.recogniser_aligner import RecogniserAligner
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import NAMES, boundary_errors_s, joined, load


@pytest.mark.parametrize("name", NAMES)
def test_boundaries_of_known_speech(name: str) -> None:
    known = load(name)
    alignment = RecogniserAligner(speech_segments(known.waveform)).align(known.waveform)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert len(errors_s) >= 0.7 * (known.truth["phone"] != "SIL").sum()
    assert np.median(errors_s) <= 0.025
    assert alignment.fallbacks == ()
    assert alignment.phonemes["end_s"].iloc[-1] == float(known.waveform.duration_s)


def test_pieces_keep_their_times_and_number_their_words_on() -> None:
    known = load(NAMES[0])
    pause = Waveform(np.zeros(15 * 16_000, np.float32), 16_000)
    whole = joined(known.waveform, pause, known.waveform, pause, known.waveform)
    table = RecogniserAligner(speech_segments(whole)).align(whole).phonemes
    indices = table.loc[table["word_index"] >= 0, "word_index"].to_numpy()
    assert (np.diff(indices) >= 0).all()
    assert set(indices) == set(range(indices.max() + 1))
    second = table[table["start_s"].between(17.0, 20.0) & (table["phone"] != "SIL")]
    first_phone_s = float(known.waveform.duration_s) + 15.0 + known.truth["end_s"].iloc[0]
    assert second["start_s"].iloc[0] == pytest.approx(first_phone_s, abs=0.1)


def test_own_times_where_placing_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise AlignmentError("the words must fit the sound", got="no path", cure="none")

    monkeypatch.setattr(recogniser_aligner, "align_words", fail)
    known = load(NAMES[0])
    with caplog.at_level(logging.WARNING):
        alignment = RecogniserAligner(speech_segments(known.waveform)).align(known.waveform)
    assert len(alignment.fallbacks) == 1
    assert "the recogniser's times" in alignment.fallbacks[0]
    assert alignment.fallbacks[0] in caplog.text
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.06
    assert alignment.fit == 0.0


def test_phone_loop_where_nothing_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser_aligner, "recognise", lambda *_: ([], "the recogniser heard no phones"))
    known = load(NAMES[0])
    alignment = RecogniserAligner(speech_segments(known.waveform)).align(known.waveform)
    assert "phone loop" in alignment.fallbacks[0]
    spoken = alignment.phonemes[alignment.phonemes["phone"] != "SIL"]
    assert len(spoken) > 10
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.05
