"""Whether rendered lips follow the phones: the first seconds of a reading, measured by landmarks on rendered frames.

`benchmarks/lipsync.py` measures the same on delivered files of any length.
"""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import PHONE_OPENNESS
from s2v_pipeline.faces.landmarker import Face
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline_tests.generation.portrait_requests import landmarker, sample_portrait
from s2v_pipeline_tests.generation.portrait_speech import (
    LEVEL_DB,
    READING,
    PhoneRow,
    features_for,
    frames_until,
    requests_for,
    rows_of,
)

FPS = Fraction(25)
READ_S = 6.3  # "And Mister John Dashwood had then leisure to consider how much there might be prudently in his pow-"
SIZE_PX = 384
GRID_HZ = 100
CONTROL_LAG_S = 1.5  # speech a second and a half away has nothing to do with what is seen
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
EYE_CORNERS = (33, 263)

PHONES: tuple[PhoneRow, ...] = tuple(phone for phone in READING if phone[2] <= READ_S)


@functools.cache
def openings() -> NDArray[np.float64]:
    """Distance of the inner lips over that of the eyes' outer corners, one value a rendered frame."""
    renderer = Renderer(FaceModel.from_portrait(sample_portrait(SIZE_PX, SIZE_PX), landmarker()))
    face: Face | None = None
    measured = []
    # Equally loud throughout: what opens and closes the lips here is the phones alone.
    features = features_for(PHONES, frames_until(PHONES[-1][2], FPS), FPS)
    features["rms_db"] = float(LEVEL_DB)
    for values in rows_of(requests_for(PHONES, fps=FPS, features=features)):
        pixels = renderer.render(values)
        face = landmarker().find(pixels)[0] if face is None else landmarker().track(pixels, face)
        assert face is not None
        points = face.landmarks_px[:, :2]
        eyes_px = np.linalg.norm(points[EYE_CORNERS[0]] - points[EYE_CORNERS[1]])
        measured.append(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in INNER_LIPS]) / eyes_px)
    return np.array(measured)


def on_screen(start_s: float, end_s: float) -> NDArray[np.float64]:
    return openings()[int(start_s * FPS) : int(np.ceil(end_s * FPS)) + 1]


def opening_range() -> tuple[float, float]:
    low, high = np.percentile(openings(), [2, 95])
    return float(low), float(high)


def correlation(lag_s: float) -> float:
    """Of the opening with the phones' openness, `lag_s` later."""
    grid_s = np.arange(0.4, PHONES[-1][2] - 0.4, 1 / GRID_HZ)
    middles_s = (np.arange(openings().size) + 0.5) / float(FPS)
    openness = np.zeros(grid_s.size)
    for name, start_s, end_s in PHONES:
        openness[(grid_s - lag_s >= start_s) & (grid_s - lag_s < end_s)] = PHONE_OPENNESS[name]
    return float(np.corrcoef(np.interp(grid_s, middles_s, openings()), openness)[0, 1])


@pytest.mark.parametrize("phone", [phone for phone in PHONES if phone[0] in ("P", "B", "M")], ids=str)
def test_lips_are_seen_to_close(phone: PhoneRow) -> None:
    low, high = opening_range()
    assert on_screen(*phone[1:]).min() < low + 0.15 * (high - low)


@pytest.mark.parametrize("phone", [phone for phone in PHONES if phone[0] in ("AA", "AE", "AW")], ids=str)
def test_open_vowels_are_seen_to_open(phone: PhoneRow) -> None:
    low, high = opening_range()
    assert on_screen(*phone[1:]).max() > low + 0.6 * (high - low)


def test_consonants_between_vowels_leave_the_lips_apart_but_not_wide() -> None:
    low, high = opening_range()
    d_of_john = next(phone for phone in PHONES if phone[0] == "D" and phone[1] > 1.3)
    assert low + 0.1 * (high - low) < on_screen(*d_of_john[1:]).min() < low + 0.6 * (high - low)


def test_the_opening_follows_the_phones_and_is_on_time() -> None:
    by_lag = {lag: correlation(lag / GRID_HZ) for lag in range(-20, 21)}
    best = max(by_lag, key=lambda lag: by_lag[lag])
    assert by_lag[best] > 0.80
    assert abs(best) <= 2
    assert abs(correlation(CONTROL_LAG_S)) < 0.25


def test_lips_rest_before_the_first_word() -> None:
    low, high = opening_range()
    still = on_screen(0.0, 0.32)
    assert np.ptp(still) < 0.05 * (high - low)
