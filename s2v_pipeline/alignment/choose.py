"""The phones of a speech, by the best way that its sound and transcript allow.

Belongs here: the order of ways, and what makes one give way to the next.
Does not belong here: the ways themselves.

With a transcript that fits, PocketSphinx places its words, piece by piece where the speech is long; otherwise the
phones are recognised; without speech there is silence. Every step down is in the result's `fallbacks`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from s2v_pipeline.alignment.aligner import Aligner, Alignment, complete_table
from s2v_pipeline.alignment.boundaries import refine_boundaries
from s2v_pipeline.alignment.judging import fit_notes, misfit
from s2v_pipeline.alignment.pauses import start_after_pauses
from s2v_pipeline.alignment.piecewise_aligner import PiecewiseAligner
from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner
from s2v_pipeline.alignment.recogniser_aligner import RecogniserAligner
from s2v_pipeline.alignment.speech_edges import move_edges
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

SILENT_METHOD = "silence"

MAX_ONE_SEARCH_S = 35.0
"""Longest speech whose transcript is placed in one search (its memory grows by 3.4 MB a second: 120 MB); longer speech
goes piece by piece. A piece is 20 s at most, so that less than this is no gain."""

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
        is_short = waveform.duration_s <= MAX_ONE_SEARCH_S
        aligner: Aligner = PocketsphinxAligner() if is_short else PiecewiseAligner(spans)
        try:
            aligned = _without_pauses(aligner.align(waveform, transcript), waveform, spans)
            reason = misfit(aligned.phonemes, spans) if is_short else None  # piece by piece, each piece is judged
        except AlignmentError as error:
            aligned, reason = None, f"{error.rule} ({error.got})"
        if aligned is not None and reason is None:
            return replace(aligned, notes=aligned.notes + fit_notes(aligned.phonemes, spans))
        given_up = (f"the transcript was not used: {reason}",)
        _logger.warning("%s; phonemes are recognised from the sound", given_up[0])
    recognised = _without_pauses(RecogniserAligner(spans).align(waveform, None), waveform, spans)
    return replace(
        recognised,
        fallbacks=given_up + recognised.fallbacks,
        notes=recognised.notes + fit_notes(recognised.phonemes, spans),
    )


def _without_pauses(aligned: Alignment, waveform: Waveform, spans: Segments) -> Alignment:
    phonemes = move_edges(start_after_pauses(aligned.phonemes, waveform, spans), waveform)
    return replace(aligned, phonemes=refine_boundaries(phonemes, waveform))
