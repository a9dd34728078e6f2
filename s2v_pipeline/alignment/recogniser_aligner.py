"""Alignment without a transcript: phones recognised from the sound, then placed.

Belongs here: hama's phoneme recogniser on pieces of speech, and what stands in where a step fails.
Does not belong here: cutting (pieces), forced alignment itself (pocketsphinx_aligner), judging the result (choose).

hama (Apache-2.0, weights in its wheel): phone error rate 25 %, and once aligned 77.7 % of frames show the right
viseme, against 79.1 % with a transcript (measured).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hama import ASRModel
from pocketsphinx import get_model_path

from s2v_pipeline.alignment.aligner import Alignment, PhoneRow, append_rows, complete_table
from s2v_pipeline.alignment.phonemes import ARPABET, arpabet_from_ipa
from s2v_pipeline.alignment.pieces import cut_at_pauses, part_of
from s2v_pipeline.alignment.pocketsphinx_aligner import (
    align_words,
    new_decoder,
    pcm16,
    scaled_to_peak,
    time_of_frame,
)
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

METHOD = "hama recogniser, placed by pocketsphinx"

PHONE_LOOP_METHOD = "pocketsphinx phone loop"

RECOGNISER_LATE_S = 0.07
"""hama's own phone times come this much after the sound (measured: 72 ms)."""

# PocketSphinx's own advice for phone loops: narrow beams, and a language weight of 2.
_PHONE_LOOP: dict[str, Any] = {"beam": 1e-20, "pbeam": 1e-20, "lw": 2.0}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeardWord:
    """A word that the recogniser hears: its IPA, and (ARPABET phone, start_s, end_s) by the recogniser's own clock."""

    ipa: str
    phones: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class RecogniserAligner:
    """Recognises phones inside `segments`, and nowhere else; a transcript is not used."""

    segments: Segments

    def align(self, waveform: Waveform, transcript: str | None = None) -> Alignment:  # noqa: ARG002 - the protocol's
        """Phones of a 16 kHz waveform.

        `word` is the recogniser's IPA. A piece of speech in which a step fails is done in a lesser way, which
        `fallbacks` names with the piece's times.

        Raises:
            ValueError: not 16 kHz.
        """
        rows: list[PhoneRow] = []
        fallbacks: list[str] = []
        model = ASRModel()
        for start_s, end_s in cut_at_pauses(waveform, self.segments):
            piece = part_of(waveform, start_s, end_s)
            piece_rows, fallback = place_heard(piece, *recognise(model, piece))
            if fallback:
                fallbacks.append(f"{start_s:.2f}-{end_s:.2f} s: {fallback}")
                _logger.warning("alignment without transcript, %s", fallbacks[-1])
            append_rows(rows, piece_rows, offset_s=round(start_s * waveform.rate_hz) / waveform.rate_hz)
        return Alignment(complete_table(rows, waveform.duration_s), METHOD, tuple(fallbacks))


@dataclass(frozen=True)
class PhoneLoopAligner:
    """PocketSphinx's own phone recogniser inside `segments`: what stands in where hama hears nothing, by itself."""

    segments: Segments

    def align(self, waveform: Waveform, transcript: str | None = None) -> Alignment:  # noqa: ARG002 - the protocol's
        """Phones of a 16 kHz waveform; each is its own word.

        Raises:
            ValueError: not 16 kHz.
        """
        rows: list[PhoneRow] = []
        for start_s, end_s in cut_at_pauses(waveform, self.segments):
            piece_rows = _phone_loop(part_of(waveform, start_s, end_s))
            append_rows(rows, piece_rows, offset_s=round(start_s * waveform.rate_hz) / waveform.rate_hz)
        return Alignment(complete_table(rows, waveform.duration_s), PHONE_LOOP_METHOD)


def recognise(model: ASRModel, piece: Waveform) -> tuple[list[HeardWord], str | None]:
    """The words heard in a piece of about 20 s at most, with times from its start; and why there are none."""
    try:
        heard = model.transcribe_waveform(scaled_to_peak(piece.samples), piece.rate_hz)
    except RuntimeError as error:
        return [], f"the recogniser failed ({error})"
    spans = iter(model.phoneme_spans(heard))
    words: list[HeardWord] = []
    for symbols in (word.split() for word in heard.word_phoneme_text.split("|")):
        phones: list[tuple[str, float, float]] = []
        for symbol in symbols:
            span = next(spans)
            arpabet = arpabet_from_ipa(symbol)
            edges_s = np.linspace(span.start_ms / 1000, span.end_ms / 1000, len(arpabet) + 1).tolist()
            phones.extend(zip(arpabet, edges_s[:-1], edges_s[1:], strict=True))
        if phones:
            words.append(HeardWord("".join(symbols), tuple(phones)))
    return words, None if words else "the recogniser heard no phones"


def place_heard(piece: Waveform, heard: Sequence[HeardWord], why_none: str | None) -> tuple[list[PhoneRow], str | None]:
    """Rows of one piece from the words heard in it, and what was given up for them; `why_none` as `recognise` says."""
    if not heard:
        return _phone_loop(piece), f"{why_none}; pocketsphinx's phone loop instead"
    words = [(word.ipa, tuple(phone for phone, _, _ in word.phones)) for word in heard]
    try:
        return align_words(new_decoder(), piece, words), None
    except AlignmentError as error:
        return _own_times(heard), f"pocketsphinx could not place the phones ({error.got}); the recogniser's times"


def _own_times(words: Sequence[HeardWord]) -> list[PhoneRow]:
    return [
        PhoneRow(phone, start_s - RECOGNISER_LATE_S, end_s - RECOGNISER_LATE_S, word.ipa, index)
        for index, word in enumerate(words)
        for phone, start_s, end_s in word.phones
    ]


def _phone_loop(piece: Waveform) -> list[PhoneRow]:
    """PocketSphinx's own phone recogniser, the least exact way (phone error rate 55 %): each phone is its own word."""
    decoder = new_decoder(allphone=get_model_path("en-us/en-us-phone.lm.bin"), **_PHONE_LOOP)
    decoder.start_utt()
    decoder.process_raw(pcm16(piece), full_utt=True)
    decoder.end_utt()
    heard = [segment for segment in decoder.seg() or () if segment.word in ARPABET]
    return [
        PhoneRow(
            segment.word, time_of_frame(segment.start_frame), time_of_frame(segment.end_frame + 1), segment.word, index
        )
        for index, segment in enumerate(heard)
    ]
