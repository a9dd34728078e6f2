"""H.265 as decoded by FFmpeg and by libde265, sample by sample: two decoders that share no code.

    python -m benchmarks.second_decoder VIDEO.mp4 ... [--decoder libde265-dec265]

Debian's package libde265-examples has the program. Chromium, the second decoder of the other codecs
(benchmarks/delivery.py), has none for H.265.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray


def ffmpeg_planes(path: Path) -> list[NDArray[np.generic]]:
    """All frames' samples in the order in which they are shown: Y, U, V, one after another."""
    planes = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            deep = "10" in frame.format.name
            for plane in frame.planes:
                values = np.frombuffer(plane, np.uint16 if deep else np.uint8).reshape(plane.height, -1)
                planes.append(values[:, : plane.width].ravel())
    return planes


def libde265_samples(path: Path, decoder: str, folder: Path) -> NDArray[np.uint8]:
    """The same of libde265, as bytes; samples of more than 8 bits take two."""
    stream, planes = folder / "video.hevc", folder / "video.yuv"
    with av.open(str(path)) as container, stream.open("wb") as file:
        video = container.streams.video[0]
        to_raw = BitStreamFilterContext("hevc_mp4toannexb", video)
        for packet in container.demux(video):
            for raw in to_raw.filter(packet if packet.size else None):
                file.write(bytes(raw))
    subprocess.run([decoder, "-q", "-c", "-o", str(planes), str(stream)], check=True, capture_output=True)
    return np.fromfile(planes, np.uint8)


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--decoder", default="libde265-dec265")
    arguments = parser.parse_args()
    differ = False
    for path in arguments.videos:
        ours = ffmpeg_planes(path)
        with tempfile.TemporaryDirectory() as folder:
            theirs = libde265_samples(path, arguments.decoder, Path(folder))
        wanted = np.concatenate(ours)
        found = theirs.view(wanted.dtype)
        same = wanted.shape == found.shape and bool(np.array_equal(wanted, found))
        differ = differ or not same
        sys.stdout.write(f"{path.name}: {len(ours) // 3} frames, {wanted.dtype}, {'equal' if same else 'DIFFERENT'}\n")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
