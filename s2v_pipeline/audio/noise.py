"""How far the speech stands above the noise of its recording.

Belongs here: levels of speech and of the noise around it, and their ratio.
Does not belong here: where there is speech (voice_activity), what is done about noise (clean, denoise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from s2v_pipeline.audio.loudness import SILENCE_DB, power_to_db
from s2v_pipeline.audio.voice_activity import ENTER_PROBABILITY, WINDOW_SAMPLES
from s2v_pipeline.media import Waveform

NoiseSource = Literal["pauses", "quietest moments"]

MOST_SNR_DB = 100.0
"""Given where pauses are digital silence."""

MIN_PAUSES_S = 0.25
"""Of windows without speech, before their level counts as the recording's noise: eight windows, whose median no single
breath or click moves."""

_PAUSE_PROBABILITY = 0.1  # Silero is below it in noise and in pauses; above it, a voice may be there
_WINDOWS_AROUND = 2  # 64 ms: soft onsets, and reverberation after the last sound, are not noise
_QUIETEST_SHARE = 0.1  # without pauses, closures of stop consonants are as near to the noise as one gets
_LEAST_NOISE_POWER = 10.0 ** (SILENCE_DB / 10)


@dataclass(frozen=True)
class NoiseLevels:
    """Levels of one recording.

    Attributes:
        speech_db: of the speech alone, dBFS, the noise under it taken off.
        noise_db: of the noise, dBFS.
        snr_db: their difference, at most `MOST_SNR_DB`.
        noise_s: length of what the noise was measured in.
        source: which parts those are.
    """

    speech_db: float
    noise_db: float
    snr_db: float
    noise_s: float
    source: NoiseSource


def measure_noise(waveform16k: Waveform, probabilities: NDArray[np.float32]) -> NoiseLevels | None:
    """Levels of speech and noise; None where no speech was heard, as noise alone has no ratio to anything.

    `probabilities` are those of `speech_probabilities`, one for each 32 ms. The noise is the median level of the
    windows away from speech; where there is too little of them it is that of the quietest tenth, which holds some
    speech, so that noise is taken for stronger than it is, never for weaker.
    """
    speech = probabilities >= ENTER_PROBABILITY
    if not speech.any():
        return None
    powers = _window_powers(waveform16k)
    near_speech = maximum_filter1d(probabilities, 2 * _WINDOWS_AROUND + 1, mode="nearest") >= _PAUSE_PROBABILITY
    window_s = WINDOW_SAMPLES / waveform16k.rate_hz
    source: NoiseSource = "pauses"
    noise_powers = powers[~near_speech]
    if noise_powers.size * window_s < MIN_PAUSES_S:
        source = "quietest moments"
        noise_powers = np.sort(powers)[: max(1, round(_QUIETEST_SHARE * powers.size))]
    noise_power = max(_LEAST_NOISE_POWER, float(np.median(noise_powers)))
    speech_power = max(_LEAST_NOISE_POWER, float(np.mean(powers[speech])) - noise_power)
    speech_db, noise_db = power_to_db(speech_power), power_to_db(noise_power)
    return NoiseLevels(
        speech_db, noise_db, min(MOST_SNR_DB, speech_db - noise_db), noise_powers.size * window_s, source
    )


def _window_powers(waveform: Waveform) -> NDArray[np.float64]:
    """Mean square of each of the voice activity's windows, the last one of as much as there is."""
    samples = waveform.samples
    n_whole = samples.size // WINDOW_SAMPLES
    whole = samples[: n_whole * WINDOW_SAMPLES].reshape(n_whole, WINDOW_SAMPLES)
    powers = np.einsum("ij,ij->i", whole, whole, dtype=np.float64) / WINDOW_SAMPLES
    rest = samples[n_whole * WINDOW_SAMPLES :]
    return np.append(powers, np.mean(np.square(rest, dtype=np.float64))) if rest.size else powers
