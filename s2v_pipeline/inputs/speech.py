"""A speech file becomes FLAC, sample for sample, or is refused with the reason.

Belongs here: which containers are read, limits, decoding, what cannot be speech.
Does not belong here: which sample is heard when (sound_clock), writing the copy (flac), lengths in headers
(sound_header), where the copy lies (prepare), loudness, denoising and mono at a model's rate (the audio stage).

A speech file is hostile: its size is checked before it is opened, it is read through a Python file object, only the
demuxers in `_CONTAINERS` are asked, and none of them may open anything else. The first sample that is written is time
zero of the whole pipeline, and the number of samples written is the input's length.
"""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from s2v_pipeline.artifacts import atomic_path
from s2v_pipeline.errors import AudioError
from s2v_pipeline.inputs.downmix import Downmix, measure_downmix
from s2v_pipeline.inputs.flac import FlacWriter, check_written
from s2v_pipeline.inputs.sound_clock import SoundClock, channels_first
from s2v_pipeline.inputs.sound_header import mp3_states_length, riff_part_present
from s2v_pipeline.setting_groups import InputSettings

_LOG = logging.getLogger(__name__)

# libavformat's names. Each holds sound itself; playlists (hls, dash, concat), session descriptions (sdp, rtsp), image
# sequences and raw formats, which would take any bytes for sound, are not among them.
_CONTAINERS = (
    *("wav", "w64", "mp3", "mov,mp4,m4a,3gp,3g2,mj2", "aac", "flac", "ogg", "asf", "aiff"),
    *("matroska,webm", "avi", "amr", "caf"),
)
_OPEN_OPTIONS = {
    "format_whitelist": ",".join(_CONTAINERS),
    "protocol_whitelist": "none",  # no protocol has this name: a container that refers to another file gets nothing
}
_HEADERLESS = ("mp3", "aac")  # plain runs of frames, behind which taggers and downloaders leave bytes of their own
_IN_WORDS = "WAV, FLAC, MP3, AAC, M4A, OGG, Opus, WMA, AIFF, AMR, CAF, MP4, MOV, MKV, WebM or AVI"

_BYTES_PER_MB = 1_000_000
_SOURCE_RATES_HZ = (4_000, 768_000)  # below it speech is not understood; above it no converter works
_KEPT_CHANNELS = 2  # more are mixed
_SILENCE_DBFS = -60.0  # a speaker's peaks lie 20 to 50 dB above the noise floor of the worst usable recording
_KEEP_ALL_SAMPLES = av.codec.context.Flags2.skip_manual
_SHORT_BY_S = 1.0  # a stated length that is missed by more than this, or by this part of it, means a truncated file
_SHORT_BY_PART = 0.1
_STATED_SLACK_S = 0.1  # two codec frames at 22 kHz: container lengths of short files are that vague


@dataclass(frozen=True)
class SpeechInfo:
    """What was written, and what it was made from.

    Attributes:
        n_samples: samples in each channel of the copy.
        rate_hz: of the copy.
        channels: of the copy, 1 or 2.
        source_codec, source_rate_hz, source_channels, source_format: libav's names and numbers of the source.
        peak_dbfs, rms_dbfs: of the copy, over all channels; 0 is full scale.
        notes: what was done to the sound, one sentence each.
    """

    n_samples: int
    rate_hz: int
    channels: int
    source_codec: str
    source_rate_hz: int
    source_channels: int
    source_format: str
    peak_dbfs: float
    rms_dbfs: float
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> Fraction:
        """Exact length of the copy in seconds: the authority for everything later."""
        return Fraction(self.n_samples, self.rate_hz)


def copy_speech(path: Path, destination: Path, limits: InputSettings) -> SpeechInfo:
    """Decode the first sound track of `path` and write it to `destination` as FLAC; memory stays bounded.

    Sources of at most 16 bits that need no change are kept as 16 bits, everything else becomes 24 bits. Rates of 8 to
    48 kHz are kept, others become 48 kHz. More than two channels are mixed to stereo as libswresample does it, but for
    channels that would cancel the voice (`downmix`).

    Raises:
        AudioError: missing, too large, not a sound file, truncated or damaged, without sound, silent, with samples that
            are not numbers, too short or too long.
    """
    with _open(path, limits) as file:
        with _container(path.name, file) as container:
            source = _Source(path.name, file, container, limits)
            is_mixed = source.n_channels > _KEPT_CHANNELS
            downmix = source.downmix() if is_mixed else None
            info = None if is_mixed else source.copy(destination)
        if info is None:  # the channels were measured from start to end
            file.seek(0)
            with _container(path.name, file) as container:
                info = _Source(path.name, file, container, limits, downmix).copy(destination)
    for note in info.notes:
        _LOG.info("%s: %s", path.name, note)
    return info


