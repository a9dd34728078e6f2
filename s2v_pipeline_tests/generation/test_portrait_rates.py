"""The same face at the same time, whatever the frame rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES
from s2v_pipeline_tests.generation.portrait_speech import (
    LEVEL_DB,
    READING,
    features_for,
    frames_until,
    middles_s,
    requests_for,
    rows_of,
)

REFERENCE = Fraction(100)  # dense enough to be read between its frames
END_S = READING[-1][2]


def motion(fps: Fraction) -> NDArray[np.float32]:
    features = features_for(READING, frames_until(END_S, fps), fps)
    # Features are measured a frame, so they differ a little between rates: what is compared here is the motion.
    features["rms_db"], features["f0_hz"], features["onset"] = float(LEVEL_DB), 120.0, 0.0
    return rows_of(requests_for(READING, fps=fps, features=features))


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(30), Fraction(50)], ids=str)
def test_motion_is_the_same_at_the_same_time(fps: Fraction) -> None:
    rows, dense = motion(fps), motion(REFERENCE)
    at_s, dense_s = middles_s(len(rows), fps), middles_s(len(dense), REFERENCE)
    inside = (at_s > dense_s[0]) & (at_s < dense_s[-1])
    for name, most in (("head_yaw_deg", 0.2), ("head_pitch_deg", 0.2), ("jaw_open", 0.05), ("lip_width", 0.05)):
        column = COEFFICIENT_NAMES.index(name)
        expected = np.interp(at_s, dense_s, dense[:, column])
        difference = np.abs(rows[:, column] - expected)[inside]
        assert difference.max() < most, name
        assert np.ptp(rows[:, column]) > 4 * most, name
