"""Whether placed words fit the sound.

Belongs here: the least fit that is believed, and notes on what fits badly.
Does not belong here: placing words, what is done where they do not fit (choose, piecewise_aligner).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.aligner import mean_fit
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.voice_activity import Segments

MIN_FIT = 0.42
"""Least `Alignment.fit` of a transcript that is believed: a log score of -35 a frame, between the worst right words
(-33, pink noise at 5 dB) and the best wrong ones (-37); see pocketsphinx_aligner.CONFIDENCE_SCALE."""

MIN_FIT_OF_HEARD = 0.25
"""Least fit of words that the recogniser hears too: there a low fit means noise, not wrong words. 60 s in pink noise at
10 dB have 13.7 % wrong phones with one least fit for all, 9.6 % with this."""

MIN_LOCAL_FIT = 0.3
"""Least fit between two pauses in speech whose words fit as a whole: a log score of -48 a frame. Wrong words have -37
to -82; right ones in a weak moment may come near the least fit of a whole speech."""

MIN_LOCAL_S = 0.6
"""Speech between two pauses that is shorter holds a word or two: too few to judge."""

MAX_WORDLESS_SHARE = 0.3
"""Most of the speech (by voice activity) in which a believed transcript may have no word. Pauses that voice activity
bridges make up to about 0.1."""

_STRETCH_S = 10.0  # stretch over which the fit is judged for notes: three sentences or so
_WORDLESS_NOTE_S = 1.0  # speech without a word for longer than this is not a pause
_MOST_NOTED = 8  # stretches named in one note

_logger = logging.getLogger(__name__)


def misfit(phonemes: pd.DataFrame, spans: Segments, *, min_fit: float = MIN_FIT) -> str | None:
    """Why the words that a transcript placed in the speech spans are not believed, or None."""
    fit = mean_fit(phonemes)
    if fit < min_fit:
        return f"its words do not fit the sound (fit {fit:.2f}, at least {min_fit} is needed)"
    speech_s = sum(end_s - start_s for start_s, end_s in spans)
    wordless_s = sum(end_s - start_s for start_s, end_s in wordless(phonemes, spans))
    if wordless_s > MAX_WORDLESS_SHARE * speech_s:
        return f"{wordless_s:.1f} s of {speech_s:.1f} s of speech have no word in it"
    return None


def misfit_somewhere(phonemes: pd.DataFrame, spans: Segments, *, min_fit: float = MIN_LOCAL_FIT) -> str | None:
    """Which speech spans have words that are not believed though the whole is, or None.

    Good sentences excuse a bad one in the mean of all.
    """
    middles_s = (phonemes["start_s"] + phonemes["end_s"]) / 2
    bad = []
    for start_s, end_s in spans:
        inside = phonemes[(middles_s >= start_s) & (middles_s < end_s)]
        wordless_s = sum(until_s - from_s for from_s, until_s in wordless(phonemes, ((start_s, end_s),)))
        is_weak = mean_fit(inside) < min_fit or wordless_s > MAX_WORDLESS_SHARE * (end_s - start_s)
        if end_s - start_s >= MIN_LOCAL_S and is_weak:
            bad.append((start_s, end_s))
    return f"its words do not fit the sound at {listed(bad)}" if bad else None


def fit_notes(phonemes: pd.DataFrame, spans: Segments, *, min_fit: float = MIN_FIT) -> tuple[str, ...]:
    """What a reader should know about how the phones of the speech spans fit; each note is logged."""
    notes = []
    long_wordless = [span for span in wordless(phonemes, spans) if span[1] - span[0] > _WORDLESS_NOTE_S]
    if long_wordless:
        notes.append(f"speech without phonemes at {listed(long_wordless)}")
    weak = _weak_stretches(phonemes, min_fit)
    if weak:
        notes.append(f"phonemes fit the sound badly at {listed(weak)}")
    for note in notes:
        _logger.warning("%s", note)
    return tuple(notes)


def wordless(phonemes: pd.DataFrame, spans: Segments) -> list[tuple[float, float]]:
    """Parts of speech spans that the table calls silence."""
    silent = phonemes[phonemes["phone"] == SILENCE]
    starts_s, ends_s = silent["start_s"].to_numpy(), silent["end_s"].to_numpy()
    return [
        (max(start_s, float(starts_s[index])), min(end_s, float(ends_s[index])))
        for start_s, end_s in spans
        for index in np.flatnonzero((ends_s > start_s) & (starts_s < end_s))
    ]


def _weak_stretches(phonemes: pd.DataFrame, min_fit: float) -> list[tuple[float, float]]:
    spoken = phonemes[phonemes["phone"] != SILENCE]
    return [
        (float(stretch["start_s"].iloc[0]), float(stretch["end_s"].iloc[-1]))
        for _, stretch in spoken.groupby(spoken["start_s"] // _STRETCH_S, sort=True)
        if mean_fit(stretch) < min_fit
    ]


def listed(spans: Iterable[tuple[float, float]]) -> str:
    """Stretches as a reader wants them: the first few, and how many more."""
    texts = [f"{start_s:.1f}-{end_s:.1f} s" for start_s, end_s in spans]
    return ", ".join(texts[:_MOST_NOTED]) + (
        f" and {len(texts) - _MOST_NOTED} more" if len(texts) > _MOST_NOTED else ""
    )
