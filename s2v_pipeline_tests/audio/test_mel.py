from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.audio.mel import mel_bands


@pytest.mark.parametrize(("n_bands", "window"), [(20, 640), (24, 400), (40, 512)])
def test_bands_overlap_evenly_and_rise_and_fall(n_bands: int, window: int) -> None:
    bands = mel_bands(n_bands, window)
    assert bands.shape == (n_bands, window // 2 + 1)
    middles = bands.argmax(axis=1)
    assert (np.diff(middles) > 0).all()
    # Between the first and the last middle, neighbours share each frequency: their weights add up to one.
    np.testing.assert_allclose(bands[:, middles[0] + 1 : middles[-1]].sum(axis=0), 1.0, atol=1e-12)
    for band, middle in zip(bands, middles, strict=True):
        assert (np.diff(band[: middle + 1]) >= 0).all()
        assert (np.diff(band[middle:]) <= 0).all()


def test_a_band_lies_where_the_scale_says() -> None:
    # 20 bands up to 8 kHz, 2840.02 mel: the middle of the tenth is at 1352.4 mel, 1623 Hz.
    bands = mel_bands(20, 16_000)
    assert abs(int(bands[9].argmax()) - 1624) <= 1


def test_empty_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        mel_bands(128, 400)
