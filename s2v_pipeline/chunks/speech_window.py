"""The sound around a chunk, for generators that listen for themselves.

Belongs here: the value, its hash, cutting it from the whole speech.
Does not belong here: reading the speech (audio), features of any model (generation).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import FrameSpan, first_sample_of_frame

_LEVEL_STEP_DB = 0.25  # a longer speech rarely changes a level that is rounded so, and nobody hears the step
_BLOCK = 1 << 18  # samples at a time: 2 MB as float64
_SILENCE_DB = -120.0  # below 16-bit sound's last bit; the logarithm of zero is none


@dataclass(frozen=True, eq=False)
class SpeechWindow:
    """Speech around a chunk.

    Attributes:
        samples: (n,) float32; read-only.
        first_sample: position of the first one in the whole speech.
        rate_hz: samples a second.
        level_rms: standard deviation of the whole speech, rounded to a quarter of a decibel: what models normalise by.

    Raises:
        ValueError: another shape or dtype, no samples, a negative position, or a rate or level that is not positive.
    """

    samples: NDArray[np.float32]
    first_sample: int
    rate_hz: int
    level_rms: float

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32 or self.samples.size == 0:
            raise ValueError(f"a window must be (n,) float32, n > 0; got {self.samples.shape} {self.samples.dtype}")
        if self.first_sample < 0 or self.rate_hz <= 0 or not 0 < self.level_rms < math.inf:
            raise ValueError(
                f"a window needs a position, a rate and a level; got {self.first_sample}, {self.rate_hz}, "
                f"{self.level_rms}"
            )
        self.samples.flags.writeable = False

    @property
    def sha256(self) -> str:
        """Hash of everything in it."""
        digest = hashlib.sha256(f"{self.first_sample}/{self.rate_hz}/{self.level_rms!r}/".encode())
        digest.update(np.ascontiguousarray(self.samples, dtype="<f4").tobytes())
        return digest.hexdigest()


def rounded_level_rms(waveform: Waveform) -> float:
    """Standard deviation of a whole speech, rounded to a quarter of a decibel."""
    deviation = math.sqrt(_variance(waveform.samples))
    level_db = 20 * math.log10(deviation) if deviation > 0 else _SILENCE_DB
    steps = round(max(level_db, _SILENCE_DB) / _LEVEL_STEP_DB)
    return float(10.0 ** (steps * _LEVEL_STEP_DB / 20))


def _variance(samples: NDArray[np.float32]) -> float:
    """Mean squared distance from the mean, without a copy of the whole speech."""
    blocks = [samples[first : first + _BLOCK] for first in range(0, samples.size, _BLOCK)]
    mean = math.fsum(float(block.sum(dtype=np.float64)) for block in blocks) / samples.size
    return math.fsum(float(np.square(block.astype(np.float64) - mean).sum()) for block in blocks) / samples.size


def cut_window(
    waveform: Waveform,
    frames: FrameSpan,
    fps: Fraction,
    *,
    context_s: Fraction,
    level_rms: float,
    from_frame: int = 0,
    until_frame: int | None = None,
) -> SpeechWindow:
    """The sound of some frames with `context_s` on both sides, as far as there is speech, and nothing of what lies
    before `from_frame` or after `until_frame`.

    Frames beyond the last sample (a video rounds up to half a frame longer than its sound) are given the speech's end.
    The samples are a view: the windows of a whole plan take no more memory than the speech.
    """
    context_samples = math.ceil(context_s * waveform.rate_hz)
    n_samples = waveform.samples.size
    if until_frame is not None:
        n_samples = min(n_samples, first_sample_of_frame(until_frame, waveform.rate_hz, fps))
    earliest = first_sample_of_frame(from_frame, waveform.rate_hz, fps)
    start = max(earliest, first_sample_of_frame(frames.start_frame, waveform.rate_hz, fps) - context_samples)
    stop = min(n_samples, first_sample_of_frame(frames.stop_frame, waveform.rate_hz, fps) + context_samples)
    start = min(start, n_samples - 1)
    return SpeechWindow(waveform.samples[start : max(stop, start + 1)], start, waveform.rate_hz, level_rms)
