"""The speech file as a mono waveform at a wanted rate, without moving a single sample.

Belongs here: decoding the FLAC file that the inputs stage wrote, the mono mix, where the samples are kept.
Does not belong here: the user's own formats (inputs), the conversion of rates (resample), denoising and level
(loudness), anything that the samples mean.

Memory is bounded: a long recording is converted block by block into a temporary file without a name, and its samples
are a view of that file, which the system reads and forgets as it likes.
"""

from __future__ import annotations

import logging
import mmap
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.resample import resampled, resampled_size
from s2v_pipeline.errors import AudioError
from s2v_pipeline.media import Waveform

SPEECH_RATE_HZ = 16_000
"""The rate that voice activity, phoneme models and features work at; speech has little that matters above 8 kHz."""

MIN_CORRELATION = -0.3
"""Channels that correlate less than this cancel in a mean. Two microphones of one voice correlate near +1, unrelated
room sound near 0, a channel with its wires swapped at -1."""

_MAX_CHANNELS = 2
_IN_MEMORY_SAMPLES = 10_000_000  # 40 MB, 10 minutes at 16 kHz; longer recordings lie in a temporary file
_CURE = "Give the speech again, so that the inputs stage writes its FLAC file anew."
_logger = logging.getLogger(__name__)

ChannelMix = Literal["mono", "mean", "left", "right"]


@dataclass(frozen=True, eq=False)
class DecodedSpeech:
    """A speech file in memory and how it came to be one channel.

    Attributes:
        waveform: mono, at the rate asked for.
        mix: "mono" (the file has one channel), "mean" of both, or the one channel that was kept.
        channel_correlation: of left and right, -1..1; 1 for one channel, 0 where a channel is silent.
        source_samples, source_rate_hz: length and rate of the file: the input's clock.
    """

    waveform: Waveform
    mix: ChannelMix
    channel_correlation: float
    source_samples: int
    source_rate_hz: int


@dataclass(frozen=True)
class _Stream:
    rate_hz: int
    n_channels: int
    declared_samples: int | None


def read_waveform(path: Path, *, rate_hz: int | None = None) -> Waveform:
    """The mono waveform of a FLAC file, at `rate_hz` or at the file's own rate. See `read_speech`."""
    return read_speech(path, rate_hz=rate_hz).waveform


def read_speech(path: Path, *, rate_hz: int | None = None) -> DecodedSpeech:
    """Decode a mono or stereo FLAC file to one channel, at `rate_hz` or at the file's own rate.

    Stereo becomes the mean of both channels, or the louder channel where a mean would cancel. The file is decoded
    block by block; a result of more than 10 million samples is a view of a temporary file (4 bytes a sample).

    Raises:
        AudioError: not such a file, damaged, empty, or of another length than it declares; no space for the temporary
            file.
        ValueError: `rate_hz` is not positive.
    """
    stream = _probe(path)
    mix, correlation = _choose_mix(path) if stream.n_channels == _MAX_CHANNELS else ("mono", 1.0)
    if mix in ("left", "right"):
        _logger.warning("stereo channels of %s cancel (correlation %.2f): %s kept", path.name, correlation, mix)
    n_decoded = 0

    def mono_blocks() -> Iterator[NDArray[np.float32]]:
        nonlocal n_decoded
        for block in read_blocks(path):
            n_decoded += block.shape[1]
            yield _mono(block, mix)

    wanted_hz = stream.rate_hz if rate_hz is None else rate_hz
    n_expected = resampled_size(stream.declared_samples or 0, stream.rate_hz, wanted_hz)
    samples = _collected(path, resampled(mono_blocks(), stream.rate_hz, wanted_hz), n_expected)
    if not n_decoded or stream.declared_samples not in (None, n_decoded):
        raise AudioError(
            f"{path.name} must hold the samples that it declares",
            got=f"{n_decoded} of {stream.declared_samples} samples",
            cure=_CURE,
        )
    return DecodedSpeech(Waveform(samples, wanted_hz), mix, correlation, n_decoded, stream.rate_hz)


