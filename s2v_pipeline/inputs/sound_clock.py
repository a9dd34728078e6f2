"""Decoded frames of a sound track become one unbroken run of samples, each at the time at which a listener hears it.

Belongs here: a late start, gaps and overlaps of timestamps, the padding of an encoder.
Does not belong here: decoding, judging the sound (speech), writing it (flac).

What libav itself does before a frame comes here: it drops the samples of an encoder's delay where the container states
it (Xing or LAME header, edit list, iTunSMPB, Opus pre-skip, Matroska's CodecDelay), and timestamps say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import AudioError

_JUMP_S = Fraction(1, 10)
"""Least jump of the timestamps that counts: FFmpeg's own least hard compensation (libswresample, min_hard_comp)."""

_LATE_S = Fraction(2, 1000)
"""Least delay behind the picture that counts: two times that Matroska rounds to its clock's ms may differ by one."""

_DELAYING_CODECS = ("mp3", "mp3float", "aac", "ac3", "eac3", "amrnb", "amrwb", "mp2", "mp2float")
"""Decoders whose encoders put their delay, 5 to 50 ms, in front of the sound. Opus, Vorbis and WMA drop it always."""


class SoundClock:
    """Puts the frames of one sound track on the clock of a listener.

    Time zero is the first sample or, where a picture beside it starts earlier, the picture's start: a player shows the
    picture and is silent until then. A file of sound alone starts with its first sample, whatever its timestamps say.

    Args:
        container: that the track is in.
        stream: the track.
        damaged: makes the error for a file in which something is missing.

    Attributes:
        decoded_s: length so far, with filled gaps and without the silence before a late start.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.AudioStream,
        damaged: Callable[[str], AudioError],
    ) -> None:
        self._kind = container.format.name
        self._stream = stream
        self._picture_start_s = _picture_start_s(container)
        self._damaged = damaged
        self._first_packet_s: Fraction | None = None
        self._dropped_s = Fraction(0)
        self._n_decoded = 0
        self.decoded_s = 0.0
        self._late_s = Fraction(0)
        self._gaps: list[tuple[float, float]] = []  # (at, length), seconds
        self._overlaps: list[tuple[float, float]] = []

    def see_packet(self, packet: av.Packet[Any]) -> None:
        """Notice when the track's first packet starts; to be called before its frames are given."""
        if self._first_packet_s is None and packet.pts is not None and packet.time_base:
            self._first_packet_s = packet.pts * packet.time_base

    def unbroken(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        """The frames with silence where nothing is heard, and without padding behind the end that an MP4 states.

        Raises:
            AudioError: blocks of a FLAC file are missing.
        """
        held: av.AudioFrame | None = None
        for frame in self._with_silence(frames):
            if held is not None:
                yield held
            held = frame
        if held is None:
            return
        if self._kind.startswith("mov") and self._stream.duration and self._stream.time_base:
            surplus = self._n_decoded - round(self._stream.duration * self._stream.time_base * held.sample_rate)
            if 0 < surplus < held.samples:
                self._n_decoded -= surplus
                held = frame_like(held, channels_first(held)[:, :-surplus])
        yield held

    def notes(self) -> Iterator[str]:
        """What was done, one sentence each."""
        if self._dropped_s > 0:
            at_first = f"the first {1000 * float(self._dropped_s):.1f} ms"
            yield f"{at_first}, an encoder's delay or what an edit list leaves out, are left out as in a player"
        elif self._stream.codec_context.name in _DELAYING_CODECS:
            yield (
                "the file does not state its encoder's delay: as in a player, the sound starts by this delay later, "
                "usually 5 to 50 ms"
            )
        if self._late_s:
            yield f"the sound starts {float(self._late_s):.3f} s after the picture: as much silence stands before it"
        for what, jumps in (("missing and filled with silence", self._gaps), ("stated twice and kept", self._overlaps)):
            if jumps:
                total_s = sum(length for _, length in jumps)
                yield f"{len(jumps)} stretch(es), {total_s:.2f} s in all, {what}; the first at {jumps[0][0]:.2f} s"

    def _with_silence(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        origin: Fraction | None = None
        for frame in frames:
            rate_hz = frame.sample_rate
            at_s = Fraction(self._n_decoded, rate_hz)
            if frame.pts is not None and frame.time_base:
                stamp_s = frame.pts * frame.time_base
                if origin is None:
                    origin = stamp_s
                    self._dropped_s = stamp_s - (stamp_s if self._first_packet_s is None else self._first_packet_s)
                    yield from self._before_a_late_start(frame, stamp_s)
                jump_s = stamp_s - origin - at_s
                if jump_s > _JUMP_S and self._kind == "flac":
                    raise self._damaged(f"{float(jump_s):.2f} s that are missing")  # its parser drops broken blocks
                if jump_s > _JUMP_S:
                    self._gaps.append((float(at_s), float(jump_s)))
                    n_missing = round(jump_s * rate_hz)
                    yield from _silence(frame, n_missing)
                    self._n_decoded += n_missing
                elif jump_s < -_JUMP_S:
                    self._overlaps.append((float(at_s), float(-jump_s)))
                    origin += jump_s  # nothing that was said is left out: what follows is later by the overlap
            self._n_decoded += frame.samples
            self.decoded_s = self._n_decoded / rate_hz
            yield frame

    def _before_a_late_start(self, frame: av.AudioFrame, stamp_s: Fraction) -> Iterator[av.AudioFrame]:
        if self._picture_start_s is not None and stamp_s - self._picture_start_s >= _LATE_S:
            self._late_s = stamp_s - self._picture_start_s
            yield from _silence(frame, round(self._late_s * frame.sample_rate))


def _picture_start_s(container: av.container.InputContainer) -> Fraction | None:
    """When the earliest moving picture starts, in the container's time; None without one. A cover is none."""
    starts = [
        stream.start_time * stream.time_base
        for stream in container.streams.video
        if stream.start_time is not None
        and stream.time_base
        and not stream.disposition & av.stream.Disposition.attached_pic
    ]
    return min(starts, default=None)


def _silence(like: av.AudioFrame, n_samples: int) -> Iterator[av.AudioFrame]:
    zero = 128 if like.format.name.startswith("u8") else 0  # the middle of unsigned samples
    while n_samples > 0:
        block = min(n_samples, like.sample_rate)
        yield frame_like(like, np.full_like(channels_first(like)[:, :1], zero).repeat(block, axis=1))
        n_samples -= block


def channels_first(frame: av.AudioFrame) -> NDArray[np.generic]:
    """Samples as (channels, n), whether the frame keeps them together or apart."""
    values = frame.to_ndarray()
    return values if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels)).T


def frame_like(frame: av.AudioFrame, samples: NDArray[np.generic]) -> av.AudioFrame:
    """A frame of (channels, n) samples with the format, layout and rate of another."""
    packed = samples if frame.format.is_planar else samples.T.reshape(1, -1)
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=frame.format.name, layout=frame.layout.name)
    made.sample_rate = frame.sample_rate
    made.pts, made.time_base = frame.pts, frame.time_base
    return made
