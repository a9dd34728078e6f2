"""The committed sentences whose phone times are known; see s2v_pipeline_tests/data/README.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.media import Waveform

DATA = Path(__file__).parents[1] / "data"
NAMES = ("flite_slt_depth_of_a_well", "flite_kal16_juice_of_lemons")


@dataclass(frozen=True, eq=False)
class KnownSpeech:
    """A sentence, its words and its true phones."""

    waveform: Waveform
    transcript: str
    truth: pd.DataFrame


def load(name: str) -> KnownSpeech:
    return KnownSpeech(
        read_waveform(DATA / f"{name}.flac"),
        (DATA / f"{name}.txt").read_text().strip(),
        pd.read_csv(DATA / f"{name}.csv"),
    )


def joined(*parts: Waveform) -> Waveform:
    return Waveform(np.concatenate([part.samples for part in parts]), 16_000)


def tiled(n_sentences: int, *, pause_s: float) -> tuple[KnownSpeech, list[str]]:
    """The sentences in turn, with digital silence behind each, as one speech; and each one's transcript."""
    parts = [load(NAMES[index % len(NAMES)]) for index in range(n_sentences)]
    pause = np.zeros(round(pause_s * 16_000), np.float32)
    sounds = [np.concatenate([part.waveform.samples, pause]) for part in parts]
    starts_s = np.cumsum([0, *map(len, sounds)])[:-1] / 16_000
    truths = [
        part.truth.assign(start_s=part.truth["start_s"] + at_s, end_s=part.truth["end_s"] + at_s)
        for part, at_s in zip(parts, starts_s, strict=True)
    ]
    said = [part.transcript for part in parts]
    return KnownSpeech(Waveform(np.concatenate(sounds), 16_000), " ".join(said), pd.concat(truths)), said


def boundary_errors_s(truth: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """|start found - true start| of phones matched in order (longest common subsequence), and of the last end."""
    true_rows = [row for row in truth.itertuples() if row.phone != SILENCE]
    found_rows = [row for row in found.itertuples() if row.phone != SILENCE]
    lengths = np.zeros((len(true_rows) + 1, len(found_rows) + 1), np.int64)
    for i, true_row in enumerate(true_rows):
        for j, found_row in enumerate(found_rows):
            same = lengths[i, j] + 1 if true_row.phone == found_row.phone else 0
            lengths[i + 1, j + 1] = max(same, lengths[i, j + 1], lengths[i + 1, j])
    errors_s = [abs(found_rows[-1].end_s - true_rows[-1].end_s)]
    i, j = len(true_rows), len(found_rows)
    while i and j:
        if true_rows[i - 1].phone == found_rows[j - 1].phone and lengths[i, j] == lengths[i - 1, j - 1] + 1:
            i, j = i - 1, j - 1
            errors_s.append(abs(found_rows[j].start_s - true_rows[i].start_s))
        elif lengths[i - 1, j] == lengths[i, j]:
            i -= 1
        else:
            j -= 1
    return np.array(errors_s)