def read_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """(channels, n) float32 in [-1, 1), block after block.

    Raises:
        AudioError: not such a file, or damaged.
    """
    try:
        with path.open("rb") as file, av.open(file, mode="r", format="flac") as container:
            for frame in container.decode(audio=0):
                array = frame.to_ndarray()
                planar = array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T
                # FFmpeg decodes FLAC to 16- or 32-bit integers, narrower ones shifted up to the full range.
                scale = np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))
                yield np.multiply(planar, scale, dtype=np.float32, casting="unsafe")
    except (av.FFmpegError, OSError) as error:
        raise AudioError(f"{path.name} must be a readable FLAC file", got=str(error), cure=_CURE) from error


def read_mono_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """(1, n) float32: the samples of `read_speech` at the file's own rate, block after block.

    Raises:
        AudioError: not such a file, or damaged.
    """
    mix = _choose_mix(path)[0] if _probe(path).n_channels == _MAX_CHANNELS else "mono"
    for block in read_blocks(path):
        yield _mono(block, mix)[None]


def _collected(path: Path, blocks: Iterator[NDArray[np.float32]], n_expected: int) -> NDArray[np.float32]:
    """All blocks as one (n,) array, in a temporary file where many samples are expected."""
    if n_expected <= _IN_MEMORY_SAMPLES:
        return np.concatenate([np.zeros(0, np.float32), *blocks])
    try:
        with tempfile.TemporaryFile() as file:
            for block in blocks:
                file.write(block.tobytes())
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise AudioError(
            f"{path.name} must be decoded to a temporary file of {4 * n_expected / 1e6:.0f} MB",
            got=f"{error.strerror} in {tempfile.gettempdir()}",
            cure="Make room there, or name another folder in TMPDIR.",
        ) from error
    return np.frombuffer(mapped, np.float32)


def _probe(path: Path) -> _Stream:
    # Naming the container keeps FFmpeg from guessing another one, such as a playlist, from the file's bytes.
    try:
        with path.open("rb") as file, av.open(file, mode="r", format="flac") as container:
            if not container.streams.audio:
                raise AudioError(f"{path.name} must hold an audio stream", got="none", cure=_CURE)
            stream = container.streams.audio[0]
            if stream.duration is None or stream.time_base is None:
                declared = None
            else:
                declared = round(stream.duration * stream.time_base * stream.rate)
            found = _Stream(stream.rate, stream.channels, declared or None)
    except (av.FFmpegError, OSError) as error:
        raise AudioError(f"{path.name} must be a readable FLAC file", got=str(error), cure=_CURE) from error
    if not 1 <= found.n_channels <= _MAX_CHANNELS or found.rate_hz <= 0:
        raise AudioError(f"{path.name} must have one or two channels", got=f"{found.n_channels}", cure=_CURE)
    return found


def _choose_mix(path: Path) -> tuple[ChannelMix, float]:
    sums = np.zeros(2, np.float64)
    squares = np.zeros((2, 2), np.float64)
    n_samples = 0
    for block in read_blocks(path):
        exact = block.astype(np.float64)
        sums += exact.sum(axis=1)
        squares += exact @ exact.T
        n_samples += exact.shape[1]
    # A constant offset is not sound, yet it would make any two channels look alike.
    energy = squares - np.outer(sums, sums) / max(1, n_samples)
    scale = float(np.sqrt(max(0.0, energy[0, 0]) * max(0.0, energy[1, 1])))
    correlation = float(np.clip(energy[0, 1] / scale, -1.0, 1.0)) if scale > 0 else 0.0
    if correlation >= MIN_CORRELATION:
        return "mean", correlation
    return ("left" if energy[0, 0] >= energy[1, 1] else "right"), correlation


def _mono(block: NDArray[np.float32], mix: ChannelMix) -> NDArray[np.float32]:
    if mix == "mean":
        mean: NDArray[np.float32] = (block[0] + block[1]) * np.float32(0.5)
        return mean
    return np.ascontiguousarray(block[1] if mix == "right" else block[0])
