from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.audio.instants import windows_at


@pytest.mark.parametrize("block", [1, 3, 100])
def test_windows_are_the_sound_and_silence_around_it(block: int) -> None:
    samples = np.arange(1, 101, dtype=np.float32)
    starts = np.array([-500, -7, -3, 0, 20, 95, 99, 100, 300], np.int64)
    padded = np.concatenate([np.zeros(500), samples, np.zeros(300)])
    expected = padded[starts[:, None] + 500 + np.arange(8)]
    found = np.full_like(expected, np.nan)
    for which, windows in windows_at(samples, starts, 8, block=block):
        assert len(windows) <= block
        found[which] = windows
    np.testing.assert_array_equal(found, expected)
