"""How near an alignment is to known phone times.

Belongs here: folding of labels to the phones that the package speaks of, and the measures.
Does not belong here: running aligners, data sets (benchmarks/alignment.py), thresholds.

Phones are compared as the 39 phones of the CMU dictionary, silence left out. Both sequences are laid along each other
with the fewest edits; among equal ways the one with the nearest times counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import ARPABET, SILENCE

FRAMES_HZ = 25
"""Viseme frames a second: the usual rate of video."""

VISEMES: Mapping[str, str] = {
    phone: name
    for name, phones in {
        "none": SILENCE,
        "p b m": "P B M",
        "f v": "F V",
        "th dh": "TH DH",
        "t d": "T D",
        "k g": "K G NG HH",
        "ch jh sh": "CH JH SH ZH",
        "s z": "S Z",
        "n l": "N L",
        "r": "R ER",
        "a": "AA AH AY AW",
        "e": "EH AE EY",
        "i": "IH IY Y",
        "o": "AO OW OY",
        "u": "UH UW W",
    }.items()
    for phone in phones.split()
}
"""Phone -> viseme: the 15 of MPEG-4's face animation (ISO/IEC 14496-2, annex C), whose examples name most phones. Ours
are: NG and HH with K and G, W with UW, Y with IY, AH with AA; a diphthong counts as what it starts with."""

_SILENT_LABELS = frozenset(
    {"SIL", "<SIL>", "SILENCE", "SP", "PAU", "PAUSE", "EPI", "H#", "#", "<S>", "</S>", "<EPS>"}
    | {"SPN", "NSN", "+SPN+", "+NSN+", "+BREATH+", "<UNK>", "BR", "Q"}
)
_FOLDED = {
    "AX": "AH", "AX-H": "AH", "AXR": "ER", "IX": "IH", "UX": "UW", "EL": "L", "EM": "M", "EN": "N", "ENG": "NG",
    "NX": "N", "DX": "D", "HV": "HH", "H": "HH",
}  # fmt: skip
_WORD_PLACES = ("_B", "_I", "_E", "_S")  # Kaldi's: begin, inside, end, single
# TIMIT writes the closure of a stop as a label of its own before the release.
_CLOSURES = {"BCL": "B", "DCL": "D", "GCL": "G", "PCL": "P", "TCL": "T", "KCL": "K"}
_AFFRICATE_CLOSURES = {("TCL", "CH"): "CH", ("DCL", "JH"): "JH"}

_TIE_PER_S = 1e-4  # far below one edit, so that times decide between equal ways alone
_MOST_TIE_S = 1.0
_LEFT, _UP, _BOTH = 0, 1, 2


@dataclass(frozen=True)
class Score:
    """Measures of one alignment; those of several are pooled with `pooled`.

    Attributes:
        errors_s: signed, found minus true: starts of the phones that both have, and the end of the last, (n,) float64.
        n_true: true phones.
        n_edits: substituted, missed and added phones.
        frames, frames_right: viseme frames inside true phones, and those whose viseme is right.
        all_frames, all_frames_right: the same with silence as one viseme more, from 0 to the truth's end.
    """

    errors_s: NDArray[np.float64]
    n_true: int
    n_edits: int
    frames: int
    frames_right: int
    all_frames: int
    all_frames_right: int

    @property
    def phone_error_rate(self) -> float:
        """Edits over true phones."""
        return self.n_edits / self.n_true

    @property
    def viseme_accuracy(self) -> float:
        """Share of right frames inside true phones."""
        return self.frames_right / max(1, self.frames)

    @property
    def all_viseme_accuracy(self) -> float:
        """Share of right frames, silence included."""
        return self.all_frames_right / max(1, self.all_frames)


def fold_phone(label: str) -> str | None:
    """The CMU phone or SIL that a label means, or None if it is unknown; case and stress digits do not matter.

    Blanks and the usual names of pauses and noise are silence; TIMIT's reduced vowels, flaps and syllabic consonants
    become their nearest phone, and a glottal stop, which has no phone, silence.
    """
    name = label.strip().upper()
    name = (name[:-2] if name.endswith(_WORD_PLACES) else name).rstrip("0123456789")
    if not name or name in _SILENT_LABELS:
        return SILENCE
    name = _CLOSURES.get(name, _FOLDED.get(name, name))
    return name if name in ARPABET else None


def fold_truth(labels: pd.DataFrame) -> pd.DataFrame:
    """Columns phone, start_s, end_s in time order, folded; a TIMIT closure is one phone with its release.

    Raises:
        ValueError: a column is missing, a label is unknown, times are not numbers or run backwards, or nothing is said.
    """
    missing = {"phone", "start_s", "end_s"} - set(labels.columns)
    if missing:
        raise ValueError(f"columns start_s, end_s and phone are needed; missing: {', '.join(sorted(missing))}")
    table = labels[["phone", "start_s", "end_s"]].copy()
    table[["start_s", "end_s"]] = table[["start_s", "end_s"]].apply(pd.to_numeric, errors="raise").astype("float64")
    table = table.sort_values("start_s", kind="stable", ignore_index=True)
    if not np.isfinite(table[["start_s", "end_s"]].to_numpy()).all() or (table["end_s"] < table["start_s"]).any():
        raise ValueError("times must be finite, and no phone may end before it starts")
    names = table["phone"].fillna("").astype(str)
    folded = [fold_phone(name) for name in names]
    unknown = sorted({name for name, phone in zip(names, folded, strict=True) if phone is None})
    if unknown:
        raise ValueError(f"labels must be CMU phones, TIMIT's, or silence; got {', '.join(unknown[:8])}")
    raw = [name.strip().upper() for name in names]
    rows: list[tuple[str, float, float]] = []
    for index, (phone, start_s, end_s) in enumerate(zip(folded, table["start_s"], table["end_s"], strict=True)):
        before = raw[index - 1] if index else ""
        joined = _AFFRICATE_CLOSURES.get((before, raw[index])) or (phone if _CLOSURES.get(before) == phone else None)
        if joined and rows:
            rows[-1] = (joined, rows[-1][1], end_s)
        elif phone is not None:
            rows.append((phone, start_s, end_s))
    found = pd.DataFrame(rows, columns=["phone", "start_s", "end_s"])
    if (found["phone"] == SILENCE).all():
        raise ValueError("there must be a phone other than silence")
    return found


def score(truth: pd.DataFrame, found: pd.DataFrame) -> Score:
    """Measures of `found` (columns of an `Alignment`) against `truth` (as `fold_truth` gives it)."""
    true_rows = truth[truth["phone"] != SILENCE].reset_index(drop=True)
    found_rows = found[found["phone"] != SILENCE].reset_index(drop=True)
    n_true = len(true_rows)
    pairs, n_edits = _lay_along(true_rows, found_rows)
    errors_s = [
        found_rows["start_s"][j] - true_rows["start_s"][i]
        for i, j in pairs
        if true_rows["phone"][i] == found_rows["phone"][j]
    ]
    if len(found_rows):
        errors_s.append(found_rows["end_s"].iloc[-1] - true_rows["end_s"].iloc[-1])
    middles_s = (np.arange(int(truth["end_s"].max() * FRAMES_HZ)) + 0.5) / FRAMES_HZ
    true_visemes, found_visemes = _visemes_at(truth, middles_s), _visemes_at(found, middles_s)
    is_right, is_speech = true_visemes == found_visemes, true_visemes != VISEMES[SILENCE]
    return Score(
        np.array(errors_s, np.float64),
        n_true,
        n_edits,
        int(is_speech.sum()),
        int((is_right & is_speech).sum()),
        len(middles_s),
        int(is_right.sum()),
    )


def pooled(scores: Iterable[Score]) -> Score | None:
    """The measures of several alignments as of one, each boundary, phone and frame counting alike; None for none."""
    parts = list(scores)
    if not parts:
        return None
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("n_true", "n_edits", "frames", "frames_right", "all_frames", "all_frames_right")
    }
    return Score(np.concatenate([part.errors_s for part in parts]), **sums)


def _lay_along(true_rows: pd.DataFrame, found_rows: pd.DataFrame) -> tuple[Sequence[tuple[int, int]], int]:
    """Pairs of row numbers, in order, by least edits, and how many edits there are."""
    true_names, found_names = true_rows["phone"].to_numpy(), found_rows["phone"].to_numpy()
    true_s, found_s = true_rows["start_s"].to_numpy(), found_rows["start_s"].to_numpy()
    n_found = len(found_names)
    numbers = np.arange(n_found + 1, dtype=np.float64)
    costs = numbers.copy()
    steps = np.full((len(true_names) + 1, n_found + 1), _LEFT, np.uint8)
    steps[1:, 0] = _UP
    for i, name in enumerate(true_names):
        pair_costs = (found_names != name) + _TIE_PER_S * np.minimum(np.abs(found_s - true_s[i]), _MOST_TIE_S)
        both, up = costs[:-1] + pair_costs, costs + 1
        best = up.copy()
        best[1:] = np.minimum(best[1:], both)
        steps[i + 1, 1:][both <= up[1:]] = _BOTH
        steps[i + 1, 1:][both > up[1:]] = _UP
        # A found phone more costs 1: cost[j] = min over k <= j of best[k] + (j - k).
        costs = np.minimum.accumulate(best - numbers) + numbers
        steps[i + 1, 1:][costs[1:] < best[1:] - _TIE_PER_S / 2**20] = _LEFT
    pairs: list[tuple[int, int]] = []
    i, j, n_edits = len(true_names), n_found, 0
    while i or j:
        step = steps[i, j]
        i, j = i - (step != _LEFT), j - (step != _UP)
        if step == _BOTH:
            pairs.append((i, j))
        n_edits += int(step != _BOTH or true_names[i] != found_names[j])
    return pairs[::-1], n_edits


def _visemes_at(phones: pd.DataFrame, times_s: NDArray[np.float64]) -> NDArray[np.str_]:
    """The viseme at each time; silence where no row is. The last row to start counts where rows overlap."""
    starts_s, ends_s = phones["start_s"].to_numpy(), phones["end_s"].to_numpy()
    rows = np.searchsorted(starts_s, times_s, side="right") - 1
    is_inside = (rows >= 0) & (times_s < ends_s[np.maximum(rows, 0)])
    names = np.array([VISEMES[phone] for phone in phones["phone"]])
    return np.where(is_inside, names[np.maximum(rows, 0)], VISEMES[SILENCE])
