"""The phones of a speech, by the best way that its sound, its transcript, its language and the settings allow.

Belongs here: the order of ways, and what makes one give way to the next.
Does not belong here: the ways themselves.

English with a transcript that fits: PocketSphinx places its words, piece by piece where the speech is long or where a
part of the transcript does not fit; otherwise the phones are recognised. A CTC checkpoint, where one is set, does both
in its own language. Without speech there is silence. Every step down is in the result's `fallbacks`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2v_pipeline.alignment.aligner import Alignment, complete_table
from s2v_pipeline.alignment.boundaries import refine_boundaries
from s2v_pipeline.alignment.ctc_aligner import MIN_FIT as CTC_MIN_FIT
from s2v_pipeline.alignment.ctc_aligner import CtcAligner
from s2v_pipeline.alignment.ctc_words import is_english
from s2v_pipeline.alignment.judging import MIN_FIT, fit_notes, misfit, misfit_somewhere
from s2v_pipeline.alignment.pauses import start_after_pauses
from s2v_pipeline.alignment.piecewise_aligner import PiecewiseAligner
from s2v_pipeline.alignment.pocketsphinx_aligner import PocketsphinxAligner
from s2v_pipeline.alignment.recogniser_aligner import RecogniserAligner
from s2v_pipeline.alignment.speech_edges import move_edges
from s2v_pipeline.alignment.weak_starts import lengthen_weak_starts
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError, SettingsError
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AlignmentSettings

SILENT_METHOD = "silence"

MAX_ONE_SEARCH_S = 35.0
"""Longest speech whose transcript is placed in one search (its memory grows by 3.4 MB a second: 120 MB); longer speech
goes piece by piece. A piece is 20 s at most, so that less than this is no gain."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Speech:
    """What is aligned: the waveform, its `segments`, and whether noise was taken out."""

    waveform: Waveform
    spans: Segments
    is_denoised: bool


def align_speech(
    waveform: Waveform,
    transcript: str | None,
    segments: Sequence[Sequence[float]],
    settings: AlignmentSettings | None = None,
    *,
    is_denoised: bool = False,
) -> Alignment:
    """Phones of a 16 kHz waveform, with times from 0 to its exact end.

    Args:
        waveform: the whole speech.
        transcript: what is said, as people write it; None or blank where it is not known.
        segments: (start_s, end_s) of speech, from `audio.voice_activity`.
        settings: which aligner, which checkpoint, which language; None means the defaults.
        is_denoised: whether noise was taken out of the waveform, and weak consonants with it.

    Raises:
        SettingsError: the aligner that is asked for cannot work with the other settings, or is not installed.
        AlignmentError: pocketsphinx alone is asked for, and there is no transcript or it does not fit.
        WeightsError: the checkpoint cannot be used.
        ValueError: not 16 kHz.
    """
    chosen = settings or AlignmentSettings()
    said = (transcript or "").strip() or None
    _check(chosen, said)
    spans: Segments = tuple((float(start_s), float(end_s)) for start_s, end_s in segments)
    if not spans:
        return _silence(waveform, said)
    speech = _Speech(waveform, spans, is_denoised)
    if chosen.ctc_checkpoint is not None and chosen.aligner in ("auto", "ctc"):
        return _by_checkpoint(speech, said, chosen.ctc_checkpoint, chosen)
    if chosen.aligner == "recogniser":
        return _recognised(speech, chosen, ("the transcript was not used: aligner is recogniser",) if said else ())
    if said is None:
        return _recognised(speech, chosen, ())
    if not is_english(chosen.language):
        reason = (
            f"it is in language {chosen.language}, and without a ctc checkpoint only English transcripts are placed"
        )
        return _recognised(speech, chosen, (f"the transcript was not used: {reason}",))
    try:
        return _by_transcript(speech, said)
    except AlignmentError as error:
        if chosen.aligner == "pocketsphinx":
            raise
        return _recognised(speech, chosen, (f"the transcript was not used: {error.rule} ({error.got})",))