def _container(name: str, file: BinaryIO) -> av.container.InputContainer:
    try:
        return av.open(file, "r", container_options=_OPEN_OPTIONS, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise AudioError(
            f"{name} must be a whole sound or video file ({_IN_WORDS})",
            got=f"a file that cannot be opened as one ({error.strerror})",
            cure="Check that it plays, and export it again as WAV; a changed file extension is not enough.",
        ) from error


class _Reader(io.BufferedReader):
    """A file whose impossible seeks, which damaged headers ask for, fail in the way that libav expects."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError, OverflowError):  # before the start, or beyond what the system counts
            return -1


def _open(path: Path, limits: InputSettings) -> BinaryIO:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise AudioError(f"{path.name} must be a file", got="a folder, a pipe or a device", cure="Name a file.")
        if state.st_size == 0:
            raise AudioError(f"{path.name} must hold sound", got="an empty file", cure="Copy it again from its source.")
        if state.st_size > limits.max_audio_mb * _BYTES_PER_MB:
            raise AudioError(
                f"{path.name} must be at most {limits.max_audio_mb:g} MB",
                got=f"{state.st_size / _BYTES_PER_MB:.1f} MB",
                cure="Export it as FLAC or MP3, or raise inputs.max_audio_mb.",
            )
        return _Reader(path.open("rb", buffering=0))
    except OSError as error:
        raise AudioError(
            f"{path.name} must be readable", got=str(error.strerror), cure="Check its name and permissions."
        ) from error


@dataclass
class _Source:
    """One sound file while it is being copied, and what was noticed on the way."""

    name: str
    file: BinaryIO
    container: av.container.InputContainer
    limits: InputSettings
    mix: Downmix | None = None  # of more than two channels, where some would cancel
    clock: SoundClock = field(init=False)
    seen_end_s: float = 0.0  # latest end of any stream's packets
    n_junk_bytes: int = 0
    n_inspected: int = 0
    n_not_numbers: int = 0
    first_not_number_s: float = 0.0
    n_over_full_scale: int = 0

    @property
    def n_channels(self) -> int:
        """Channels of the track by its header."""
        return len(self._stream().layout.channels)

    def downmix(self) -> Downmix | None:
        """How more than two channels are mixed, where libswresample's mix would cancel; reads the whole file."""
        stream = self._stream()
        self._refuse_long(self._early_length_s(stream), "stated in its header")
        found = measure_downmix(self._within_limits(self.clock.unbroken(self._decoded(stream))))
        return None if found is None or found.is_standard else found

    def copy(self, destination: Path) -> SpeechInfo:
        stream = self._stream()
        self._refuse_long(self._early_length_s(stream), "stated in its header")
        frames = self.clock.unbroken(self._decoded(stream))
        first = next(frames, None)
        if first is None:
            raise self._damaged("no sample")
        low_hz, high_hz = _SOURCE_RATES_HZ
        if not low_hz <= first.sample_rate <= high_hz:
            raise AudioError(
                f"{self.name} must have a sample rate of {low_hz} to {high_hz} Hz",
                got=f"{first.sample_rate} Hz",
                cure="Export it again at 48000 Hz.",
            )
        with atomic_path(destination) as temporary:
            with temporary.open("wb") as output, FlacWriter(output, self._mixed(first)) as writer:
                for frame in _chained(first, frames):
                    self._inspect(frame, first)
                    writer.add(self._mixed(frame))
                    self._refuse_long(writer.n_samples / writer.rate_hz, "decoded so far")
                writer.finish()
            self._judge(stream, writer)
            check_written(temporary, writer.n_samples)
        return SpeechInfo(
            n_samples=writer.n_samples,
            rate_hz=writer.rate_hz,
            channels=writer.channels,
            source_codec=stream.codec_context.name,
            source_rate_hz=first.sample_rate,
            source_channels=len(first.layout.channels),
            source_format=first.format.name,
            peak_dbfs=writer.peak_dbfs,
            rms_dbfs=writer.rms_dbfs,
            notes=tuple(self._notes(stream, writer, first)),
        )

    def _mixed(self, frame: av.AudioFrame) -> av.AudioFrame:
        return frame if self.mix is None else self.mix.apply(frame)

    def _within_limits(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        n_samples = 0
        for frame in frames:
            n_samples += frame.samples
            self._refuse_long(n_samples / frame.sample_rate, "decoded so far")
            yield frame

    def _stream(self) -> av.AudioStream:
        kind = self.container.format.name
        if kind not in _CONTAINERS:  # the white list is libav's to keep; this is its proof
            raise AudioError(f"{self.name} must be {_IN_WORDS}", got=f"the format {kind}", cure="Export it as WAV.")
        if not self.container.streams.audio:
            raise AudioError(
                f"{self.name} must have a sound track",
                got=f"{len(self.container.streams.video)} video track(s) and no sound",
                cure="Give the recording itself, or a video with sound.",
            )
        stream = self.container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(
                f"{self.name} must have a sound track that can be decoded",
                got="an unknown or protected codec",
                cure="Export it as WAV.",
            )
        if kind == "caf" and stream.codec_context.name == "alac":
            # An ALAC packet says how many samples it holds; libavformat would cut the last one a second time.
            stream.codec_context.flags2 |= _KEEP_ALL_SAMPLES
        self.clock = SoundClock(self.container, stream, self._damaged)
        return stream

    def _decoded(self, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        try:
            for packet in self.container.demux():
                if packet.pts is not None:
                    self.seen_end_s = max(
                        self.seen_end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    )
                # The packet itself says 0 for every stream when it only ends it.
                if packet.stream.index != stream.index:
                    continue
                # libav marks packets that end early; in a WAV the last block always may, and its header is checked.
                if packet.is_corrupt and self.container.format.name != "wav":
                    raise self._damaged("a block that ends early")
                self.clock.see_packet(packet)
                yield from self._frames_of(packet, stream)
        except av.error.EOFError as error:
            raise self._damaged("an end of file where sound must follow") from error
        except (av.error.FFmpegError, OSError) as error:
            raise self._damaged(str(error.strerror)) from error

    def _frames_of(self, packet: av.Packet[Any], stream: av.AudioStream) -> list[av.AudioFrame]:
        try:
            frames = [frame for frame in stream.decode(packet) if frame.samples]
        except av.error.InvalidDataError:
            if self.container.format.name not in _HEADERLESS:
                raise
            self.n_junk_bytes += packet.size
            return []
        if frames and self.n_junk_bytes:
            raise self._damaged(f"{self.n_junk_bytes} bytes that are no sound, with sound behind them")
        return frames

    def _inspect(self, frame: av.AudioFrame, first: av.AudioFrame) -> None:
        kinds = [(each.sample_rate, each.layout.name, each.format.name) for each in (first, frame)]
        if kinds[0] != kinds[1]:
            raise AudioError(
                f"{self.name} must keep its rate and channels from start to end",
                got=f"{kinds[1]} after {kinds[0]}",
                cure="Export it again as WAV.",
            )
        if frame.format.name.startswith(("flt", "dbl")):
            samples = channels_first(frame)
            wrong = ~np.isfinite(samples)
            if wrong.any():
                if not self.n_not_numbers:
                    index = self.n_inspected + int(wrong.any(axis=0).argmax())
                    self.first_not_number_s = index / frame.sample_rate
                self.n_not_numbers += int(wrong.sum())
            self.n_over_full_scale += int((np.abs(samples) > 1.0).sum())
        self.n_inspected += frame.samples

    def _refuse_long(self, length_s: float | None, how: str) -> None:
        if length_s is not None and length_s > self.limits.max_audio_s:
            raise AudioError(
                f"{self.name} must be at most {self.limits.max_audio_s:g} s long",
                got=f"{length_s:.2f} s {how}",
                cure="Cut it into parts, or raise inputs.max_audio_s.",
            )

    def _damaged(self, got: str) -> AudioError:
        length_us = self.container.duration
        stated = f"of {length_us / av.time_base:.2f} s" if length_us else "of an unknown length"
        return AudioError(
            f"{self.name} must decode from start to end: it is truncated or damaged",
            got=f"{got}, after {self.clock.decoded_s:.2f} s {stated}",
            cure="Copy the file again from its source, or export it again as WAV.",
        )

    def _judge(self, stream: av.AudioStream, writer: FlacWriter) -> None:
        if self.n_not_numbers:
            raise AudioError(
                f"{self.name} must hold numbers as samples",
                got=f"{self.n_not_numbers} that are NaN or infinite, the first at {self.first_not_number_s:.3f} s",
                cure="Export it again from the program that made it, as 16- or 24-bit WAV.",
            )
        for stated_s, reached_s in ((self._stated_s(stream), self.clock.decoded_s), self._whole_file_s()):
            missing_s = (stated_s or 0.0) - reached_s
            if missing_s > min(_SHORT_BY_S, max(_SHORT_BY_PART * (stated_s or 0.0), _STATED_SLACK_S)):
                raise AudioError(
                    f"{self.name} must be as long as it says it is",
                    got=f"{reached_s:.2f} s of the {stated_s:.2f} s that it states: it is truncated",
                    cure="Copy the file again from its source.",
                )
        length_s = writer.n_samples / writer.rate_hz
        if length_s < self.limits.min_audio_s:
            raise AudioError(
                f"{self.name} must be at least {self.limits.min_audio_s:g} s long",
                got=f"{length_s:.3f} s",
                cure="Give a longer recording.",
            )
        if writer.peak_dbfs < _SILENCE_DBFS:
            raise AudioError(
                f"{self.name} must have speech that can be heard, with peaks above {_SILENCE_DBFS:g} dBFS",
                got=f"a peak of {writer.peak_dbfs:.1f} dBFS",
                cure="Check that the right track was exported and that the microphone was on.",
            )

    def _early_length_s(self, stream: av.AudioStream) -> float | None:
        """Length in the header, where the container has one of its own."""
        if self.container.format.name in ("mp3", "aac", "amr", "ogg"):
            return None
        return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None

    def _stated_s(self, stream: av.AudioStream) -> float | None:
        """Length that the file itself states for this track; not what libav estimates from the bit rate."""
        kind = self.container.format.name
        if kind in ("wav", "avi"):
            part = riff_part_present(self.file)
            return None if part is None else self.clock.decoded_s / part
        if kind in ("aac", "amr", "ogg") or (kind == "mp3" and not mp3_states_length(self.file)):
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if len(self.container.streams) == 1 and self.container.duration:
            return self.container.duration / av.time_base
        return None

    def _whole_file_s(self) -> tuple[float | None, float]:
        """(stated, reached) length of a container with several tracks, by the packets of all of them."""
        several = len(self.container.streams) > 1 and self.container.format.name in ("matroska,webm", "asf")
        length_s = self.container.duration / av.time_base if several and self.container.duration else None
        return length_s, self.seen_end_s

    def _notes(self, stream: av.AudioStream, writer: FlacWriter, first: av.AudioFrame) -> Iterator[str]:
        n_tracks = len(self.container.streams.audio)
        if n_tracks > 1:
            yield f"the first of {n_tracks} sound tracks is used"
        if writer.rate_hz != first.sample_rate:
            yield f"resampled from {first.sample_rate} to {writer.rate_hz} Hz"
        if writer.channels != len(first.layout.channels):
            yield f"{len(first.layout.channels)} channels ({first.layout.name}) are mixed to {writer.layout}"
            if self.mix is not None:
                yield from self.mix.notes()
        elif self.n_over_full_scale:
            yield f"{self.n_over_full_scale} samples above full scale are limited to it"
        yield from self.clock.notes()
        if self.n_junk_bytes:
            yield f"{self.n_junk_bytes} bytes behind the sound that are no sound are left out"
        if self._stated_s(stream) is None and self._whole_file_s()[0] is None:
            yield "the file does not state its length, so that a lost end cannot be noticed"


def _chained(first: av.AudioFrame, rest: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    yield first
    yield from rest
