"""Samples, frames and seconds, exactly.

Belongs here: integer and Fraction arithmetic on one input's own clock, whose zero is the first audio sample.
Does not belong here: floats (only where a table or a picture needs them), codecs' time bases, wall-clock time.

Frame i is on screen during [i / fps, (i + 1) / fps); what it shows is the state at the middle of that span.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self


@dataclass(frozen=True, order=True)
class FrameSpan:
    """Half-open span [start_frame, stop_frame) of video frames.

    Raises:
        ValueError: a negative start, or a stop before the start.
    """

    start_frame: int
    stop_frame: int

    def __post_init__(self) -> None:
        if self.start_frame < 0 or self.stop_frame < self.start_frame:
            raise ValueError(
                f"a frame span must satisfy 0 <= start <= stop; got [{self.start_frame}, {self.stop_frame})"
            )

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame

    def widened(self, margin_frames: int, within: Self | FrameSpan) -> FrameSpan:
        """The span with `margin_frames` added on both sides, cut to `within`."""
        return FrameSpan(
            max(within.start_frame, self.start_frame - margin_frames),
            min(within.stop_frame, self.stop_frame + margin_frames),
        )


def duration_s(n_samples: int, rate_hz: int) -> Fraction:
    """Length of `n_samples` at `rate_hz`, in seconds."""
    return Fraction(n_samples, rate_hz)


def frames_for_samples(n_samples: int, rate_hz: int, fps: Fraction) -> int:
    """Number of video frames whose total length is nearest to the audio's; at least one.

    The difference is at most half a frame for audio of half a frame or more. Halves round up, so that a tail of
    speech is never cut by a tie.
    """
    exact_frames = duration_s(n_samples, rate_hz) * fps
    return max(1, int(exact_frames + Fraction(1, 2)))


def frame_start_s(frame: int, fps: Fraction) -> Fraction:
    """Time at which a frame appears, in seconds."""
    return Fraction(frame) / fps


def frame_middle_s(frame: int, fps: Fraction) -> Fraction:
    """Time whose state a frame shows, in seconds."""
    return (Fraction(frame) + Fraction(1, 2)) / fps


def first_sample_of_frame(frame: int, rate_hz: int, fps: Fraction) -> int:
    """First sample at or after the moment a frame appears."""
    exact = frame_start_s(frame, fps) * rate_hz
    return -((-exact.numerator) // exact.denominator)
