"""Files that are bad or odd, made for real: what the tests of bad inputs put into a watched folder.

Belongs here: making one file at a path. Does not belong here: what must happen to it (test_bad_inputs).
"""

from __future__ import annotations

import shutil
import struct
import wave
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline_tests.conftest import SAMPLE
from s2v_pipeline_tests.inputs.sound_files import encode, write_wav

RATE_HZ = 16_000
PLAYLIST = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{SAMPLE}/speech.wav\n#EXT-X-ENDLIST\n"

Maker = Callable[[Path], object]


def voice(seconds_s: float = 1.0) -> NDArray[np.int16]:
    """(1, n) of the sample's speech."""
    with wave.open(str(SAMPLE / "speech.wav")) as file:
        return np.frombuffer(file.readframes(round(seconds_s * RATE_HZ)), "<i2")[None]


def portrait() -> Image.Image:
    return Image.open(SAMPLE / "portrait.png").convert("RGB")


def good_wav(path: Path) -> None:
    write_wav(path, voice(), RATE_HZ)


def good_png(path: Path) -> None:
    shutil.copy(SAMPLE / "portrait.png", path)


def first_part(make: Maker, part: float) -> Maker:
    """A maker of only the first part of a file's bytes."""

    def truncated(path: Path) -> None:
        make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])

    return truncated


def loud_mp3(path: Path) -> None:
    encode(path, "libmp3lame", (voice(5.0) / 32768).astype(np.float32), RATE_HZ)


def with_nan(path: Path) -> None:
    samples = (voice() / 32768).astype(np.float32)
    samples[0, 5000] = np.nan
    write_wav(path, samples, RATE_HZ)


def two_faces(path: Path) -> None:
    both = Image.new("RGB", (800, 400))
    both.paste(portrait(), (0, 0))
    both.paste(portrait(), (400, 0))
    both.save(path)


def bomb(path: Path) -> None:
    """A PNG of a few kilobytes with 30,000 x 30,000 pixels."""
    side_px = 30_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side_px // 8)) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def animated_gif(path: Path) -> None:
    portrait().save(path, save_all=True, append_images=[portrait().rotate(5)], duration=100)


def cmyk(path: Path) -> None:
    portrait().convert("CMYK").save(path)


def surround(path: Path) -> None:
    rate_hz = 192_000
    times = np.arange(rate_hz) / rate_hz
    sound = np.interp(times, np.arange(RATE_HZ) / RATE_HZ, voice(1.0)[0] / 32768).astype(np.float32)
    write_wav(path, np.repeat(sound[None], 6, 0), rate_hz)
