"""Decoded sound becomes a FLAC file, measured while it is written.

Belongs here: the rate, channels and bits that are kept, the conversion to them, level of what was written.
Does not belong here: reading a source and judging it (speech).
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from s2v_pipeline.errors import ArtifactError, AudioError

_KEPT_RATES_HZ = (8_000, 48_000)  # below it speech loses its consonants; above it nothing is heard
_RESAMPLED_HZ = 48_000


class FlacWriter:
    """Converts frames to what is kept, writes them, and measures what was written.

    Args:
        output: open for writing, and able to seek: the header gets the length at the end.
        first: frame whose rate, channels and format all others share.

    Attributes:
        rate_hz, channels, layout: of the file.
        n_samples: written so far, in each channel.
    """

    def __init__(self, output: BinaryIO, first: av.AudioFrame) -> None:
        low_hz, high_hz = _KEPT_RATES_HZ
        n_channels = len(first.layout.channels)
        self._source_layout = first.layout.name
        self.rate_hz = first.sample_rate if low_hz <= first.sample_rate <= high_hz else _RESAMPLED_HZ
        self.channels = min(n_channels, 2)
        self.layout = "mono" if self.channels == 1 else "stereo"
        unchanged = self.rate_hz == first.sample_rate and self.channels == n_channels
        self._format = "s16" if unchanged and first.format.name.startswith(("s16", "u8")) else "s32"
        self._resampler = av.AudioResampler(format=self._format, layout=self.layout, rate=self.rate_hz)
        # Without libav's version in the file, equal sound gives equal bytes.
        self._container = av.open(output, "w", format="flac", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("flac", rate=self.rate_hz, layout=self.layout)
        self._stream.codec_context.format = av.AudioFormat(self._format)
        self.n_samples = 0
        self._peak = 0.0
        self._square_sum = 0.0

    def __enter__(self) -> FlacWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def add(self, frame: av.AudioFrame | None) -> None:
        """Write a frame; None ends the conversion.

        Raises:
            AudioError: libswresample knows no way from these channels to stereo.
        """
        try:
            converted_frames = self._resampler.resample(frame)
        except (av.error.ArgumentError, av.error.MemoryError) as error:
            raise AudioError(
                "the sound must have channels that can be mixed to stereo",
                got=self._source_layout,
                cure="Export one or two of its channels as WAV.",
            ) from error
        for converted in converted_frames:
            full_scale = -float(np.iinfo(np.int16 if self._format == "s16" else np.int32).min)
            samples = converted.to_ndarray().astype(np.float64) / full_scale
            self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
            self._square_sum += float(np.square(samples).sum())
            converted.pts, converted.time_base = self.n_samples, Fraction(1, self.rate_hz)
            self.n_samples += converted.samples
            self._container.mux(self._stream.encode(converted))

    def finish(self) -> None:
        """Write what the converter and the encoder still hold."""
        self.add(None)
        self._container.mux(self._stream.encode(None))

    @property
    def peak_dbfs(self) -> float:
        """Largest sample of all channels; minus infinity for digital silence."""
        return _db(self._peak)

    @property
    def rms_dbfs(self) -> float:
        """Root mean square over all channels; a full-scale sine has -3."""
        return _db(math.sqrt(self._square_sum / max(1, self.n_samples * self.channels)))


def _db(amplitude: float) -> float:
    return 20.0 * math.log10(amplitude) if amplitude > 0 else -math.inf


def check_written(path: Path, n_samples: int) -> None:
    """See that a FLAC file's header has the length that was written.

    Raises:
        ArtifactError: it has another.
    """
    with path.open("rb") as file, av.open(file, format="flac") as container:
        found = container.streams.audio[0].duration
    if found != n_samples:
        raise ArtifactError(
            "the copy of the speech must have as many samples as were decoded",
            got=f"{found} instead of {n_samples}",
            cure="Check the disk, and try again.",
        )
