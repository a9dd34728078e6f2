from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.audio.windows import apply_in_windows, windows
from s2v_pipeline_tests.audio.noisy_speech import in_blocks


@given(n=st.integers(0, 90), block=st.integers(1, 40), length=st.integers(1, 40), margin=st.integers(0, 50))
def test_windows_cover_the_sound_once_with_their_margins(n: int, block: int, length: int, margin: int) -> None:
    sound = np.arange(2 * n, dtype=np.float32).reshape(2, n)
    at = 0
    for window in windows(in_blocks(sound, block), length=length, margin=margin):
        assert window.length == min(length, n - at)
        assert window.before == min(margin, at)
        np.testing.assert_array_equal(window.samples, sound[:, max(0, at - margin) : at + window.length + margin])
        np.testing.assert_array_equal(window.own(window.samples), sound[:, at : at + window.length])
        at += window.length
    assert at == n


def test_a_local_function_gives_the_same_in_windows_and_at_once() -> None:
    sound = np.random.default_rng(1).standard_normal((1, 1000)).astype(np.float32)

    def smoothed(samples: np.ndarray) -> np.ndarray:
        return np.convolve(samples[0], np.ones(5, np.float32), "same")[None]

    found = np.concatenate(list(apply_in_windows(in_blocks(sound, 77), smoothed, length=100, margin=2)), axis=1)
    np.testing.assert_array_equal(found, smoothed(sound))


def test_windows_need_a_length() -> None:
    with pytest.raises(ValueError, match="positive length"):
        next(windows([], length=0, margin=1))
