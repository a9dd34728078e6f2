"""Alignment without a transcript: phones recognised from the sound, then placed.

Belongs here: hama's phoneme recogniser on pieces of speech, and what stands in where a step fails.
Does not belong here: cutting (pieces), forced alignment itself (pocketsphinx_aligner), judging the result (choose).

hama (Apache-2.0, weights in its wheel): phone error rate 25 %, and once aligned 77.7 % of frames show the right
viseme, against 79.1 % with a transcript (measured).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from hama import ASRModel
from pocketsphinx import get_model_path

from s2v_pipeline.alignment.aligner import Alignment, PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import ARPABET, arpabet_from_ipa
from s2v_pipeline.alignment.pieces import cut_at_pauses
from s2v_pipeline.alignment.pocketsphinx_aligner import FRAME_S, align_words, new_decoder, pcm16, scaled_to_peak
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

METHOD = "hama recogniser, placed by pocketsphinx"

RECOGNISER_LATE_S = 0.07
"""hama's own phone times come this much after the sound (measured: 72 ms)."""

# PocketSphinx's own advice for phone loops: narrow beams, and a language weight of 2.
_PHONE_LOOP: dict[str, Any] = {"beam": 1e-20, "pbeam": 1e-20, "lw": 2.0}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _RecognisedWord:
    ipa: str
    phones: tuple[tuple[str, float, float], ...]  # ARPABET, start_s, end_s by the recogniser's own clock


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
            first, stop = (round(time_s * waveform.rate_hz) for time_s in (start_s, end_s))
            piece = Waveform(waveform.samples[first:stop].copy(), waveform.rate_hz)
            piece_rows, fallback = _align_piece(model, piece)
            if fallback:
                fallbacks.append(f"{start_s:.2f}-{end_s:.2f} s: {fallback}")
                _logger.warning("alignment without transcript, %s", fallbacks[-1])
            words_before = 1 + max((row.word_index for row in rows), default=-1)
            offset_s = first / waveform.rate_hz
            rows.extend(
                row._replace(
                    start_s=row.start_s + offset_s,
                    end_s=row.end_s + offset_s,
                    word_index=row.word_index + words_before if row.word else row.word_index,
                )
                for row in piece_rows
            )
        return Alignment(complete_table(rows, waveform.duration_s), METHOD, tuple(fallbacks))


def _align_piece(model: ASRModel, piece: Waveform) -> tuple[list[PhoneRow], str | None]:
    """Rows of one piece, and what was given up for them."""
    try:
        recognised = _recognise(model, piece)
    except RuntimeError as error:
        return _phone_loop(piece), f"the recogniser failed ({error}); pocketsphinx's phone loop instead"
    if not recognised:
        return _phone_loop(piece), "the recogniser heard no phones; pocketsphinx's phone loop instead"
    words = [(word.ipa, tuple(phone for phone, _, _ in word.phones)) for word in recognised]
    try:
        return align_words(new_decoder(), piece, words), None
    except AlignmentError as error:
        return _own_times(recognised), f"pocketsphinx could not place the phones ({error.got}); the recogniser's times"


def _recognise(model: ASRModel, piece: Waveform) -> list[_RecognisedWord]:
    heard = model.transcribe_waveform(scaled_to_peak(piece.samples), piece.rate_hz)
    spans = iter(model.phoneme_spans(heard))
    words: list[_RecognisedWord] = []
    for symbols in (word.split() for word in heard.word_phoneme_text.split("|")):
        phones: list[tuple[str, float, float]] = []
        for symbol in symbols:
            span = next(spans)
            arpabet = arpabet_from_ipa(symbol)
            edges_s = np.linspace(span.start_ms / 1000, span.end_ms / 1000, len(arpabet) + 1).tolist()
            phones.extend(zip(arpabet, edges_s[:-1], edges_s[1:], strict=True))
        if phones:
            words.append(_RecognisedWord("".join(symbols), tuple(phones)))
    return words


def _own_times(words: list[_RecognisedWord]) -> list[PhoneRow]:
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
        PhoneRow(segment.word, segment.start_frame * FRAME_S, (segment.end_frame + 1) * FRAME_S, segment.word, index)
        for index, segment in enumerate(heard)
    ]
