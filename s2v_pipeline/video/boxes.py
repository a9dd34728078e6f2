"""The few MP4 boxes that say where a video starts and ends and whether it streams, read without FFmpeg.

Belongs here: the order of top-level boxes, and each track's edit list in seconds.
Does not belong here: decoding, judging (video.probe).

Layout of the boxes: ISO/IEC 14496-12, sections 4.2 (box), 8.2.2 (mvhd), 8.4.2 (mdhd), 8.4.3 (hdlr), 8.6.6 (elst).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from s2v_pipeline.errors import MediaError

MAX_MOOV_BYTES = 256 * 2**20  # four hours of video and sound need about 8 MB of index
MAX_TOP_LEVEL_BOXES = 10_000  # what this pipeline writes has four or five; a bound on hostile files
_TRACK_KINDS = {b"vide": "video", b"soun": "audio"}


@dataclass(frozen=True)
class TrackEdit:
    """What part of a track's media is presented, from its edit list; without one, all of it.

    Attributes:
        kind: "video" or "audio".
        start_s: when the presentation of the track begins (the length of an empty edit before it; normally 0).
        skipped_s: media before the presented part, such as an AAC encoder's priming.
        duration_s: length of the presented part.
    """

    kind: str
    start_s: Fraction
    skipped_s: Fraction
    duration_s: Fraction


@dataclass(frozen=True)
class MovieLayout:
    """Whether the index comes before the media, and every track's edit."""

    faststart: bool
    tracks: tuple[TrackEdit, ...]

    def track(self, kind: str) -> TrackEdit | None:
        """The first track of a kind."""
        return next((track for track in self.tracks if track.kind == kind), None)


def read_movie_layout(path: Path) -> MovieLayout:
    """Read the top-level boxes and the index of an MP4.

    Raises:
        MediaError: not an MP4 with an index, or one whose boxes contradict each other.
    """
    try:
        with path.open("rb") as file:
            boxes = _top_level(file, path.stat().st_size)
            moov_start, moov_end = boxes[b"moov"]
            if moov_end - moov_start > MAX_MOOV_BYTES:
                raise ValueError(f"an index of {moov_end - moov_start} bytes")
            file.seek(moov_start)
            moov = memoryview(file.read(moov_end - moov_start))
        movie_rate = _clock(_child(moov, b"mvhd"))[0]
        tracks = [_track_edit(body, movie_rate) for name, body in _children(moov) if name == b"trak"]
        faststart = b"mdat" not in boxes or moov_start < boxes[b"mdat"][0]
    except (KeyError, ValueError, ZeroDivisionError, struct.error, OSError) as error:
        raise MediaError(
            f"{path.name} must be an MP4 with a readable index (moov)",
            got=f"{type(error).__name__}: {error}",
            cure="Make the video again.",
        ) from error
    return MovieLayout(faststart, tuple(track for track in tracks if track is not None))


def top_level_boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end of the body) of each box of the outermost level, in the file's order.

    Raises:
        ValueError: a box that does not fit into the file.
    """
    offset = 0
    for _ in range(MAX_TOP_LEVEL_BOXES):
        if offset + 8 > size_bytes:
            break
        file.seek(offset)
        name, header_bytes, box_bytes = _header(file.read(16), size_bytes - offset)
        yield name, offset + header_bytes, offset + box_bytes
        offset += box_bytes


def _top_level(file: BinaryIO, size_bytes: int) -> dict[bytes, tuple[int, int]]:
    """Name -> [start, end) of the body of the first box of that name."""
    boxes: dict[bytes, tuple[int, int]] = {}
    for name, start, end in top_level_boxes(file, size_bytes):
        boxes.setdefault(name, (start, end))
    return boxes


def _header(head: bytes | memoryview, available_bytes: int) -> tuple[bytes, int, int]:
    """(name, bytes of the header, bytes of the whole box)."""
    box_bytes, name = struct.unpack_from(">I4s", head)
    header_bytes = 8
    if box_bytes == 1:
        header_bytes = 16
        box_bytes = struct.unpack_from(">Q", head, 8)[0]
    elif box_bytes == 0:
        box_bytes = available_bytes
    if not header_bytes <= box_bytes <= available_bytes:
        raise ValueError(f"box {name!r} of {box_bytes} bytes where {available_bytes} are left")
    return name, header_bytes, box_bytes


def _children(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    while len(body) >= 8:
        name, header_bytes, box_bytes = _header(body[:16], len(body))
        yield name, body[header_bytes:box_bytes]
        body = body[box_bytes:]


def _child(body: memoryview, *names: bytes) -> memoryview:
    for name in names:
        body = dict(reversed(list(_children(body))))[name]
    return body


def _clock(body: memoryview) -> tuple[int, int]:
    """(ticks a second, duration in ticks) of mvhd or mdhd, which begin alike."""
    if body[0] == 1:
        return struct.unpack_from(">IQ", body, 20)
    return struct.unpack_from(">II", body, 12)


def _track_edit(trak: memoryview, movie_rate: int) -> TrackEdit | None:
    kind = _TRACK_KINDS.get(bytes(_child(trak, b"mdia", b"hdlr")[8:12]))
    if kind is None:
        return None
    media_rate, media_ticks = _clock(_child(trak, b"mdia", b"mdhd"))
    try:
        edits = list(_edits(_child(trak, b"edts", b"elst")))
    except KeyError:
        return TrackEdit(kind, Fraction(0), Fraction(0), Fraction(media_ticks, media_rate))
    empty = [ticks for ticks, media_start in edits if media_start < 0]
    shown = [(ticks, media_start) for ticks, media_start in edits if media_start >= 0]
    if len(shown) != 1:
        raise ValueError(f"an edit list of {len(shown)} parts where one is expected")
    ticks, media_start = shown[0]
    return TrackEdit(
        kind, Fraction(sum(empty), movie_rate), Fraction(media_start, media_rate), Fraction(ticks, movie_rate)
    )


def _edits(elst: memoryview) -> Iterator[tuple[int, int]]:
    """(duration in movie ticks, start in media ticks or -1 for an empty edit) of each entry."""
    layout = ">Qq4x" if elst[0] == 1 else ">Ii4x"
    n_entries = struct.unpack_from(">I", elst, 4)[0]
    for index in range(min(n_entries, len(elst))):
        yield struct.unpack_from(layout, elst, 8 + index * struct.calcsize(layout))
