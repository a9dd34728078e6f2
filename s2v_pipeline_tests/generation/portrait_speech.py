"""Speech as tables for the motion tests: a real reading's phones, made-up phones, features that fit them, requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import VOWELS
from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.plan import ChunkPlan
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.generation.portrait.coefficients import FaceMotion
from s2v_pipeline.generation.portrait.motion import CONTEXT_S, make_motion
from s2v_pipeline.timebase import FrameSpan

PhoneRow = tuple[str, float, float]

LEVEL_DB = -22
MEDIAN_F0_HZ = 120

# "And Mister John Dashwood had then leisure to consider how much there might be prudently in his power to do for them":
# a LibriVox reading (public domain) as PocketSphinx aligned it, at the reader's own speed.
READING: tuple[PhoneRow, ...] = (
    ("SIL", 0.00, 0.60), ("AE", 0.60, 0.71), ("N", 0.71, 0.74), ("D", 0.74, 0.77), ("M", 0.77, 0.81),
    ("IH", 0.81, 0.85), ("S", 0.85, 0.91), ("T", 0.91, 0.98), ("ER", 0.98, 1.03), ("JH", 1.03, 1.17),
    ("AA", 1.17, 1.32), ("N", 1.32, 1.40), ("D", 1.40, 1.47), ("AE", 1.47, 1.62), ("SH", 1.62, 1.74),
    ("W", 1.74, 1.86), ("UH", 1.86, 1.92), ("D", 1.92, 1.99), ("HH", 1.99, 2.07), ("AE", 2.07, 2.16),
    ("D", 2.16, 2.24), ("DH", 2.24, 2.29), ("EH", 2.29, 2.41), ("N", 2.41, 2.63), ("L", 2.63, 2.78),
    ("IY", 2.78, 2.87), ("ZH", 2.87, 3.00), ("ER", 3.00, 3.12), ("T", 3.12, 3.22), ("UW", 3.22, 3.29),
    ("K", 3.29, 3.38), ("AH", 3.38, 3.42), ("N", 3.42, 3.47), ("S", 3.47, 3.61), ("IH", 3.61, 3.67),
    ("D", 3.67, 3.71), ("ER", 3.71, 3.85), ("HH", 3.85, 3.94), ("AW", 3.94, 4.30), ("M", 4.30, 4.50),
    ("AH", 4.50, 4.56), ("CH", 4.56, 4.73), ("DH", 4.73, 4.82), ("EH", 4.82, 4.87), ("R", 4.87, 4.92),
    ("M", 4.92, 5.01), ("AY", 5.01, 5.11), ("T", 5.11, 5.19), ("B", 5.19, 5.24), ("IY", 5.24, 5.34),
    ("P", 5.34, 5.45), ("R", 5.45, 5.52), ("UW", 5.52, 5.57), ("D", 5.57, 5.62), ("AH", 5.62, 5.65),
    ("N", 5.65, 5.68), ("T", 5.68, 5.71), ("L", 5.71, 5.77), ("IY", 5.77, 5.86), ("IH", 5.86, 5.92),
    ("N", 5.92, 5.96), ("HH", 5.96, 5.99), ("IH", 5.99, 6.05), ("Z", 6.05, 6.15), ("P", 6.15, 6.20),
    ("AW", 6.20, 6.30), ("ER", 6.30, 6.44), ("T", 6.44, 6.48), ("IH", 6.48, 6.54), ("D", 6.54, 6.62),
    ("UW", 6.62, 6.75), ("F", 6.75, 6.89), ("AO", 6.89, 6.97), ("R", 6.97, 7.01), ("DH", 7.01, 7.07),
    ("AH", 7.07, 7.14), ("M", 7.14, 7.19), ("SIL", 7.19, 8.52),
)  # fmt: skip


def phones_in_a_row(text: str, *, start_s: float = 0.5, phone_s: float = 0.1) -> tuple[PhoneRow, ...]:
    """Phones of equal length after a first silence; an underscore is as much silence."""
    names = ["SIL" if name == "_" else name for name in text.split()]
    rows = [(name, start_s + phone_s * index, start_s + phone_s * (index + 1)) for index, name in enumerate(names)]
    return (("SIL", 0.0, start_s), *rows)


def frames_until(end_s: float, fps: Fraction) -> int:
    return math.ceil(end_s * fps)


def middles_s(n_frames: int, fps: Fraction) -> NDArray[np.float64]:
    return (np.arange(n_frames) + 0.5) / float(fps)


def features_for(phones: Sequence[PhoneRow], n_frames: int, fps: Fraction) -> pd.DataFrame:
    """Loud voiced vowels, softer consonants, a quiet room; pitch that falls slowly with a rise on every third vowel."""
    time_s = middles_s(n_frames, fps)
    rms_db = np.full(n_frames, -65.0)
    f0_hz = np.zeros(n_frames)
    onset = np.zeros(n_frames)
    n_vowels = 0
    for name, start_s, end_s in phones:
        inside = (time_s >= start_s) & (time_s < end_s)
        if name == "SIL":
            continue
        rms_db[inside] = LEVEL_DB - 8.0
        if name in VOWELS:
            rise = 1.3 if n_vowels % 3 == 0 else 1.0
            f0_hz[inside] = MEDIAN_F0_HZ * rise * (1.05 - 0.01 * time_s[inside])
            rms_db[inside] = LEVEL_DB + (6.0 if n_vowels % 3 == 0 else 1.0)
            onset[np.flatnonzero(inside)[:1]] = 0.8
            n_vowels += 1
    return pd.DataFrame(
        {
            "frame": np.arange(n_frames),
            "time_s": time_s,
            "rms_db": rms_db,
            "speech_probability": (rms_db > -40.0).astype(float),
            "f0_hz": f0_hz,
            "onset": onset,
        }
    )


def requests_for(
    phones: Sequence[PhoneRow],
    *,
    fps: Fraction = Fraction(25),
    cuts: Sequence[int] = (),
    end_s: float | None = None,
    features: pd.DataFrame | None = None,
    prompt: str = "",
    input_seed: int = 7,
    context_s: float = CONTEXT_S,
) -> tuple[ChunkRequest, ...]:
    """One request for each chunk between the cuts, with no more than its context, as the pipeline makes them."""
    n_frames = frames_until(end_s if end_s is not None else phones[-1][2], fps)
    borders = [0, *cuts, n_frames]
    plan = ChunkPlan(tuple(FrameSpan(start, stop) for start, stop in pairwise(borders)))
    video = VideoRequest(
        input_id="reading",
        fps=fps,
        width_px=64,
        height_px=64,
        input_seed=input_seed,
        prompt=prompt,
        portrait=FileRef(Path("portrait.png"), "0" * 64),
        speech_level_db=LEVEL_DB,
        median_f0_hz=MEDIAN_F0_HZ,
    )
    table = pd.DataFrame(list(phones), columns=["phone", "start_s", "end_s"])
    if features is None:
        features = features_for(phones, n_frames, fps)
    return build_requests(video, plan, phonemes=table, features=features, context_s=context_s)


def rows_of(requests: Sequence[ChunkRequest]) -> NDArray[np.float32]:
    """The motion of all chunks, one after the other."""
    return np.concatenate([table_of(make_motion(request)) for request in requests])


def table_of(motion: FaceMotion) -> NDArray[np.float32]:
    return motion.values  # noqa: PD011  not a DataFrame
