"""Sound in and out of files, in blocks: the speech's FLAC, the AAC or Opus made from it, the sound that a video plays.

Belongs here: opening FLAC, encoding it to packets, mono and stereo, decoding to float blocks.
Does not belong here: interleaving with the picture (video.mux), comparing sounds (video.audio_difference),
    preparing speech (audio).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError

AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Sampling frequencies of ISO/IEC 14496-3, table 1.18, less 7350 Hz, which few players know."""

FALLBACK_RATE_HZ = 48000
AAC_FRAME_SAMPLES = 1024
AAC_MAX_BITS_PER_SAMPLE = 6  # 6144 bits a channel and frame of 1024 samples: ISO/IEC 14496-3, 4.5.3.3
OPUS_RATE_HZ = 48000  # Opus always plays at 48 kHz: RFC 7845, section 5.1
OPUS_MAX_BPS = 256_000  # a channel; beyond it libopus refuses
_LAYOUTS = {1: "mono", 2: "stereo"}
_CHANNELS = {"mono": 1, "stereo": 2}

SoundCodec = Literal["aac", "libopus"]
"""FFmpeg's names of the encoders."""

SoundBlock = NDArray[np.float32]
"""(channels, n) samples in [-1, 1]."""


@dataclass(frozen=True)
class SoundFormat:
    """Rate and channels of a sound."""

    rate_hz: int
    channels: int


@contextmanager
def open_flac(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The speech file and its stream; reading errors in the block come out as MediaError.

    Raises:
        MediaError: not a readable FLAC of one or two channels.
    """
    try:
        with path.open("rb") as file, av.open(file, "r", format="flac") as container:
            stream = container.streams.audio[0]
            if stream.codec_context.channels not in _LAYOUTS:
                raise MediaError(
                    f"{path.name} must be mono or stereo",
                    got=f"{stream.codec_context.channels} channels",
                    cure="Mix the speech down to one or two channels.",
                )
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path.name} must be a readable FLAC",
            got=f"{type(error).__name__}: {error}",
            cure="Materialise speech_inputs for this partition again.",
        ) from error


def flac_format(path: Path) -> SoundFormat:
    """Rate and channels of a FLAC.

    Raises:
        MediaError: not a readable FLAC of one or two channels.
    """
    with open_flac(path) as (_, stream):
        return SoundFormat(stream.codec_context.sample_rate, stream.codec_context.channels)


def aac_format(speech: SoundFormat) -> SoundFormat:
    """The format that the speech is delivered in: its own where AAC has that rate, else at 48 kHz."""
    rate_hz = speech.rate_hz if speech.rate_hz in AAC_RATES_HZ else FALLBACK_RATE_HZ
    return SoundFormat(rate_hz, speech.channels)


def delivered_format(speech: SoundFormat, codec: SoundCodec, channels: str) -> SoundFormat:
    """The format that the speech is delivered in; `channels` is "source", "mono" or "stereo"."""
    rate_hz = OPUS_RATE_HZ if codec == "libopus" else aac_format(speech).rate_hz
    return SoundFormat(rate_hz, _CHANNELS.get(channels, speech.channels))


def add_sound_stream(
    container: OutputContainer, sound: SoundFormat, kbps: int, codec: SoundCodec = "aac"
) -> AudioStream:
    """A stream of AAC-LC or Opus; the bit rate is held below what their frames can carry."""
    most_bps = AAC_MAX_BITS_PER_SAMPLE * sound.rate_hz if codec == "aac" else OPUS_MAX_BPS
    stream: AudioStream = container.add_stream(codec, rate=sound.rate_hz, time_base=Fraction(1, sound.rate_hz))
    stream.layout = _LAYOUTS[sound.channels]
    stream.bit_rate = min(kbps * 1000, most_bps * sound.channels)
    return stream


def remixed(block: SoundBlock, channels: int) -> SoundBlock:
    """Samples in one channel (their mean) or in two (one twice); as they are where the number fits."""
    if len(block) == channels:
        return block
    mixed = block.mean(axis=0, keepdims=True, dtype=np.float32) if channels == 1 else np.repeat(block, channels, axis=0)
    return np.ascontiguousarray(mixed)


class SpeechTrack:
    """The speech's packets, in the stream's codec and channels, made while they are asked for.

    Attributes:
        n_samples: samples of the speech read so far, at its own rate.
    """

    def __init__(self, path: Path, stream: AudioStream) -> None:
        self._path = path
        self._stream = stream
        self.n_samples = 0

    def packets(self) -> Generator[Packet[AudioStream]]:
        """All packets, in order; the first ones carry the encoder's priming and lie before time 0.

        Raises:
            MediaError: the FLAC is damaged or ends before its own header says.
        """
        with open_flac(self._path) as (container, source):
            promised = source.duration
            for frame in container.decode(source):
                frame.pts = self.n_samples
                frame.time_base = Fraction(1, frame.sample_rate)
                self.n_samples += frame.samples
                yield from self._stream.encode(_with_channels(frame, self._stream.codec_context.channels))
            yield from self._stream.encode(None)
        if not self.n_samples or (promised is not None and promised != self.n_samples):
            raise MediaError(
                f"{self._path.name} must hold all the samples that its header promises",
                got=f"{self.n_samples} of {promised}",
                cure="Materialise speech_inputs for this partition again.",
            )


def _with_channels(frame: AudioFrame, channels: int) -> AudioFrame:
    if len(frame.layout.channels) == channels:
        return frame
    (planar,) = AudioResampler(format="fltp").resample(frame)
    samples = remixed(np.asarray(planar.to_ndarray(), dtype=np.float32), channels)
    mixed = AudioFrame.from_ndarray(samples, format="fltp", layout=_LAYOUTS[channels])
    mixed.sample_rate, mixed.pts, mixed.time_base = frame.sample_rate, frame.pts, frame.time_base
    return mixed


class DecodedSound:
    """A stream's sound at `rate_hz`, decoded while it is asked for.

    Attributes:
        n_samples: samples decoded so far, at the stream's own rate.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, rate_hz: int) -> None:
        self._container = container
        self._stream = stream
        self._resampler = AudioResampler(format="fltp", rate=rate_hz)
        self.n_samples = 0

    def blocks(self) -> Generator[SoundBlock]:
        """All of it, in blocks of whatever length the decoder gives."""
        for frame in self._container.decode(self._stream):
            frame.pts = self.n_samples
            frame.time_base = Fraction(1, frame.sample_rate)
            self.n_samples += frame.samples
            yield from self._converted(frame)
        yield from self._converted(None)

    def _converted(self, frame: AudioFrame | None) -> Iterator[SoundBlock]:
        for converted in self._resampler.resample(frame):
            if converted is not None:
                yield np.asarray(converted.to_ndarray(), dtype=np.float32)
