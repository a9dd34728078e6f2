"""The phones of a speech, by the best way that its sound and transcript allow.

Belongs here: the order of ways, and what makes one give way to the next.
Does not belong here: the ways themselves.

With a transcript that fits, PocketSphinx places its words; otherwise the phones are recognised; without speech there
is silence. Every step down is in the result's `fallbacks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.aligner import Alignment, complete_table, mean_fit
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner
from s2v_pipeline.alignment.recogniser_aligner import RecogniserAligner
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

SILENT_METHOD = "silence"

MIN_FIT = 0.42
"""Least `Alignment.fit` of a transcript that is believed: a log score of -35 a frame, between the worst right words
(-33, pink noise at 5 dB) and the best wrong ones (-37); see pocketsphinx_aligner.CONFIDENCE_SCALE."""

MAX_WORDLESS_SHARE = 0.3
"""Most of the speech (by voice activity) in which a believed transcript may have no word. Pauses that voice activity
bridges make up to about 0.1."""

_STRETCH_S = 10.0  # stretch over which the fit is judged for notes: three sentences or so
_WORDLESS_NOTE_S = 1.0  # speech without a word for longer than this is not a pause
_MOST_NOTED = 8  # stretches named in one note

_logger = logging.getLogger(__name__)


def align_speech(waveform: Waveform, transcript: str | None, segments: Sequence[Sequence[float]]) -> Alignment:
    """Phones of a 16 kHz waveform, with times from 0 to its exact end.

    Args:
        waveform: the whole speech.
        transcript: what is said, as people write it; None or blank where it is not known.
        segments: (start_s, end_s) of speech, from `audio.voice_activity`.

    Raises:
        ValueError: not 16 kHz.
    """
    spans: Segments = tuple((float(start_s), float(end_s)) for start_s, end_s in segments)
    if not spans:
        note = "no speech was found in the audio: the mouth stays shut"
        unused = (
            ("the transcript was not used: no speech was found in the audio",) if (transcript or "").strip() else ()
        )
        _logger.warning("%s", note)
        return Alignment(complete_table([], waveform.duration_s), SILENT_METHOD, unused, (note,))
    given_up: tuple[str, ...] = ()
    if transcript is not None and transcript.strip():
        try:
            aligned = PocketsphinxAligner().align(waveform, transcript)
            reason = _misfit(aligned, spans)
        except AlignmentError as error:
            aligned, reason = None, f"{error.rule} ({error.got})"
        if aligned is not None and reason is None:
            return replace(aligned, notes=aligned.notes + _notes(aligned.phonemes, spans))
        given_up = (f"the transcript was not used: {reason}",)
        _logger.warning("%s; phonemes are recognised from the sound", given_up[0])
    recognised = RecogniserAligner(spans).align(waveform, None)
    return replace(
        recognised,
        fallbacks=given_up + recognised.fallbacks,
        notes=recognised.notes + _notes(recognised.phonemes, spans),
    )


def _misfit(aligned: Alignment, spans: Segments) -> str | None:
    """Why a transcript is not believed, or None."""
    if aligned.fit < MIN_FIT:
        return f"its words do not fit the sound (fit {aligned.fit:.2f}, at least {MIN_FIT} is needed)"
    speech_s = sum(end_s - start_s for start_s, end_s in spans)
    wordless_s = sum(end_s - start_s for start_s, end_s in _wordless(aligned.phonemes, spans))
    if wordless_s > MAX_WORDLESS_SHARE * speech_s:
        return f"{wordless_s:.1f} s of {speech_s:.1f} s of speech have no word in it"
    return None


def _notes(phonemes: pd.DataFrame, spans: Segments) -> tuple[str, ...]:
    notes = []
    long_wordless = [span for span in _wordless(phonemes, spans) if span[1] - span[0] > _WORDLESS_NOTE_S]
    if long_wordless:
        notes.append(f"speech without phonemes at {_listed(long_wordless)}")
    weak = _weak_stretches(phonemes)
    if weak:
        notes.append(f"phonemes fit the sound badly at {_listed(weak)}")
    for note in notes:
        _logger.warning("%s", note)
    return tuple(notes)


def _wordless(phonemes: pd.DataFrame, spans: Segments) -> list[tuple[float, float]]:
    """Parts of speech spans that the table calls silence."""
    silent = phonemes[phonemes["phone"] == SILENCE]
    starts_s, ends_s = silent["start_s"].to_numpy(), silent["end_s"].to_numpy()
    return [
        (max(start_s, float(starts_s[index])), min(end_s, float(ends_s[index])))
        for start_s, end_s in spans
        for index in np.flatnonzero((ends_s > start_s) & (starts_s < end_s))
    ]


def _weak_stretches(phonemes: pd.DataFrame) -> list[tuple[float, float]]:
    spoken = phonemes[phonemes["phone"] != SILENCE]
    return [
        (float(stretch["start_s"].iloc[0]), float(stretch["end_s"].iloc[-1]))
        for _, stretch in spoken.groupby(spoken["start_s"] // _STRETCH_S, sort=True)
        if mean_fit(stretch) < MIN_FIT
    ]


def _listed(spans: Iterable[tuple[float, float]]) -> str:
    texts = [f"{start_s:.1f}-{end_s:.1f} s" for start_s, end_s in spans]
    return ", ".join(texts[:_MOST_NOTED]) + (
        f" and {len(texts) - _MOST_NOTED} more" if len(texts) > _MOST_NOTED else ""
    )
