"""FLAC files for tests, as the inputs stage writes them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def write_flac(path: Path, channels: NDArray[np.float64], rate_hz: int) -> Path:
    """16-bit FLAC of (channels, n) or (n,) samples in [-1, 1)."""
    planar = np.atleast_2d(np.rint(channels * 32768.0).clip(-32768, 32767).astype(np.int16))
    layout = "mono" if len(planar) == 1 else "stereo"
    with path.open("wb") as file, av.open(file, mode="w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz, layout=layout)
        stream.format = "s16"
        interleaved = np.ascontiguousarray(planar.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
        frame.rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path
