"""The visible label: a text in a corner of every frame, drawn before the frame is encoded.

Belongs here: drawing the text once, laying it over frames.
Does not belong here: whether there is a label (settings), what is claimed of it (video.claims).

The text is drawn once, by who plans the chunks, and travels as pixels: workers need no font, every frame gets the same
pixels, and their hash is what a clip's key depends on.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from s2v_pipeline.credential_settings import CredentialSettings
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.media import FrameBatch

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]

_SIZE_PER_SIDE = 1 / 22  # of the shorter side: read at a glance at arm's length, and beside the face, not on it
_LEAST_SIZE_PX = 9  # below it letters run together
_MARGIN_PER_SIZE, _PADDING_PER_SIZE = 0.6, 0.35
_INK, _BOARD, _BOARD_OPACITY = 255, 0, 150  # white on a dark board that lets the picture through: seen on any picture
_OPAQUE = 255


@dataclass(frozen=True)
class Stamp:
    """A drawn label.

    Attributes:
        left_px, top_px: where its upper left corner lies in the frame.
        gray: (h, w) uint8, its brightness.
        opacity: (h, w) uint8, 255 where the frame does not shine through.

    Raises:
        ValueError: arrays of other shapes or types.
    """

    left_px: int
    top_px: int
    gray: NDArray[np.uint8]
    opacity: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for each in (self.gray, self.opacity):
            if each.dtype != np.uint8 or each.ndim != 2 or each.shape != self.gray.shape:
                raise ValueError(f"a stamp has two (h, w) uint8 arrays; got {each.dtype} {each.shape}")

    @property
    def sha256(self) -> str:
        """Hash of place and pixels."""
        shape = f"{self.left_px} {self.top_px} {self.gray.shape} "
        return hashlib.sha256(shape.encode() + self.gray.tobytes() + self.opacity.tobytes()).hexdigest()


def make_stamp(text: str, *, corner: Corner, font: Path | None, width_px: int, height_px: int) -> Stamp:
    """Draw a label for frames of a size.

    Raises:
        SettingsError: a text that its font has no letters for, that is blank or longer than the frame is wide, or a
            font that cannot be read.
    """
    side_px = min(width_px, height_px)
    size_px = max(_LEAST_SIZE_PX, round(side_px * _SIZE_PER_SIDE))
    face = label_font(text, font, size_px)
    padding_px, margin_px = round(size_px * _PADDING_PER_SIZE), round(size_px * _MARGIN_PER_SIZE)
    left, _, right, _ = face.getbbox(text)
    ascent, descent = face.getmetrics()
    across_px, down_px = int(right - left) + 2 * padding_px, ascent + descent + 2 * padding_px
    if not text.strip() or across_px + 2 * margin_px > width_px:
        raise SettingsError(
            f"credentials.label must fit into {width_px} pixels at {size_px} pixels a line",
            got=f"{text!r}, {across_px} pixels wide",
            cure="Shorten it, or make the video larger.",
        )
    ink = Image.new("L", (across_px, down_px), 0)
    ImageDraw.Draw(ink).text((padding_px - left, padding_px), text, fill=_OPAQUE, font=face)
    cover = np.asarray(ink, np.int32)
    opacity = _BOARD_OPACITY + (cover * (_OPAQUE - _BOARD_OPACITY) + _OPAQUE // 2) // _OPAQUE
    # The colour of a pixel that is part letter, part board, weighed by how much each of them covers.
    gray = (cover * _INK + (_OPAQUE - cover) * _BOARD_OPACITY * _BOARD // _OPAQUE + opacity // 2) // opacity
    return Stamp(
        left_px=margin_px if corner.endswith("left") else width_px - across_px - margin_px,
        top_px=margin_px if corner.startswith("top") else height_px - down_px - margin_px,
        gray=gray.clip(0, _OPAQUE).astype(np.uint8),
        opacity=opacity.astype(np.uint8),
    )


def label_stamp(settings: CredentialSettings, width_px: int, height_px: int) -> Stamp | None:
    """The visible label for frames of a size; None where no label is set.

    Raises:
        SettingsError: it cannot be drawn.
    """
    if not settings.label:
        return None
    return make_stamp(
        settings.label, corner=settings.label_corner, font=settings.label_font, width_px=width_px, height_px=height_px
    )


def stamped(batches: Iterator[FrameBatch], stamp: Stamp | None) -> Iterator[FrameBatch]:
    """The same frames with the label on each; as they are without one."""
    if stamp is None:
        yield from batches
        return
    height_px, width_px = stamp.gray.shape
    rows, columns = slice(stamp.top_px, stamp.top_px + height_px), slice(stamp.left_px, stamp.left_px + width_px)
    over = stamp.opacity.astype(np.int32)[..., None]
    add = stamp.gray.astype(np.int32)[..., None] * over + _OPAQUE // 2
    for batch in batches:
        pixels = batch.pixels.copy()
        there = pixels[:, rows, columns].astype(np.int32)
        pixels[:, rows, columns] = ((there * (_OPAQUE - over) + add) // _OPAQUE).astype(np.uint8)
        yield FrameBatch(pixels, batch.fps, batch.start_frame)


def label_font(
    text: str, path: Path | None, size_px: int, *, what: str = "credentials.label"
) -> ImageFont.FreeTypeFont:
    """The font in a size.

    Raises:
        SettingsError: it cannot be read, or has not all letters of the text, which `what` names.
    """
    from matplotlib.ft2font import FT2Font  # knows a font's letters; takes long to load, and few videos have a label

    path = path or _dejavu()
    try:
        letters = FT2Font(str(path))
        missing = [each for each in dict.fromkeys(text) if each != "\n" and not letters.get_char_index(ord(each))]
        font = ImageFont.truetype(str(path), size_px)
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            "credentials.label_font must be a TrueType or OpenType font",
            got=f"{path.name}: {error}",
            cure="Name another file, or unset it for DejaVu Sans.",
        ) from error
    if missing:
        raise SettingsError(
            f"{what} must be of letters that its font has",
            got=f"{' '.join(map(repr, missing))}, which {path.name} does not have",
            cure="Set credentials.label_font to a font of that writing.",
        )
    return font


def _dejavu() -> Path:
    """DejaVu Sans of matplotlib's own data."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise SettingsError(
            "matplotlib must be installed for its font", got="no such package", cure="pip install -c constraints.txt ."
        )
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
