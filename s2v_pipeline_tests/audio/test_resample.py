from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from s2v_pipeline.audio.resample import resample, resampled, resampled_size
from s2v_pipeline.media import Waveform


def _at_once(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    ratio = Fraction(to_hz, from_hz)
    return resample_poly(samples, ratio.numerator, ratio.denominator)[: round(samples.size * ratio)]


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (22_050, 16_000)])
def test_pieces_are_the_whole_bit_for_bit(from_hz: int, to_hz: int) -> None:
    samples = np.random.default_rng(0).standard_normal(25 * from_hz + 371).astype(np.float32)
    blocks = np.array_split(samples, 97)
    found = list(resampled(blocks, from_hz, to_hz))
    assert len(found) > 2
    np.testing.assert_array_equal(np.concatenate(found), _at_once(samples, from_hz, to_hz))


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(1, 1500),
    cuts=st.lists(st.integers(0, 1500), max_size=5),
    from_hz=st.sampled_from([30, 44, 48, 100, 7]),
    to_hz=st.sampled_from([16, 48, 25]),
)
def test_any_cuts_give_the_whole(n_samples: int, cuts: list[int], from_hz: int, to_hz: int) -> None:
    # At such rates a piece of 10 s has a few hundred samples.
    samples = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    edges = sorted({0, n_samples, *(cut for cut in cuts if cut < n_samples)})
    blocks = [samples[first:stop] for first, stop in pairwise(edges)]
    found = np.concatenate([np.zeros(0, np.float32), *resampled(blocks, from_hz, to_hz)])
    assert found.size == resampled_size(n_samples, from_hz, to_hz)
    expected = samples if from_hz == to_hz else _at_once(samples, from_hz, to_hz)
    np.testing.assert_array_equal(found[: expected.size], expected)


def test_nothing_stays_nothing_and_a_bad_rate_is_refused() -> None:
    assert list(resampled([], 48_000, 16_000)) == []
    with pytest.raises(ValueError, match="positive"):
        resample(Waveform(np.ones(4, np.float32), 8_000), 0)
