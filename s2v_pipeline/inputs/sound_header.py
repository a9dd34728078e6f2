"""What the header of a sound file says about its length, where libavformat passes over it.

Belongs here: the few bytes of RIFF and MP3 headers that state a length.
Does not belong here: decoding, judging what a difference means (speech).
"""

from __future__ import annotations

from typing import BinaryIO

_UNKNOWN_RIFF_BYTES = 0x7FFFF000  # programs that write to a pipe put this or more where the length belongs
_RIFF_CHUNKS = 1000  # chunks before the sound that are walked; real files have below ten
_HEAD_BYTES = 8192  # holds the first MP3 frame behind an ID3v2 tag


def riff_part_present(file: BinaryIO) -> float | None:
    """How much of the bytes that a WAV's or AVI's header states are there, 0 < part <= 1; None where it states none.

    libavformat takes the file's size for the length where a WAV ends early, so that the header must be asked.
    """
    file.seek(0, 2)
    file_bytes = file.tell()
    file.seek(0)
    head = file.read(12)
    if head[8:12] == b"AVI ":
        start, stated = 8, int.from_bytes(head[4:8], "little")
    else:
        start, stated = 0, 0
        long_size: int | None = None
        for _ in range(_RIFF_CHUNKS):
            chunk = file.read(8)
            stated = int.from_bytes(chunk[4:8], "little")
            if len(chunk) < 8 or chunk[:4] == b"data":
                start = file.tell()
                break
            if chunk[:4] == b"ds64":  # EBU Tech 3306: sizes of RF64 files, RIFF's first and the sound's second
                body = file.read(16)
                long_size = int.from_bytes(body[8:16], "little")
                file.seek(stated - len(body), 1)
            else:
                file.seek(stated + stated % 2, 1)
        stated = long_size if long_size is not None else stated
        if long_size is None and stated >= _UNKNOWN_RIFF_BYTES and file_bytes < _UNKNOWN_RIFF_BYTES:
            return None
    present = file_bytes - start
    if stated <= 0 or present <= 0:
        return None
    return min(1.0, present / stated)


def mp3_states_length(file: BinaryIO) -> bool:
    """Whether the first MP3 frame carries a Xing, Info or VBRI header with the number of frames."""
    file.seek(0)
    head = file.read(10)
    # ID3v2.4 section 3.1: the size is 4 bytes of 7 bits each, without this header.
    tag_bytes = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(tag_bytes if head[:3] == b"ID3" else 0)
    start = file.read(_HEAD_BYTES)
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))