def _check(chosen: AlignmentSettings, said: str | None) -> None:
    if chosen.aligner == "ctc" and chosen.ctc_checkpoint is None:
        raise SettingsError(
            "setting alignment.aligner ctc needs alignment.ctc_checkpoint",
            got="none",
            cure="Point it at a folder with a Wav2Vec2ForCTC model, or set alignment.aligner to auto.",
        )
    if chosen.aligner == "pocketsphinx" and not is_english(chosen.language):
        raise SettingsError(
            "setting alignment.aligner pocketsphinx knows English alone",
            got=f"alignment.language {chosen.language}",
            cure="Set alignment.ctc_checkpoint to a checkpoint of that language and alignment.aligner to ctc, "
            "or to recogniser, which hears phonemes as near to English ones as they come.",
        )
    if chosen.aligner == "pocketsphinx" and said is None:
        raise AlignmentError(
            "the aligner pocketsphinx needs a transcript",
            got="none",
            cure="Give transcript.txt, or set alignment.aligner to auto.",
        )


def _silence(waveform: Waveform, said: str | None) -> Alignment:
    note = "no speech was found in the audio: the mouth stays shut"
    unused = ("the transcript was not used: no speech was found in the audio",) if said else ()
    _logger.warning("%s", note)
    return Alignment(complete_table([], waveform.duration_s), SILENT_METHOD, unused, (note,))


def _by_transcript(speech: _Speech, said: str) -> Alignment:
    """English words placed by PocketSphinx.

    In short speech one search places them all; where a part of them does not fit, the piecewise aligner says which,
    and places the others.

    Raises:
        AlignmentError: none of them, or too few, fit.
    """
    waveform, spans = speech.waveform, speech.spans
    if waveform.duration_s > MAX_ONE_SEARCH_S:
        return _noted(PiecewiseAligner(spans).align(waveform, said), speech)
    whole: Alignment | None = None
    try:
        whole = _refined(PocketsphinxAligner().align(waveform, said), speech)
        reason = misfit(whole.phonemes, spans)
    except AlignmentError as error:
        if "English words" in error.rule:
            raise
        reason = f"{error.rule} ({error.got})"
    believed = whole if reason is None else None
    if believed is not None and misfit_somewhere(believed.phonemes, spans) is None:
        return _with_notes(believed, spans)
    try:
        in_parts = PiecewiseAligner(spans).align(waveform, said)
    except AlignmentError as error:
        if believed is not None:  # an ear that hears too little to judge words does not outweigh their fit
            return _with_notes(believed, spans)
        raise AlignmentError(error.rule, got=f"{reason}; {error.got} is heard", cure=error.cure) from error
    if believed is not None and not in_parts.fallbacks:
        return _with_notes(believed, spans)
    return _noted(in_parts, speech)


def _by_checkpoint(speech: _Speech, said: str | None, checkpoint: Path, chosen: AlignmentSettings) -> Alignment:
    aligner = CtcAligner(checkpoint, speech.spans, chosen.language)
    given_up: tuple[str, ...] = ()
    if said is not None:
        try:
            return _noted(aligner.align(speech.waveform, said), speech, min_fit=CTC_MIN_FIT)
        except AlignmentError as error:
            given_up = (f"the transcript was not used: {error.rule} ({error.got})",)
            _logger.warning("%s; phonemes are heard by the checkpoint", given_up[0])
    heard = _noted(aligner.align(speech.waveform, None), speech, min_fit=CTC_MIN_FIT)
    return replace(heard, fallbacks=given_up + heard.fallbacks)


def _recognised(speech: _Speech, chosen: AlignmentSettings, given_up: tuple[str, ...]) -> Alignment:
    for line in given_up:
        _logger.warning("%s; phonemes are recognised from the sound", line)
    heard = _noted(RecogniserAligner(speech.spans).align(speech.waveform, None), speech)
    notes = heard.notes
    if not is_english(chosen.language):
        near = "the recogniser hears phonemes as near to English ones as they come"
        notes += (f"language {chosen.language}: {near}; a ctc checkpoint of the language is more exact",)
    return replace(heard, fallbacks=given_up + heard.fallbacks, notes=notes)


def _noted(aligned: Alignment, speech: _Speech, *, min_fit: float = MIN_FIT) -> Alignment:
    return _with_notes(_refined(aligned, speech), speech.spans, min_fit=min_fit)


def _with_notes(aligned: Alignment, spans: Segments, *, min_fit: float = MIN_FIT) -> Alignment:
    return replace(aligned, notes=aligned.notes + fit_notes(aligned.phonemes, spans, min_fit=min_fit))


def _refined(aligned: Alignment, speech: _Speech) -> Alignment:
    waveform = speech.waveform
    phonemes = move_edges(start_after_pauses(aligned.phonemes, waveform, speech.spans), waveform)
    if speech.is_denoised:
        phonemes = lengthen_weak_starts(phonemes, waveform)
    return replace(aligned, phonemes=refine_boundaries(phonemes, waveform))
