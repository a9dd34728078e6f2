"""Small pictures of a video for players and pages: a moving preview, and thumbnails for the seek bar.

Belongs here: which frames, their size, the two files that players read.
Does not belong here: decoding (frames), the poster and the contact sheet (frames), copies for the UI (defs.previews).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

from PIL import Image

from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.frames import grab_frames, iter_frames

PREVIEW_S = 3  # a sentence's beginning: the mouth is seen at work, the file stays well below a megabyte
PREVIEW_FPS = 10  # enough to see lips move
PREVIEW_PX = 240  # height
_WEBP_QUALITY = 70
THUMBNAIL_PX = 90  # height; what seek bars show
_COLUMNS = 10
_LEAST_STEP_S = 1
_MOST_THUMBNAILS = 200  # one sheet stays a picture that phones decode
_JPEG_QUALITY = 80


def write_preview(video: Path, path: Path, *, n_frames: int, fps: Fraction, kind: Literal["webp", "gif"]) -> None:
    """Write the first seconds as a picture that moves and repeats.

    Raises:
        MediaError: not a readable video.
    """
    step = max(1, round(fps / PREVIEW_FPS))
    n_shown = min(n_frames, math.ceil(PREVIEW_S * fps))
    pictures = list(_small(video, step, n_shown))
    options: dict[str, object] = {"quality": _WEBP_QUALITY, "method": 4} if kind == "webp" else {"optimize": True}
    pictures[0].save(
        path,
        format=kind.upper(),
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * step / fps),
        loop=0,
        **options,
    )


def _small(video: Path, step: int, n_shown: int) -> Iterator[Image.Image]:
    for shown in iter_frames(video, step=step):
        if shown.index >= n_shown:
            return
        yield _scaled(Image.fromarray(shown.pixels), PREVIEW_PX)


def write_thumbnails(video: Path, sheet: Path, cues: Path, *, n_frames: int, fps: Fraction, sheet_name: str) -> None:
    """Write small pictures at equal distances as one JPEG, and a WebVTT file that says which one belongs to which time.

    Each cue's text is `sheet_name` with the part of it as a media fragment (W3C, "Media Fragments URI", xywh), which is
    what video.js, JW Player, Plyr and Shaka read.

    Raises:
        MediaError: not a readable video.
    """
    length_s = frame_start_s(n_frames, fps)
    step_s = max(Fraction(_LEAST_STEP_S), Fraction(math.ceil(length_s / _MOST_THUMBNAILS)))
    times_s = [index * step_s for index in range(math.ceil(length_s / step_s))]
    tiles = [_scaled(Image.fromarray(each.pixels), THUMBNAIL_PX) for each in grab_frames(video, times_s)]
    width_px, height_px = tiles[0].size
    columns = min(_COLUMNS, len(tiles))
    picture = Image.new("RGB", (columns * width_px, math.ceil(len(tiles) / columns) * height_px))
    lines = ["WEBVTT\n"]
    for index, (tile, time_s) in enumerate(zip(tiles, times_s, strict=True)):
        left, top = index % columns * width_px, index // columns * height_px
        picture.paste(tile, (left, top))
        until_s = min(time_s + step_s, length_s)
        lines.append(f"{_clock(time_s)} --> {_clock(until_s)}\n{sheet_name}#xywh={left},{top},{width_px},{height_px}\n")
    picture.save(sheet, format="JPEG", quality=_JPEG_QUALITY)
    cues.write_text("\n".join(lines), encoding="utf-8")


def _scaled(picture: Image.Image, height_px: int) -> Image.Image:
    """Not larger than it is."""
    height_px = min(height_px, picture.height)
    return picture.resize((max(1, round(picture.width * height_px / picture.height)), height_px), Image.Resampling.BOX)


def _clock(time_s: Fraction) -> str:
    seconds, ms = divmod(round(1000 * time_s), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"
