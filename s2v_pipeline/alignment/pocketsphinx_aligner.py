"""Forced alignment with PocketSphinx: known words, placed in the sound.

Belongs here: running the decoder, and the aligner that needs a transcript.
Does not belong here: recognising unknown speech (recogniser_aligner), judging the result (choose).

PocketSphinx 5 (BSD) brings its US English acoustic model and a dictionary of 135 000 words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from s2v_pipeline.alignment.aligner import Alignment, PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import ARPABET, SILENCE
from s2v_pipeline.alignment.pronunciation import pronounce
from s2v_pipeline.alignment.transcript import spoken_words
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

Phones = tuple[str, ...]

METHOD = "pocketsphinx with transcript"

FRAME_S = 0.01
"""PocketSphinx places boundaries on this grid."""

BOUNDARY_LATE_S = 0.006
"""A boundary of the grid's frames lies this much later in the sound. Frame k is computed from the 25.6 ms that start at
k * 10 ms, so that the middle between the centres of two frames is 7.8 ms after the second one's start; against flite's
phones the mean is 5.4 ms, alike for five voices."""

CONFIDENCE_SCALE = 40.0
"""Log score per frame over which confidence falls by e. Measured on five LibriVox sentences: right words score -10 to
-16 in clean speech, -15 to -24 under pink noise at 10 dB, -20 to -33 at 5 dB; wrong words -37 to -82."""

# With narrower beams 28 of 107 files found no path from their first to their last word; with these, none.
_BEAMS = {"beam": 1e-200, "pbeam": 1e-200, "wbeam": 1e-160, "maxhmmpf": -1, "bestpath": False}
_PEAK = 0.9  # the sound is scaled to this peak: at -60 dBFS 16-bit rounding made every alignment fail
_MIN_S = 0.1  # shorter sound has fewer frames than one word has states


@dataclass(frozen=True)
class PocketsphinxAligner:
    """Places the words of a transcript in one search over the whole speech, which takes about 3.4 MB for each second.

    Every call builds its own decoder: no state goes from speech to speech.
    """

    def align(self, waveform: Waveform, transcript: str | None) -> Alignment:
        """Phones of a 16 kHz waveform whose words are `transcript`.

        Raises:
            AlignmentError: no transcript, none of it can be said, or no path through its words fits the sound.
            ValueError: not 16 kHz.
        """
        decoder = new_decoder()
        words, notes = sayable_words(decoder, transcript or "")
        is_long_enough = waveform.rate_hz == SPEECH_RATE_HZ and waveform.duration_s >= _MIN_S
        if is_long_enough and not waveform.samples.any():
            # Digital silence fits every phone equally, and so well that no fit would tell.
            return Alignment(complete_table([], waveform.duration_s), METHOD, notes=(*notes, "the audio is silent"))
        rows = align_words(decoder, waveform, words)
        return Alignment(complete_table(rows, waveform.duration_s), METHOD, notes=notes)


def sayable_words(decoder: Any, transcript: str) -> tuple[list[tuple[str, Phones | None]], tuple[str, ...]]:
    """What `align_words` takes, and notes on the words that no dictionary knows.

    Raises:
        AlignmentError: nothing in the transcript can be said.
    """
    spoken = spoken_words(transcript, lambda word: decoder.lookup_word(word) is not None)
    words: list[tuple[str, Phones | None]] = []
    for word in spoken:
        in_dictionary = decoder.lookup_word(word) is not None
        phones = None if in_dictionary else pronounce(word, lambda known: dictionary_phones(decoder, known))
        if in_dictionary or phones:
            words.append((word, phones))
    if not words:
        raise AlignmentError(
            "a transcript must hold English words",
            got=repr(transcript[:60]),
            cure="Correct transcript.txt, or remove it to have the phonemes recognised.",
        )
    return words, _made_up_note(decoder, spoken)


def new_decoder(**extra: Any) -> Any:
    """A silent decoder without language model; `extra` are PocketSphinx's own settings."""
    return Decoder(**{"lm": None, "loglevel": "FATAL", **_BEAMS, **extra})


