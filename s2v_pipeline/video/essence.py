"""Hashes of what a video shows and sounds, whatever container it lies in.

Belongs here: one hash over the packets of the picture, one over those of the sound.
Does not belong here: hashes of files (artifacts), decoding, comparing with a recording (audio_difference).

Two files of the same essence have the same packets in the same order; signing, tags and offsets do not matter. A video
that is signed twice differs in its bytes, not in its essence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.clips.container import open_mp4


@dataclass(frozen=True)
class Essence:
    """SHA-256 over the packets of all pictures, and of all sounds; hexadecimal."""

    picture_sha256: str
    sound_sha256: str


def read_essence(path: Path) -> Essence:
    """Hash every packet: its length, then its bytes, in the order of decoding. Nothing is decoded.

    Raises:
        MediaError: not a readable MP4.
    """
    digests = {"video": hashlib.sha256(), "audio": hashlib.sha256()}
    with open_mp4(path) as container:
        for packet in container.demux():
            digest = digests.get(packet.stream.type)
            if digest is not None and packet.size:
                digest.update(packet.size.to_bytes(8, "big"))
                digest.update(bytes(packet))
    return Essence(digests["video"].hexdigest(), digests["audio"].hexdigest())
