"""Whether a WebM's index of key frames comes before its media, read without FFmpeg.

Belongs here: the order of the segment's first elements.
Does not belong here: MP4's boxes (boxes), decoding, judging (probe).

Elements and their numbers: RFC 8794 (EBML), sections 4 to 6, and RFC 9559 (Matroska), section 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from s2v_pipeline.errors import MediaError

_EBML, _SEGMENT, _CUES, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1C53BB6B, 0x1F43B675
_MAX_ELEMENTS = 100  # a handful comes before the first cluster; a bound on hostile files
_MAX_ID_BYTES, _MAX_SIZE_BYTES = 4, 8


def cues_come_first(path: Path) -> bool:
    """Whether the cues lie before the first cluster, so that a player can seek before it has all of the file.

    Raises:
        MediaError: not a WebM whose segment can be read up to its first cluster.
    """
    try:
        with path.open("rb") as file:
            if _number(file, _MAX_ID_BYTES, keep_marker=True) != _EBML:
                raise ValueError("no EBML header")
            file.seek(_number(file, _MAX_SIZE_BYTES), 1)
            if _number(file, _MAX_ID_BYTES, keep_marker=True) != _SEGMENT:
                raise ValueError("no segment")
            _number(file, _MAX_SIZE_BYTES)
            for _ in range(_MAX_ELEMENTS):
                element, size = _number(file, _MAX_ID_BYTES, keep_marker=True), _number(file, _MAX_SIZE_BYTES)
                if element in (_CUES, _CLUSTER):
                    return element == _CUES
                file.seek(size, 1)
            raise ValueError(f"no cluster among the first {_MAX_ELEMENTS} elements")
    except (ValueError, OSError) as error:
        raise MediaError(
            f"{path.name} must be a readable WebM", got=f"{type(error).__name__}: {error}", cure="Make the video again."
        ) from error


def _number(file: BinaryIO, most_bytes: int, *, keep_marker: bool = False) -> int:
    """A number of variable length: the leading zeros of its first byte say how many bytes follow."""
    first = file.read(1)
    n_more = 8 - first[0].bit_length() if first else most_bytes
    if n_more >= most_bytes:
        raise ValueError("the file ends, or holds no number, where one is expected")
    rest = file.read(n_more)
    if len(rest) < n_more:
        raise ValueError("the file ends within a number")
    lead = first[0] if keep_marker else first[0] ^ (1 << (7 - n_more))
    return int.from_bytes(bytes([lead]) + rest)
