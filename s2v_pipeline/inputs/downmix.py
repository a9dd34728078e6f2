"""More than two channels become two in which no voice cancels.

Belongs here: how loud each channel is in libswresample's mix, which ones cancel there, the mix without them.
Does not belong here: reading a source (speech), stereo to mono (audio.decode).

A 5.1 film has the voice in the middle, a recorder has it in every channel; where one microphone's wires are swapped,
its channel takes the voice out of the sum. It is left out of that side of the mix, and a note says so. Channels without
positions have those that are usual for their number; where none are, all channels are heard on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.inputs.sound_clock import channels_first

MIN_CORRELATION = -0.3
"""Channels that correlate less than this with the loudest one of their side cancel it; the same as for stereo."""

_SIDES = ("left", "right")
_NO_POSITION = "NONE"  # libav's name
_USUAL_LAYOUTS = {3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # libav's av_channel_layout_default
_PROBE_SAMPLES = 16
_PROBE_LEVEL = 0.5  # of full scale: far from limits and from rounding


@dataclass(frozen=True, eq=False)
class Downmix:
    """How channels become two.

    Attributes:
        weights: (2, channels) float64.
        has_positions: whether it is known which channel is where; libswresample mixes no others.
        left_out: (side, channel) for each channel that cancels on a side, by libav's names.
    """

    weights: NDArray[np.float64]
    has_positions: bool
    left_out: tuple[tuple[str, str], ...]

    @property
    def is_standard(self) -> bool:
        """Whether it is libswresample's own."""
        return self.has_positions and not self.left_out

    def apply(self, frame: av.AudioFrame) -> av.AudioFrame:
        """The frame as stereo, float32."""
        mixed = np.ascontiguousarray(self.weights @ as_float(frame), np.float32)
        made = av.AudioFrame.from_ndarray(mixed, format="fltp", layout="stereo")
        made.sample_rate, made.pts, made.time_base = frame.sample_rate, frame.pts, frame.time_base
        return made

    def notes(self) -> Iterator[str]:
        """What is unlike libswresample's mix, one sentence each."""
        if not self.has_positions:
            yield "the channels have no positions: both sides are the mean of all of them"
        if self.left_out:
            which = ", ".join(f"{channel} of the {side} side" for side, channel in self.left_out)
            yield f"channels that would cancel the voice are left out of the mix: {which}"


def measure_downmix(frames: Iterable[av.AudioFrame]) -> Downmix | None:
    """The mix of a whole sound with more than two channels; None without frames, or where the channels change.

    Memory does not grow with the sound's length.
    """
    weights: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()
    n_samples = 0
    for frame in frames:
        if weights is None:
            layout = _layout(frame)
            n_channels = len(frame.layout.channels)
            weights = _standard_weights(frame, layout) if layout else np.full((2, n_channels), 1 / n_channels)
            has_positions = layout is not None
            names = _names(layout) if layout else tuple(f"channel {n}" for n in range(1, n_channels + 1))
            sums, squares = np.zeros(len(names)), np.zeros((len(names), len(names)))
        samples = as_float(frame)
        if len(samples) != len(names):
            return None  # the copy refuses a source whose channels change
        sums += samples.sum(axis=1)
        squares += samples @ samples.T
        n_samples += samples.shape[1]
    if weights is None:
        return None
    # A constant offset is not sound, yet it would make any two channels look alike.
    kept, left_out = _without_cancelling(weights, squares - np.outer(sums, sums) / n_samples, names)
    return Downmix(kept, has_positions, left_out)


def as_float(frame: av.AudioFrame) -> NDArray[np.float64]:
    """Samples as (channels, n) float64 in [-1, 1]; what is no finite number counts as silence."""
    values = channels_first(frame)
    if values.dtype.kind == "f":
        return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.dtype.kind == "u":
        return (values.astype(np.float64) - 128.0) / 128.0
    full_scale = 2.0 ** (8 * values.dtype.itemsize - 1)
    return np.asarray(values.astype(np.float64) / full_scale, np.float64)


def _layout(frame: av.AudioFrame) -> str | None:
    """Name of the channels' layout, the usual one where the source states none; None without any."""
    channels = frame.layout.channels
    if any(channel.name == _NO_POSITION for channel in channels):
        return _USUAL_LAYOUTS.get(len(channels))
    return frame.layout.name


def _names(layout: str) -> tuple[str, ...]:
    return tuple(channel.name for channel in av.AudioLayout(layout).channels)


def _standard_weights(like: av.AudioFrame, layout: str) -> NDArray[np.float64]:
    """libswresample's own weights for a layout, (2, channels), found by asking it channel by channel."""
    n_channels = len(like.layout.channels)
    weights = np.zeros((2, n_channels))
    for channel in range(n_channels):
        probe = np.zeros((n_channels, _PROBE_SAMPLES), np.float32)
        probe[channel] = _PROBE_LEVEL
        frame = av.AudioFrame.from_ndarray(probe, format="fltp", layout=layout)
        frame.sample_rate = like.sample_rate
        (mixed,) = av.AudioResampler(format="s32p", layout="stereo", rate=like.sample_rate).resample(frame)
        weights[:, channel] = as_float(mixed)[:, 0] / _PROBE_LEVEL
    return weights


def _without_cancelling(
    weights: NDArray[np.float64], covariance: NDArray[np.float64], names: tuple[str, ...]
) -> tuple[NDArray[np.float64], tuple[tuple[str, str], ...]]:
    kept = weights.copy()
    left_out: list[tuple[str, str]] = []
    energy = np.maximum(np.diag(covariance), 0.0)
    for side, side_weights in enumerate(weights):
        loudest = int(np.argmax(np.square(side_weights) * energy))
        for channel in np.flatnonzero(side_weights):
            scale = np.sqrt(energy[loudest] * energy[channel])
            if scale > 0 and covariance[loudest, channel] / scale < MIN_CORRELATION:
                kept[side, channel] = 0.0
                left_out.append((_SIDES[side], names[channel]))
    return kept, tuple(left_out)
