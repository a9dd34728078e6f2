"""Decoded media as frozen values that check themselves.

Belongs here: a waveform and a batch of frames in memory.
Does not belong here: reading or writing files, resampling, drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.timebase import FrameSpan


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono audio: `samples` (n,) float32, nominally in [-1, 1], at `rate_hz`; stored read-only.

    Raises:
        ValueError: another shape or dtype, no samples, or a rate that is not positive.
    """

    samples: NDArray[np.float32]
    rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32 or self.samples.size == 0:
            raise ValueError(
                f"a waveform must be (n,) float32 with n > 0; got {self.samples.shape} {self.samples.dtype}"
            )
        if self.rate_hz <= 0:
            raise ValueError(f"a sample rate must be positive; got {self.rate_hz}")
        self.samples.flags.writeable = False

    @property
    def duration_s(self) -> Fraction:
        """Exact length in seconds."""
        return Fraction(self.samples.size, self.rate_hz)


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Consecutive video frames: `pixels` (n, height, width, 3) uint8 RGB; the first is `start_frame`; stored read-only.

    Raises:
        ValueError: another shape or dtype, no frames, a negative start, or a frame rate that is not positive.
    """

    pixels: NDArray[np.uint8]
    fps: Fraction
    start_frame: int

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[3] != 3 or self.pixels.dtype != np.uint8 or not len(self.pixels):
            raise ValueError(
                f"frames must be (n, height, width, 3) uint8 with n > 0; got {self.pixels.shape} {self.pixels.dtype}"
            )
        if self.fps <= 0 or self.start_frame < 0:
            raise ValueError(f"fps must be positive and start_frame not negative; got {self.fps}, {self.start_frame}")
        self.pixels.flags.writeable = False

    @property
    def span(self) -> FrameSpan:
        """Which frames of the video these are."""
        return FrameSpan(self.start_frame, self.start_frame + len(self.pixels))
