from __future__ import annotations

import numpy as np
import pytest

from s2v_pipeline.audio.pitch import estimate_f0
from s2v_pipeline.media import Waveform

CENTRES = np.arange(2000, 30_000, 400, dtype=np.int64)


def _voice(f0_hz: np.ndarray) -> Waveform:
    """A buzz with falling harmonics and a formant, as voices have."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / 16_000
    harmonics = range(1, int(4000 / f0_hz.max()))
    sound = sum(np.sin(k * phase) / k * (1 + 2 * np.exp(-(((k * f0_hz - 700) / 200) ** 2))) for k in harmonics)
    return Waveform((0.1 * np.asarray(sound)).astype(np.float32), 16_000)


@pytest.mark.parametrize("f0_hz", [75.0, 110.0, 187.3, 260.0, 400.0])
def test_steady_voice(f0_hz: float) -> None:
    found = estimate_f0(_voice(np.full(32_000, f0_hz)), CENTRES)
    np.testing.assert_allclose(found, f0_hz, rtol=0.01)


def test_gliding_voice_is_followed_without_delay() -> None:
    glide = np.linspace(100.0, 200.0, 32_000)
    np.testing.assert_allclose(estimate_f0(_voice(glide), CENTRES), glide[CENTRES], rtol=0.03)


def test_noise_and_silence_are_unvoiced() -> None:
    noise = (0.1 * np.random.default_rng(1).standard_normal(32_000)).astype(np.float32)
    assert np.mean(estimate_f0(Waveform(noise, 16_000), CENTRES) > 0) < 0.05
    assert not estimate_f0(Waveform(np.zeros(32_000, np.float32), 16_000), CENTRES).any()


def test_blocks_do_not_change_the_result() -> None:
    waveform = _voice(np.full(32_000, 120.0))
    many = np.arange(0, 32_000, 20, dtype=np.int64)
    np.testing.assert_allclose(estimate_f0(waveform, many)[700:710], estimate_f0(waveform, many[700:710]), rtol=1e-9)