def pcm16(waveform: Waveform) -> bytes:
    """The samples as PocketSphinx takes them: 16 bit, scaled to a common peak (its features do not depend on level).

    Raises:
        ValueError: not 16 kHz.
    """
    if waveform.rate_hz != SPEECH_RATE_HZ:
        raise ValueError(f"alignment needs {SPEECH_RATE_HZ} Hz; got {waveform.rate_hz}")
    sound: bytes = np.rint(scaled_to_peak(waveform.samples) * 32767.0).astype("<i2").tobytes()
    return sound


def scaled_to_peak(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples with a peak of 0.9; digital silence stays silent."""
    peak = float(np.max(np.abs(samples)))
    return samples * np.float32(_PEAK / peak) if peak > 0 else samples


def align_words(decoder: Any, waveform: Waveform, words: Sequence[tuple[str, Phones | None]]) -> list[PhoneRow]:
    """Rows of (word, its phones) pairs, in order, SIL included where the decoder heard pauses.

    A word with phones is said in that way; one with None in any of the ways that the decoder's dictionary has.
    Two passes: words first, then the phones within the path found. A decoder is spent after a failure.

    Raises:
        AlignmentError: no path fits.
    """
    if waveform.duration_s < _MIN_S:
        raise _no_path("sound of less than 0.1 s")
    # A name with a digit is no dictionary word, so that the recogniser's "i" is not taken for the pronoun.
    added = {f"w{index}": phones for index, (_, phones) in enumerate(words) if phones is not None}
    for position, (name, phones) in enumerate(added.items(), start=1):
        decoder.add_word(name, " ".join(phones), update=position == len(added))
    names = [word if phones is None else f"w{index}" for index, (word, phones) in enumerate(words)]
    sound = pcm16(waveform)
    try:
        decoder.set_align_text(" ".join(names))
        _process(decoder, sound)
        if decoder.hyp() is None:
            raise _no_path("no path through the words")
        decoder.set_alignment()
        _process(decoder, sound)
        return _rows(decoder.get_alignment(), [word for word, _ in words])
    except RuntimeError as error:
        raise _no_path(str(error)) from error


def confidence_of(score: float, n_frames: int) -> float:
    """`Alignment`'s confidence from the sum of a row's log scores."""
    return math.exp(min(0.0, score / max(1, n_frames)) / CONFIDENCE_SCALE)


def _process(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _rows(aligned_words: Any, spoken: Sequence[str]) -> list[PhoneRow]:
    rows: list[PhoneRow] = []
    next_word = 0
    for aligned in aligned_words:
        phones = list(aligned)
        is_speech = any(phone.name in ARPABET for phone in phones)
        for phone in phones:
            start_s, end_s = time_of_frame(phone.start), time_of_frame(phone.start + phone.duration)
            confidence = confidence_of(phone.score, phone.duration)
            if phone.name in ARPABET:
                rows.append(PhoneRow(phone.name, start_s, end_s, spoken[next_word], next_word, confidence))
            else:
                rows.append(PhoneRow(SILENCE, start_s, end_s, confidence=confidence))
        next_word += is_speech
    if next_word != len(spoken):
        raise _no_path(f"a path through {next_word} of {len(spoken)} words")
    return rows


def time_of_frame(frame: int) -> float:
    """When the boundary before a frame is in the sound, in seconds; the first one is the sound's start."""
    return frame * FRAME_S + BOUNDARY_LATE_S if frame else 0.0


def dictionary_phones(decoder: Any, word: str) -> Phones | None:
    """The first pronunciation that the decoder's dictionary has of a word."""
    phones: str | None = decoder.lookup_word(word)
    return None if phones is None else tuple(phones.split())


def _made_up_note(decoder: Any, words: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted({word for word in words if decoder.lookup_word(word) is None})
    if not unknown:
        return ()
    return (f"pronounced by rule, not by dictionary: {', '.join(unknown[:20])}{' ...' if len(unknown) > 20 else ''}",)


def _no_path(got: str) -> AlignmentError:
    return AlignmentError(
        "the words must fit the sound",
        got=got,
        cure="Check that the transcript holds what is said, in order; or remove it to have the phonemes recognised.",
    )
