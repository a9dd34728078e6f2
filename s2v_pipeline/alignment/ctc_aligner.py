"""Alignment by a CTC checkpoint that the user points to, with or without a transcript, in the checkpoint's language.

Belongs here: the aligner, and what it says when its libraries are missing.
Does not belong here: placing passages (piecewise_aligner), hearing and searching (ctc_search), the network (ctc).
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from s2v_pipeline.alignment.aligner import Alignment, PhoneRow, append_rows, complete_table
from s2v_pipeline.alignment.ctc_search import CtcSearch
from s2v_pipeline.alignment.judging import misfit, misfit_somewhere
from s2v_pipeline.alignment.pieces import cut_at_pauses
from s2v_pipeline.alignment.piecewise_aligner import PiecewiseAligner
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError, SettingsError
from s2v_pipeline.media import Waveform

METHOD = "ctc checkpoint"
"""`Alignment.method` without a transcript; with one it is `CtcSearch.method`."""

MIN_FIT = CtcSearch.min_fit

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CtcAligner:
    """Places words, or what is heard, in the `segments` of a speech, by the checkpoint in a local folder.

    Memory does not grow with the speech: it is heard in pieces of about 20 s, cut at pauses.

    Attributes:
        checkpoint: folder of a Wav2Vec2ForCTC, as transformers saves it.
        segments: of speech.
        language: of the transcript, as a tag: en, de, pt-BR.
    """

    checkpoint: Path
    segments: Segments
    language: str = "en"

    def align(self, waveform: Waveform, transcript: str | None = None) -> Alignment:
        """Phones of a 16 kHz waveform. `word` is what the checkpoint heard where no transcript was used.

        `confidence` is the mean probability (geometric) of what is said in the frames that say it.

        Raises:
            AlignmentError: none of the transcript can be said with the checkpoint, or none of it is heard.
            SettingsError: torch or transformers is not installed.
            WeightsError: the checkpoint is missing, damaged or of another model.
            ValueError: not 16 kHz.
        """
        if waveform.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"alignment needs {SPEECH_RATE_HZ} Hz; got {waveform.rate_hz}")
        with closing(_new_search(self.checkpoint, self.language, self.segments)) as search:
            if transcript is None or not transcript.strip():
                return self._heard(search, waveform)
            placed = self._in_one_search(search, waveform, transcript)
            if placed is None:
                placed = PiecewiseAligner(self.segments, lambda: search).align(waveform, transcript)
            return replace(placed, notes=placed.notes + search.notes)

    def _in_one_search(self, search: CtcSearch, waveform: Waveform, transcript: str) -> Alignment | None:
        """All words of short speech at once, which needs no ear; None where it is not short, or they do not all fit."""
        pieces = cut_at_pauses(waveform, self.segments)
        if len(pieces) != 1:
            return None
        words, notes = search.words(transcript)
        ((start_s, end_s),) = pieces
        search.hear(waveform, start_s, end_s)
        rows: list[PhoneRow] = []
        try:
            placed = search.place(waveform, start_s, end_s, words)
        except AlignmentError:
            return None  # too many words; the piecewise aligner says which
        append_rows(rows, placed, offset_s=round(start_s * waveform.rate_hz) / waveform.rate_hz)
        table = complete_table(rows, waveform.duration_s)
        if misfit(table, self.segments, min_fit=search.min_fit) or misfit_somewhere(
            table, self.segments, min_fit=search.min_fit_of_heard
        ):
            return None
        return Alignment(table, search.method, notes=notes)

    def _heard(self, search: CtcSearch, waveform: Waveform) -> Alignment:
        rows: list[PhoneRow] = []
        fallbacks: list[str] = []
        for start_s, end_s in cut_at_pauses(waveform, self.segments):
            piece_rows, fallback = search.place_heard(waveform, start_s, end_s, *search.hear(waveform, start_s, end_s))
            if fallback:
                fallbacks.append(f"{start_s:.2f}-{end_s:.2f} s: {fallback}")
                _logger.warning("alignment by checkpoint, %s", fallbacks[-1])
            append_rows(rows, piece_rows, offset_s=round(start_s * waveform.rate_hz) / waveform.rate_hz)
        return Alignment(complete_table(rows, waveform.duration_s), METHOD, tuple(fallbacks), search.notes)


def _new_search(checkpoint: Path, language: str, segments: Segments) -> CtcSearch:
    try:
        from s2v_pipeline.alignment.ctc import load_ctc
    except ModuleNotFoundError as error:
        raise SettingsError(
            "the aligner ctc needs torch and transformers",
            got=f"no {error.name}",
            cure="pip install -c constraints.txt '.[ctc]', or set alignment.aligner to pocketsphinx or recogniser.",
        ) from error
    return CtcSearch(load_ctc(checkpoint), language, segments)
