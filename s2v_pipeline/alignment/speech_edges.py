"""Where speech begins after a pause and ends before one, by level.

Belongs here: moving the edges of speech to where the level rises and falls.
Does not belong here: pauses that voice activity heard (pauses), edges that no level shows (weak_starts), boundaries
between phones (boundaries).

PocketSphinx lets the last phone before a pause reach into it, by 53 ms in the mean on flite's voices, and starts the
first one 23 ms early. Level parts speech from a pause better than any model of a phone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.short_time import STEP_S, levels_db, point_at
from s2v_pipeline.media import Waveform

REACH_S = 0.2
"""Sound of the pause that is looked at: speech is not further away than this from where the aligner sees it."""

LEAST_CONTRAST_DB = 6.0
"""Phone and pause differ by at least this, or the level says nothing: noise as loud as the phone is in both."""

EDGE_PART = 0.3
"""Part of the way, in dB, from the pause's mean level to the phone's at which speech begins and ends. From 0.2 to 0.5
errors are alike at starts; ends are 4 ms less exact at 0.2."""

RELEASE_DB = 35.0
"""The release of a final stop is no further than this below the loudest of the 0.2 s before it."""

_STOPS = frozenset({"P", "B", "T", "D", "K", "G", "CH", "JH"})
_LEAST_PHONE_S = 0.02  # of a phone whose edges are moved
_LEAST_POINTS = 10  # fewer say nothing of two levels
_PHONE_POINTS = 5  # 10 ms at a phone's far side that are its own, or its neighbour's
_PAUSE_PERCENTILE = 5  # of a stop's points: more than these are closure or pause


def move_edges(phonemes: pd.DataFrame, waveform: Waveform) -> pd.DataFrame:
    """The table of an `Alignment`, where the phones beside silence and the audio's ends reach as far as their sound.

    A stop's silent closure after a pause cannot be heard: its start stays.
    """
    rows = [PhoneRow(*row) for row in phonemes.itertuples(index=False)]
    edges_s = [[row.start_s, row.end_s] for row in rows]
    for index, row in enumerate(rows):
        if row.phone == SILENCE:
            continue
        before = rows[index - 1] if index else None
        after = rows[index + 1] if index + 1 < len(rows) else None
        start_s, end_s = row.start_s, row.end_s
        if (before is None or before.phone == SILENCE) and row.phone not in _STOPS:
            start_s = _start_s(waveform, row, part_of_pause_s(before, is_outer=index <= 1))
        if after is None or after.phone == SILENCE:
            end_s = _end_s(waveform, row, part_of_pause_s(after, is_outer=index + 2 >= len(rows)))
        if end_s - start_s < _LEAST_PHONE_S:
            continue
        edges_s[index] = [start_s, end_s]
        if before is not None and start_s != row.start_s:
            edges_s[index - 1][1] = start_s
        if after is not None and end_s != row.end_s:
            edges_s[index + 1][0] = end_s
    moved = [row._replace(start_s=edge[0], end_s=edge[1]) for row, edge in zip(rows, edges_s, strict=True)]
    return complete_table([row for row in moved if row.end_s > row.start_s], waveform.duration_s)


def part_of_pause_s(pause: PhoneRow | None, *, is_outer: bool) -> float:
    """How much of the pause at its side a phone may take: half, if there is speech on the other side as well.

    None, at the audio's ends, has nothing to give; an outer pause is the one at an end.
    """
    if pause is None:
        return 0.0
    return min(REACH_S, (pause.end_s - pause.start_s) / (1 if is_outer else 2))


def _start_s(waveform: Waveform, row: PhoneRow, pause_s: float) -> float:
    """Where the level rises between the pause before a phone and the phone's end."""
    first, stop = point_at(row.start_s - pause_s), point_at(row.end_s) - _PHONE_POINTS
    if stop - first < _LEAST_POINTS:
        return row.start_s
    falling = levels_db(waveform, first, stop)[::-1]
    n_phone = _points_above(falling)
    return row.start_s if n_phone is None else (stop - n_phone) * STEP_S


def _end_s(waveform: Waveform, row: PhoneRow, pause_s: float) -> float:
    """Where the level falls between a phone's start and the pause after it."""
    first, stop = point_at(row.start_s) + _PHONE_POINTS, point_at(row.end_s + pause_s)
    if stop - first < _LEAST_POINTS:
        return row.end_s
    if row.phone in _STOPS:
        return _release_s(waveform, first, stop) or row.end_s
    n_phone = _points_above(levels_db(waveform, first, stop))
    return row.end_s if n_phone is None else (first + n_phone) * STEP_S


def _points_above(falling_db: NDArray[np.float64]) -> int | None:
    """How many points a phone has at the start of levels that fall into a pause; None where they do not fall.

    The two are parted where two constant levels fit best (least squares); from there the phone goes on while the level
    is above `EDGE_PART`.
    """
    n_before = np.arange(1, falling_db.size)
    sums = np.cumsum(falling_db)
    explained = sums[:-1] ** 2 / n_before + (sums[-1] - sums[:-1]) ** 2 / (falling_db.size - n_before)
    parted = int(np.argmax(explained)) + 1
    phone_db, pause_db = float(falling_db[:parted].mean()), float(falling_db[parted:].mean())
    if phone_db - pause_db < LEAST_CONTRAST_DB:
        return None
    below = np.flatnonzero(falling_db[parted:] <= pause_db + EDGE_PART * (phone_db - pause_db))
    return parted + int(below[0]) if below.size else falling_db.size


def _release_s(waveform: Waveform, first: int, stop: int) -> float | None:
    """The last loud point of a final stop, whose closure is as silent as a pause; None where nothing is silent."""
    context = max(0, first - point_at(REACH_S))
    levels = levels_db(waveform, context, stop)
    own_db, loudest_db = levels[first - context :], float(levels.max())
    pause_db = float(np.percentile(own_db, _PAUSE_PERCENTILE))
    if loudest_db - pause_db < LEAST_CONTRAST_DB:
        return None
    loud = np.flatnonzero(own_db > max(loudest_db - RELEASE_DB, pause_db + EDGE_PART * (loudest_db - pause_db)))
    return (first + int(loud[-1]) + 1) * STEP_S if loud.size else None
