"""Opening a clip or a video that the pipeline wrote.

Belongs here: the one way in which clips and videos are opened for reading.
Does not belong here: what is read from them (clips.probe, video.probe, video.frames).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from s2v_pipeline.errors import MediaError


@contextmanager
def open_mp4(path: Path) -> Iterator[InputContainer]:
    """As `open_video`, for what is an MP4 (or MOV, which the same reader reads) whatever its name."""
    with _opened(path, "mp4", "MP4") as container:
        yield container


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """The file, opened for demuxing and decoding; the block's own reading errors come out as MediaError too.

    The demuxer is named, by the suffix, and reads from a Python file object, so that nothing inside the file can make
    it open another file or an address.

    Raises:
        MediaError: no such file, not of its kind, or damaged where it is read.
    """
    demuxer, kind = ("matroska", "WebM") if is_webm(path) else ("mp4", "MP4")
    with _opened(path, demuxer, kind) as container:
        yield container


def is_webm(path: Path) -> bool:
    """Whether a file is WebM, by its suffix; all others that the pipeline writes are MP4 or MOV."""
    return path.suffix == ".webm"


@contextmanager
def _opened(path: Path, demuxer: str, kind: str) -> Iterator[InputContainer]:
    try:
        with path.open("rb") as file, av.open(file, "r", format=demuxer) as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path.name} must be a readable {kind}",
            got=f"{type(error).__name__}: {error}",
            cure="Make it again; look at the log of the stage that wrote it.",
        ) from error


def only_video_stream(container: InputContainer, name: str) -> VideoStream:
    """The file's video stream.

    Raises:
        MediaError: none, or more than one.
    """
    streams = container.streams.video
    if len(streams) != 1:
        raise MediaError(
            f"{name} must hold exactly one video stream",
            got=f"{len(streams)}",
            cure="Give a clip or a video that this pipeline made.",
        )
    return streams[0]
