"""Real speech with real measures of what was done to it: noise of a known strength, SI-SDR, lag.

Belongs here: what several tests of the clean-up share.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_waveform
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.conftest import SAMPLE

DATA = Path(__file__).parents[1] / "data"


def reading() -> Waveform:
    """The sample's 7.1 s of a LibriVox reading, 16 kHz: a real room, with rumble 16 dB and noise 20 dB under the voice,
    and hum of 60 Hz that nobody hears."""
    with av.open(str(SAMPLE / "speech.wav")) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return Waveform((np.concatenate(blocks, axis=1)[0] / 32768.0).astype(np.float32), SPEECH_RATE_HZ)


def synthetic() -> Waveform:
    """Both flite sentences, 4.4 s at 16 kHz, with 0.5 s of silence around them: no noise at all."""
    pause = np.zeros(SPEECH_RATE_HZ // 2, np.float32)
    sentences = [
        read_waveform(DATA / f"{name}.flac").samples
        for name in ("flite_slt_depth_of_a_well", "flite_kal16_juice_of_lemons")
    ]
    return Waveform(np.concatenate([pause, sentences[0], pause, sentences[1], pause]), SPEECH_RATE_HZ)


def pink_noise(n_samples: int, *, seed: int) -> NDArray[np.float64]:
    """Power falls by 3 dB an octave, down to 20 Hz."""
    random = np.random.default_rng(seed)
    frequencies_hz = np.fft.rfftfreq(n_samples, 1 / SPEECH_RATE_HZ)
    spectrum = random.standard_normal(frequencies_hz.size) + 1j * random.standard_normal(frequencies_hz.size)
    noise: NDArray[np.float64] = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies_hz, 20.0)), n_samples)
    return noise


def with_noise(speech: Waveform, *, snr_db: float, seed: int = 3) -> Waveform:
    """Pink noise whose mean power over the whole lies `snr_db` below the speech's."""
    clean = speech.samples.astype(np.float64)
    noise = pink_noise(clean.size, seed=seed)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    return Waveform((clean + noise).astype(np.float32), speech.rate_hz)


def with_hum(speech: Waveform, mains_hz: float, *, level_db: float) -> Waveform:
    """The mains frequency at `level_db` dBFS, with its second, third and fifth multiple, weaker the higher."""
    time_s = np.arange(speech.samples.size) / speech.rate_hz
    peak = np.sqrt(2) * 10 ** (level_db / 20)
    hum = sum(peak / k * np.sin(2 * np.pi * mains_hz * k * time_s + k) for k in (1, 2, 3, 5))
    return Waveform((speech.samples + hum).astype(np.float32), speech.rate_hz)


def in_blocks(samples: NDArray[np.float32], length: int = 4096) -> list[NDArray[np.float32]]:
    """(channels, n) or (n,) samples as a decoder gives them."""
    planar = np.atleast_2d(samples)
    return [planar[:, start : start + length] for start in range(0, planar.shape[1], length)]


def si_sdr_db(clean: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019)."""
    target, given = (each.astype(np.float64) - each.mean(dtype=np.float64) for each in (clean, other))
    target = target * (given @ target) / (target @ target)
    return float(10 * np.log10((target @ target) / max(1e-20, float(np.sum((given - target) ** 2)))))


def lag_samples(earlier: NDArray[np.float32], later: NDArray[np.float32]) -> int:
    """By how many samples `later` comes late, from the peak of the cross-correlation."""
    products = correlate(later.astype(np.float64), earlier.astype(np.float64), method="fft")
    return int(np.argmax(products)) - (earlier.size - 1)
