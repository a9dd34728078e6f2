"""Voiceless consonants after a pause, where noise was taken out of the sound.

Belongs here: the least length of such a consonant.
Does not belong here: edges that the level shows (speech_edges), taking noise out (audio.denoise).

A denoiser takes a weak hiss, and a stop's closure, for noise: neither level nor models see more than its end, and the
mouth would close or part its lips too late. How long such a sound lasts is known better than where it begins.
"""

from __future__ import annotations

import pandas as pd

from s2v_pipeline.alignment.aligner import PhoneRow, complete_table
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.alignment.speech_edges import part_of_pause_s
from s2v_pipeline.media import Waveform

LEAST_S = 0.1
"""Of a voiceless consonant, a stop's closure included. In flite's voices under pink noise at 0 dB, cleaned, the mean
error of boundaries falls from 16.4 to 15.5 ms with this, to 15.4 ms with 0.12 s."""

VOICELESS = frozenset({"F", "TH", "S", "SH", "HH", "P", "T", "K", "CH"})


def lengthen_weak_starts(phonemes: pd.DataFrame, waveform: Waveform) -> pd.DataFrame:
    """The table of an `Alignment` of denoised sound, where voiceless consonants after a pause begin early enough.

    No pause loses more than `part_of_pause_s` says.
    """
    rows = [PhoneRow(*row) for row in phonemes.itertuples(index=False)]
    moved = list(rows)
    for index, row in enumerate(rows[1:], start=1):
        pause = rows[index - 1]
        if row.phone not in VOICELESS or pause.phone != SILENCE or row.end_s - row.start_s >= LEAST_S:
            continue
        start_s = max(row.end_s - LEAST_S, row.start_s - part_of_pause_s(pause, is_outer=index == 1))
        moved[index] = row._replace(start_s=start_s)
        moved[index - 1] = pause._replace(end_s=start_s)
    return complete_table([row for row in moved if row.end_s > row.start_s], waveform.duration_s)
