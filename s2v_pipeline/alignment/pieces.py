"""Where long speech is cut.

Belongs here: spans of audio short enough for a recogniser, cut at pauses.
Does not belong here: finding speech (audio.voice_activity), recognising it.
"""

from __future__ import annotations

import numpy as np

from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.media import Waveform

MAX_PIECE_S = 20.0
"""hama's recogniser loses its words somewhere between 29 s and 60 s; 20 s is safely below."""

MIN_PIECE_S = 10.0
"""From here on the longest pause is taken: the acoustic model adapts to a voice over some seconds."""

MARGIN_S = 0.3
"""Silence kept around speech where there is some: recogniser and aligner expect to hear a beginning."""

_QUIET_S = 0.1  # a pauseless stretch is cut in its quietest moment of this length: a stop closure or a word's edge


def cut_at_pauses(waveform: Waveform, segments: Segments) -> tuple[tuple[float, float], ...]:
    """(start_s, end_s) of pieces that hold all segments, in order, without overlap, each about 20 s at most."""
    parts = [part for segment in segments for part in _short_parts(waveform, segment)]
    pieces: list[tuple[float, float]] = []
    first = 0
    while first < len(parts):
        last = _last_part_of_piece(parts, first)
        pieces.append((parts[first][0], parts[last][1]))
        first = last + 1
    return tuple(
        (
            start_s - min(MARGIN_S, (start_s - (pieces[index - 1][1] if index else 0.0)) / (2 if index else 1)),
            end_s + _margin_after(pieces, index, float(waveform.duration_s)),
        )
        for index, (start_s, end_s) in enumerate(pieces)
    )


def part_of(waveform: Waveform, start_s: float, end_s: float) -> Waveform:
    """A copy of the sound between two times, each at its nearest sample.

    Raises:
        ValueError: no sample lies between them.
    """
    first, stop = (round(time_s * waveform.rate_hz) for time_s in (start_s, end_s))
    return Waveform(waveform.samples[first:stop].copy(), waveform.rate_hz)


def _margin_after(pieces: list[tuple[float, float]], index: int, duration_s: float) -> float:
    if index + 1 == len(pieces):
        return max(0.0, min(MARGIN_S, duration_s - pieces[index][1]))
    return min(MARGIN_S, (pieces[index + 1][0] - pieces[index][1]) / 2)


def _last_part_of_piece(parts: list[tuple[float, float]], first: int) -> int:
    start_s = parts[first][0]
    if parts[-1][1] - start_s <= MAX_PIECE_S:
        return len(parts) - 1
    fitting = [index for index in range(first, len(parts) - 1) if parts[index][1] - start_s <= MAX_PIECE_S] or [first]
    long_enough = [index for index in fitting if parts[index][1] - start_s >= MIN_PIECE_S] or fitting[-1:]
    return max(long_enough, key=lambda index: parts[index + 1][0] - parts[index][1])


def _short_parts(waveform: Waveform, segment: tuple[float, float]) -> list[tuple[float, float]]:
    start_s, end_s = segment
    parts: list[tuple[float, float]] = []
    while end_s - start_s > MAX_PIECE_S:
        cut_s = _quietest_s(waveform, start_s + MIN_PIECE_S, start_s + MAX_PIECE_S)
        parts.append((start_s, cut_s))
        start_s = cut_s
    return [*parts, (start_s, end_s)]


def _quietest_s(waveform: Waveform, from_s: float, until_s: float) -> float:
    first, stop = round(from_s * waveform.rate_hz), round(until_s * waveform.rate_hz)
    window = round(_QUIET_S * waveform.rate_hz)
    energy = np.cumsum(np.square(waveform.samples[first:stop], dtype=np.float64))
    quietest = int(np.argmin(energy[window:] - energy[:-window]))
    return (first + quietest + window // 2) / waveform.rate_hz
