"""Single pictures out of a video: iterating, grabbing at times, a poster, a contact sheet.

Belongs here: decoding to RGB and the pictures that people look at.
Does not belong here: judging frames (video.picture_checks), finding faces in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from s2v_pipeline.clips.container import only_video_stream, open_video
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_middle_s, frame_start_s

POSTER_JPEG_QUALITY = 92  # without visible blocks around the face
SHEET_TILE_PX = 240  # eight tiles fill a full-HD screen; a mouth is still readable
_LABEL_PX = 22
_GAP_PX = 6
_FONT_PX = 14
_BACKGROUND, _INK = (24, 24, 24), (235, 235, 235)

SheetLabels = Callable[[Fraction], str]
"""Text to show for a time in seconds, e.g. the phone that is spoken."""


@dataclass(frozen=True, eq=False)
class ShownFrame:
    """One frame: its index, when it appears, and its (height, width, 3) uint8 RGB pixels."""

    index: int
    time_s: Fraction
    pixels: NDArray[np.uint8]


def iter_frames(path: Path, *, step: int = 1) -> Iterator[ShownFrame]:
    """Every `step`-th frame from the first on; one frame is held at a time.

    Raises:
        MediaError: not a readable video with one video stream.
        ValueError: a step below 1.
    """
    if step < 1:
        raise ValueError(f"step must be at least 1; got {step}")
    converter = VideoReformatter()
    with open_video(path) as container:
        stream = only_video_stream(container, path.name)
        fps = _rate(stream, path)
        for index, frame in enumerate(container.decode(stream)):
            if index % step == 0:
                yield ShownFrame(index, frame_start_s(index, fps), _rgb(converter, frame))


def grab_frames(path: Path, times_s: Sequence[Fraction]) -> list[ShownFrame]:
    """The frame that is on screen at each time, in the order asked; seeks, so that long videos are quick.

    Raises:
        MediaError: not a readable video with one video stream, or a time outside the video.
    """
    converter = VideoReformatter()
    with open_video(path) as container:
        stream = only_video_stream(container, path.name)
        fps, n_there = _rate(stream, path), _count(container, stream)
        indices = [math.floor(time_s * fps) for time_s in times_s]
        return [_frame_at(container, stream, index, n_there, fps, converter) for index in indices]


def write_poster(video: Path, path: Path, *, frame: int = 0) -> None:
    """Write one frame as a JPEG; choosing a good one is the caller's.

    Raises:
        MediaError: not a readable video, or no such frame.
    """
    converter = VideoReformatter()
    with open_video(video) as container:
        stream = only_video_stream(container, video.name)
        n_there = _count(container, stream)
        shown = _frame_at(container, stream, frame, n_there, _rate(stream, video), converter)
    Image.fromarray(shown.pixels).save(path, format="JPEG", quality=POSTER_JPEG_QUALITY)


def write_contact_sheet(
    video: Path, path: Path, *, n_frames: int = 24, columns: int = 8, labels: SheetLabels | None = None
) -> None:
    """Write `n_frames` frames at equal distances as one picture with the time, and its label, under each.

    The time, and the one that `labels` is asked for, is the middle of the frame's time on screen. The format follows
    the suffix of `path`. A video of fewer frames gives a sheet of as many as it has.

    Raises:
        MediaError: not a readable video with one video stream.
        ValueError: n_frames or columns below 1.
    """
    if n_frames < 1 or columns < 1:
        raise ValueError(f"n_frames and columns must be at least 1; got {n_frames} and {columns}")
    with open_video(video) as container:
        stream = only_video_stream(container, video.name)
        fps, n_there = _rate(stream, video), _count(container, stream)
    n_tiles = min(n_frames, n_there)
    indices = [(2 * tile + 1) * n_there // (2 * n_tiles) for tile in range(n_tiles)]
    times_s = [frame_middle_s(index, fps) for index in indices]
    texts = [f"{float(time_s):.2f} s" + (f"  {labels(time_s)}" if labels else "") for time_s in times_s]
    _sheet(grab_frames(video, times_s), texts, columns).save(path)


def _sheet(shown: Sequence[ShownFrame], texts: Sequence[str], columns: int) -> Image.Image:
    height_px, width_px, _ = shown[0].pixels.shape
    tile = (SHEET_TILE_PX, round(SHEET_TILE_PX * height_px / width_px))
    columns = min(columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    cell = (tile[0] + _GAP_PX, tile[1] + _LABEL_PX + _GAP_PX)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP_PX, rows * cell[1] + _GAP_PX), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_PX)
    for position, (frame, text) in enumerate(zip(shown, texts, strict=True)):
        row, column = divmod(position, columns)
        left, top = _GAP_PX + column * cell[0], _GAP_PX + row * cell[1]
        sheet.paste(Image.fromarray(frame.pixels).resize(tile, Image.Resampling.LANCZOS), (left, top))
        draw.text((left + tile[0] // 2, top + tile[1] + _LABEL_PX // 2), text, fill=_INK, font=font, anchor="mm")
    return sheet


def _rate(stream: VideoStream, path: Path) -> Fraction:
    if stream.average_rate is None or not stream.average_rate:
        raise MediaError(f"{path.name} must have a frame rate", got="none", cure="Make the video again.")
    return stream.average_rate


def _count(container: InputContainer, stream: VideoStream) -> int:
    """Frames of the stream; a WebM does not say, so its packets are counted."""
    if stream.frames:
        return stream.frames
    n_frames = sum(1 for packet in container.demux(stream) if packet.size)
    container.seek(0)
    return n_frames


def _frame_at(
    container: InputContainer,
    stream: VideoStream,
    index: int,
    n_there: int,
    fps: Fraction,
    converter: VideoReformatter,
) -> ShownFrame:
    """Decode from the key frame at or before the frame."""
    time_base = stream.time_base or Fraction(1)
    tick = math.floor(frame_start_s(max(index, 0), fps) / time_base)
    if 0 <= index < n_there:
        container.seek(tick, stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= tick:
                return ShownFrame(index, frame_start_s(index, fps), _rgb(converter, frame))
    raise MediaError(
        f"frames of the video are 0 to {n_there - 1}",
        got=f"{index}",
        cure="Ask for a time within the video.",
    )


def _rgb(converter: VideoReformatter, frame: VideoFrame) -> NDArray[np.uint8]:
    """(height, width, 3) uint8, by the matrix and range that `clips.encode` writes."""
    picture = converter.reformat(
        frame,
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return np.asarray(picture.to_ndarray(), dtype=np.uint8)
