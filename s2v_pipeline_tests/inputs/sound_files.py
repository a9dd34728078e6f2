"""Real sound and video files for tests, made in a moment."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024
_PCM, _FLOAT = 1, 3  # WAVE format tags


def noise(n_samples: int, *, channels: int = 1, level: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """(channels, n) float32 of white noise."""
    return (level * np.random.default_rng(seed).standard_normal((channels, n_samples))).astype(np.float32)


def click_at(time_s: float, *, length_s: float, rate_hz: int, channels: int = 1) -> NDArray[np.float32]:
    """(channels, n) float32: silence with 5 ms of a 2 kHz tone."""
    samples = np.zeros((channels, round(length_s * rate_hz)), np.float32)
    first, n_tone = round(time_s * rate_hz), rate_hz // 200
    samples[:, first : first + n_tone] = 0.8 * np.sin(2 * np.pi * 2000 * (np.arange(n_tone) + 0.5) / rate_hz)
    return samples


def onset_s(samples: NDArray[np.float64], rate_hz: int) -> float:
    """Time at which (n,) samples first reach half of their peak."""
    loud = np.abs(samples) >= 0.5 * np.abs(samples).max()
    return float(loud.argmax()) / rate_hz


def write_wav(path: Path, samples: NDArray[np.generic], rate_hz: int, *, data_bytes: int | None = None) -> Path:
    """(channels, n) of uint8, int16, int32 or float32 as a plain RIFF; `data_bytes` replaces the stated length."""
    body = np.ascontiguousarray(samples.T).tobytes()
    tag = _FLOAT if samples.dtype.kind == "f" else _PCM
    width, channels = samples.dtype.itemsize, len(samples)
    stated = len(body) if data_bytes is None else data_bytes
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", min(36 + stated, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, tag, channels, rate_hz, rate_hz * channels * width, channels * width, 8 * width)
        + b"data"
        + struct.pack("<I", stated)
        + body
    )
    return path


def encode(
    path: Path,
    codec: str,
    samples: NDArray[np.float32],
    rate_hz: int,
    *,
    container: str | None = None,
    options: dict[str, str] | None = None,
    later_by: Callable[[int], int] = lambda _: 0,
    with_video: bool = False,
) -> Path:
    """Encode (channels, n) float32; `later_by` maps a block's first sample to what is added to its timestamp."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 128_000  # the WMA encoder has no default
        picture = add_picture_track(output, 4) if with_video else []
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate_hz)
        output.start_encoding()
        for packet in picture:
            output.mux(packet)
        for first in range(0, samples.shape[1], _BLOCK):
            block = np.ascontiguousarray(samples[:, first : first + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = first + later_by(first)
            for converted in resampler.resample(frame):
                output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return path


def add_picture_track(output: av.container.OutputContainer, length_s: int) -> list[av.Packet]:
    """Packets of a video track of noise, 64x64 at 25 frames a second."""
    stream = output.add_stream("mpeg4", rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    pixels = np.random.default_rng(0).integers(0, 255, (length_s * 25, 64, 64, 3), dtype=np.uint8)
    frames = (av.VideoFrame.from_ndarray(each, format="rgb24") for each in pixels)
    return [*(packet for frame in frames for packet in stream.encode(frame)), *stream.encode(None)]


def write_silent_film(path: Path) -> Path:
    """A video without any sound track."""
    with av.open(str(path), "w") as output:
        for packet in add_picture_track(output, 1):
            output.mux(packet)
    return path


def cut(path: Path, part: float) -> Path:
    """The first part of a file's bytes, in a file of its own."""
    content = path.read_bytes()
    target = path.with_name(f"cut_{path.name}")
    target.write_bytes(content[: int(len(content) * part)])
    return target


def read_sound(path: Path) -> tuple[NDArray[np.float64], int]:
    """All samples (channels, n) in [-1, 1] of a FLAC file, and its rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        channels = len(frames[0].layout.channels)
        joined = np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in frames])
        return joined.T / -float(np.iinfo(joined.dtype).min), frames[0].sample_rate
