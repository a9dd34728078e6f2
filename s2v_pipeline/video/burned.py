"""Captions drawn into the picture, for players and platforms that show none of their own.

Belongs here: breaking, drawing and laying over text of cues.
Does not belong here: what is said when (alignment), captions as files or streams (caption_files, captions).

FFmpeg's `subtitles` and `drawtext` need libass and FreeType, which PyAV's wheels are built without; Pillow draws each
cue once, and its pixels are laid over the frames that show it.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from s2v_pipeline.clips.label import label_font
from s2v_pipeline.timebase import frame_middle_s
from s2v_pipeline.video.captions import Cue
from s2v_pipeline.video.enhance.stage import ALONE, Window
from s2v_pipeline.video.frames import ShownFrame

BurnStyle = Literal["box", "outline"]
BurnPlace = Literal["bottom", "top"]

_LINE_PER_HEIGHT = 1 / 18  # 16 to 20 lines a picture is what subtitling guidelines take for text seen from a sofa
_LEAST_LINE_PX = 10
_WIDEST = 0.9  # of the picture's width: the safe area for text
_MARGIN = 0.05  # of the height, to the edge
_PADDING, _OUTLINE = 0.25, 0.09  # of the size of a line
_BOARD_OPACITY = 170
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, eq=False)
class Overlay:
    """Pixels to lay over a frame: `rgb` (h, w, 3) uint8 with `cover` (h, w, 1) uint8, from (top_px, left_px) on."""

    top_px: int
    left_px: int
    rgb: NDArray[np.uint8]
    cover: NDArray[np.uint8]

    def over(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the frame with the overlay on it."""
        height_px, width_px, _ = self.rgb.shape
        rows, columns = slice(self.top_px, self.top_px + height_px), slice(self.left_px, self.left_px + width_px)
        laid = pixels.copy()
        cover = self.cover.astype(np.int32)
        there = laid[rows, columns].astype(np.int32)
        laid[rows, columns] = ((there * (255 - cover) + self.rgb * cover + 127) // 255).astype(np.uint8)
        return laid


@dataclass(frozen=True)
class BurnCaptions:
    """Each frame with the text of the cue that is shown at its middle; frames without one pass as they are.

    Args:
        cues: in order; their text is escaped as WebVTT has it.
        fps: frames a second.
        style: white letters on a dark board, or with a dark outline.
        place: at which edge.
        font: another one than DejaVu Sans.

    Raises (while frames are taken):
        SettingsError: letters that the font does not have.
    """

    cues: tuple[Cue, ...]
    fps: Fraction
    style: BurnStyle = "box"
    place: BurnPlace = "bottom"
    font: Path | None = None
    name: str = "captions"
    window: Window = ALONE

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        drawn: tuple[Cue, Overlay] | None = None  # one at a time, as cues follow each other
        for frame in frames:
            cue = cue_at(self.cues, frame_middle_s(frame.index, self.fps))
            if cue is None:
                yield frame
                continue
            if drawn is None or drawn[0] != cue:
                height_px, width_px, _ = frame.pixels.shape
                drawn = cue, draw_caption(plain_text(cue), width_px, height_px, self.style, self.place, self.font)
            yield ShownFrame(frame.index, frame.time_s, drawn[1].over(frame.pixels))


def cue_at(cues: Sequence[Cue], time_s: Fraction) -> Cue | None:
    """The cue that is shown at a time, of cues that follow each other."""
    time_ms = 1000 * time_s
    index = bisect_right([Fraction(cue.start_ms) for cue in cues], time_ms) - 1
    return cues[index] if index >= 0 and time_ms < cues[index].end_ms else None


def caption_changes(cues: Sequence[Cue], n_frames: int, fps: Fraction) -> tuple[int, ...]:
    """Frames at which a caption comes, goes or gives way to another."""
    shown = [cue_at(cues, frame_middle_s(frame, fps)) for frame in range(n_frames)]
    return tuple(frame for frame in range(1, n_frames) if shown[frame] != shown[frame - 1])


def plain_text(cue: Cue) -> str:
    """The cue's text without WebVTT's escapes and tags."""
    return html.unescape(_TAG.sub("", cue.text)).strip()


def draw_caption(
    text: str, width_px: int, height_px: int, style: BurnStyle, place: BurnPlace, font: Path | None = None
) -> Overlay:
    """Draw a caption for frames of a size; lines that are too wide are broken, and written smaller if one word is.

    Raises:
        SettingsError: letters that the font does not have.
    """
    size_px = max(_LEAST_LINE_PX, round(min(width_px, height_px) * _LINE_PER_HEIGHT))
    face, lines = _fitted(text, font, size_px, round(_WIDEST * width_px))
    size_px = int(face.size)
    padding_px = round(size_px * _PADDING)
    outline_px = max(1, round(size_px * _OUTLINE)) if style == "outline" else 0
    ascent, descent = face.getmetrics()
    across_px = min(width_px, max(round(face.getlength(line)) for line in lines) + 2 * (padding_px + outline_px))
    down_px = min(height_px, (ascent + descent) * len(lines) + 2 * padding_px)
    board = (0, 0, 0, _BOARD_OPACITY if style == "box" else 0)
    picture = Image.new("RGBA", (across_px, down_px), board)
    ImageDraw.Draw(picture).multiline_text(
        (across_px / 2, padding_px),
        "\n".join(lines),
        font=face,
        fill=(255, 255, 255, 255),
        anchor="ma",
        align="center",
        spacing=0,
        stroke_width=outline_px,
        stroke_fill=(0, 0, 0, 255),
    )
    pixels = np.asarray(picture, np.uint8)
    margin_px = min(round(_MARGIN * height_px), height_px - down_px)
    return Overlay(
        top_px=margin_px if place == "top" else height_px - down_px - margin_px,
        left_px=(width_px - across_px) // 2,
        rgb=np.ascontiguousarray(pixels[..., :3]),
        cover=np.ascontiguousarray(pixels[..., 3:]),
    )


def _fitted(text: str, font: Path | None, size_px: int, widest_px: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The font in a size at which every word fits, and the lines."""
    while True:
        face = label_font(text, font, size_px, what="captions that are burned in")
        lines = [line for given in text.splitlines() for line in _broken(given, face, widest_px)] or [""]
        if size_px <= _LEAST_LINE_PX or all(face.getlength(line) <= widest_px for line in lines):
            return face, lines
        size_px -= 1


def _broken(line: str, face: ImageFont.FreeTypeFont, widest_px: int) -> list[str]:
    lines: list[str] = []
    for word in line.split():
        if lines and face.getlength(f"{lines[-1]} {word}") <= widest_px:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
