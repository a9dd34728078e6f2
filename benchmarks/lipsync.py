"""How well the lips of any talking video follow its phonemes, measured on the delivered file.

    python benchmarks/lipsync.py VIDEO.mp4 ALIGNMENT.parquet

ALIGNMENT is the table of phoneme_alignments (phone, start_s, end_s). The mouth is measured by face landmarks on every
decoded frame, with a tracker that the generator does not share a state with, so that any generator's video can be
measured alike.

Measures:
- opening: mean distance of three pairs of inner-lip landmarks over the distance of the outer eye corners.
- correlation of the opening with the phones' openness (a step function over time) at the best lag; a positive lag
  means that the picture is late.
- closures: P, B and M during which the opening falls below a fifth of its own range.
- control: the correlation with the phones shifted by 3 s; it must vanish.
- still lips: standard deviation of the opening inside pauses, as a share of its range.
- blinks a minute, by the eyes' opening.

Belongs here: the measurement and its print-out. Does not belong here: thresholds that decide about a video.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import PHONE_OPENNESS
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline.video.probe import probe_video

GRID_HZ = 100  # finer than any frame rate, so that the lag is not bound to frames
MOST_LAG_S = 0.4
CONTROL_SHIFT_S = 3.0
CLOSED_SHARE = 0.2  # of the opening's range between its 2nd and 95th percentile
SETTLING_S = 0.4  # lips come to rest after speech, and prepare before it
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
EYE_CORNERS = (33, 263)
EYELIDS = ((159, 145), (386, 374))
BLINK_SHARE = 0.6  # of the median opening of the eyes


@dataclass(frozen=True)
class LipSync:
    """The measures; see the module's text."""

    frames: int
    frames_without_face: int
    correlation: float
    correlation_at_zero_lag: float
    best_lag_ms: int
    control_correlation: float
    closures_reached: int
    closures: int
    still_lips_share: float | None
    still_frames: int
    blinks_per_minute: float
    opening_percentiles: tuple[float, float, float]


def measure(video: Path, alignment: Path) -> LipSync:
    """All measures of one video."""
    phonemes = pd.read_parquet(alignment)
    fps = float(probe_video(video).fps)
    opening, eyes, lost = _landmark_tracks(video)
    middles_s = (np.arange(len(opening)) + 0.5) / fps
    grid_s = (np.arange(int(len(opening) / fps * GRID_HZ)) + 0.5) / GRID_HZ
    openness = _openness(phonemes, grid_s)
    measured = np.interp(grid_s, middles_s, opening)
    by_lag = {lag: _correlation_at(measured, openness, lag) for lag in range(-_lag_steps(), _lag_steps() + 1)}
    best = max(by_lag, key=lambda lag: by_lag[lag])

    low, high = np.percentile(opening, 2), np.percentile(opening, 95)
    closed_below = low + CLOSED_SHARE * (high - low)
    closures = [
        opening[max(0, int(row.start_s * fps)) : int(np.ceil(row.end_s * fps)) + 1].min() < closed_below
        for row in phonemes.itertuples()
        if row.phone in ("P", "B", "M")
    ]
    still = _still_frames(phonemes, middles_s)
    blinking = eyes < BLINK_SHARE * np.median(eyes)
    n_blinks = int((np.diff(blinking.astype(int)) == 1).sum())
    return LipSync(
        frames=len(opening),
        frames_without_face=lost,
        correlation=round(by_lag[best], 3),
        correlation_at_zero_lag=round(by_lag[0], 3),
        best_lag_ms=round(1000 * best / GRID_HZ),
        control_correlation=round(_correlation_at(measured, np.roll(openness, round(CONTROL_SHIFT_S * GRID_HZ)), 0), 3),
        closures_reached=int(sum(closures)),
        closures=len(closures),
        still_lips_share=round(float(_within_pause_deviation(opening, still) / (high - low)), 4)
        if still.any()
        else None,
        still_frames=int(still.sum()),
        blinks_per_minute=round(60 * n_blinks * fps / len(opening), 1),
        opening_percentiles=tuple(round(float(np.percentile(opening, q)), 4) for q in (2, 50, 95)),
    )


def _landmark_tracks(video: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Opening of the mouth and of the eyes over the distance of the eye corners, (n,) each; frames without a face."""
    landmarker = FaceLandmarker()
    mouth, eyes, lost, face = [], [], 0, None
    for shown in iter_frames(video):
        face = landmarker.track(shown.pixels, face) if face is not None else None
        face = face or next(iter(landmarker.find(shown.pixels)), None)
        if face is None:
            lost += 1
            mouth.append(mouth[-1] if mouth else 0.0)
            eyes.append(eyes[-1] if eyes else 0.0)
            continue
        points = face.landmarks_px[:, :2]
        unit_px = np.linalg.norm(points[EYE_CORNERS[0]] - points[EYE_CORNERS[1]])
        mouth.append(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in INNER_LIPS]) / unit_px)
        eyes.append(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in EYELIDS]) / unit_px)
    return np.array(mouth), np.array(eyes), lost


def _openness(phonemes: pd.DataFrame, grid_s: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.zeros(len(grid_s))
    for row in phonemes.itertuples():
        values[(grid_s >= row.start_s) & (grid_s < row.end_s)] = PHONE_OPENNESS[row.phone]
    return values


def _lag_steps() -> int:
    return round(MOST_LAG_S * GRID_HZ)


def _correlation_at(measured: NDArray[np.float64], openness: NDArray[np.float64], lag: int) -> float:
    edge = _lag_steps()
    return float(np.corrcoef(measured[edge:-edge], np.roll(openness, lag)[edge:-edge])[0, 1])


def _still_frames(phonemes: pd.DataFrame, middles_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Frames well inside pauses."""
    still = np.zeros(len(middles_s), bool)
    for row in phonemes[phonemes["phone"] == "SIL"].itertuples():
        still |= (middles_s > row.start_s + SETTLING_S) & (middles_s < row.end_s - SETTLING_S)
    return still


def _within_pause_deviation(opening: NDArray[np.float64], still: NDArray[np.bool_]) -> float:
    """Standard deviation around each pause's own mean."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    residues = [opening[a:b] - opening[a:b].mean() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return float(np.concatenate(residues).std())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("alignment", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(asdict(measure(arguments.video, arguments.alignment)), indent=1))
