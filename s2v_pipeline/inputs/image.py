"""A portrait file becomes upright sRGB pixels, or is refused before anything large is decoded.

Belongs here: which formats are read, limits checked on the header, orientation, colour, transparency, size.
Does not belong here: where the file may lie and links (the scanner), faces (framing, s2v_pipeline.faces).

A portrait is a hostile file: its length, format and size in pixels are checked before a pixel is decoded, and only
Pillow's decoders in `_FORMATS` are ever asked.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from s2v_pipeline.errors import ImageError
from s2v_pipeline.setting_groups import InputSettings

_log = logging.getLogger(__name__)

# Decoders that are widely used and run inside Pillow; EPS (starts Ghostscript), PDF, ICNS, FITS and the like are not.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_FORMATS_IN_WORDS = "PNG, JPEG, WebP, BMP, TIFF, GIF or PPM"
MAX_SIDE_PX = 4096  # the longest side that is kept: the largest video is 4096 px, and face search stays below a second
_BYTES_PER_MB = 1_000_000
_PIXELS_PER_MPX = 1_000_000
_16_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow reads a 16-bit PGM as "I"
_16_BIT_MAX = 65535
_PLAIN_MODES = ("1", "L", "P", "RGB", "YCbCr", "CMYK")
_ALPHA_MODES = ("LA", "PA", "RGBA", "RGBX", "La", "RGBa")
_BACKGROUND = (255, 255, 255)  # white, as on paper
_EXIF_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4; 1 is upright
# What Pillow's decoders raise on damaged files, besides their own OSError and SyntaxError.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, EOFError),
    *(ValueError, TypeError, IndexError, OverflowError, struct.error, zlib.error),
)


@dataclass(frozen=True, eq=False)
class LoadedPortrait:
    """A portrait in memory.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB, upright; read-only.
        source_format: Pillow's name of the file's format, e.g. "JPEG".
        source_width_px, source_height_px: as stored in the file, before turning and reducing.
        notes: what was done to the picture, one sentence each.

    Raises:
        ValueError: pixels of another shape or dtype.
    """

    pixels: NDArray[np.uint8]
    source_format: str
    source_width_px: int
    source_height_px: int
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"a portrait must be (height, width, 3) uint8; got {self.pixels.shape} {self.pixels.dtype}"
            )
        self.pixels.flags.writeable = False


def load_portrait(path: Path, limits: InputSettings) -> LoadedPortrait:
    """Read a portrait file.

    Raises:
        ImageError: missing, too large in bytes or pixels, too small for a face, not a picture of an allowed format, or
            damaged.
    """
    content = _read_limited(path, limits)
    with warnings.catch_warnings():
        # Pillow warns about odd tags and about size; size is checked here, and odd tags do not matter.
        warnings.simplefilter("ignore")
        try:
            with _open(path, content) as image:
                _check_size(path, image, limits)
                notes: list[str] = []
                source_format, (width_px, height_px) = str(image.format), image.size
                pixels = _upright_srgb(path, image, notes)
        except Image.DecompressionBombError as error:
            stated = re.search(r"\d+", str(error))  # Pillow says the number of pixels and keeps the size to itself
            got = f"{int(stated[0]) / _PIXELS_PER_MPX:.4g} million" if stated else "more than Pillow opens"
            raise _too_many_pixels(path, got, limits) from error
        except _DECODER_ERRORS as error:
            raise ImageError(
                f"{path.name} must be a complete, undamaged picture",
                got=f"a file that stops making sense: {error}",
                cure="Open it in an image viewer and save it again as PNG, or copy it again from its source.",
            ) from error
    for note in notes:
        _log.info("%s: %s", path.name, note)
    return LoadedPortrait(pixels, source_format, width_px, height_px, tuple(notes))


def _read_limited(path: Path, limits: InputSettings) -> bytes:
    """The file's bytes; never more than the limit plus one, even if it grows or is a device."""
    max_bytes = int(limits.max_image_mb * _BYTES_PER_MB)
    try:
        if not path.is_file():
            raise ImageError(
                f"{path.name} must be an image file", got="no plain file of that name", cure="Check the name."
            )
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ImageError(
            f"{path.name} must be readable", got=str(error.strerror), cure="Check its permissions, or copy it again."
        ) from error
    if len(content) > max_bytes:
        raise ImageError(
            f"{path.name} must be at most {limits.max_image_mb:g} MB",
            got=f"{size_bytes / _BYTES_PER_MB:.1f} MB",
            cure="Save a smaller copy, or raise inputs.max_image_mb.",
        )
    if not content:
        raise ImageError(f"{path.name} must be an image", got="an empty file", cure="Copy it again from its source.")
    return content


def _open(path: Path, content: bytes) -> Image.Image:
    """The picture with only its header read."""
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path.name} must be {_FORMATS_IN_WORDS}",
            got=f"another kind of content, or a damaged start: {content[:8]!r}",
            cure="Save the picture as PNG or JPEG; a changed file extension is not enough.",
        ) from error


def _check_size(path: Path, image: Image.Image, limits: InputSettings) -> None:
    width_px, height_px = image.size
    if width_px * height_px > limits.max_image_mpx * _PIXELS_PER_MPX:
        raise _too_many_pixels(path, f"{width_px}x{height_px}", limits)
    if min(width_px, height_px) < limits.min_face_px:
        raise ImageError(
            f"{path.name} must be at least {limits.min_face_px} px on its shorter side, so that a face fits",
            got=f"{width_px}x{height_px}",
            cure="Give a larger picture of the same person.",
        )


def _too_many_pixels(path: Path, got: str, limits: InputSettings) -> ImageError:
    most_mpx = limits.max_image_mpx
    if Image.MAX_IMAGE_PIXELS is not None:
        most_mpx = min(most_mpx, 2 * Image.MAX_IMAGE_PIXELS / _PIXELS_PER_MPX)  # beyond it Pillow itself refuses
    return ImageError(
        f"{path.name} must have at most {most_mpx:.4g} million pixels",
        got=got,
        cure="Save a smaller copy, or raise inputs.max_image_mpx.",
    )


def _upright_srgb(path: Path, image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    n_pictures = getattr(image, "n_frames", 1)
    if n_pictures > 1 and image.format != "MPO":  # an MPO is a JPEG with further views of the same moment behind it
        notes.append(f"the first of the file's {n_pictures} pictures is used")
        image.seek(0)
    profile = image.info.get("icc_profile")
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    ImageOps.exif_transpose(image, in_place=True)
    if orientation in range(2, 9):
        notes.append(f"turned upright, as its EXIF orientation {orientation} says")
    picture, alpha = _without_alpha(_eight_bit(path, image, notes))
    picture = _in_srgb(picture, profile, notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        picture = Image.composite(picture, Image.new("RGB", picture.size, _BACKGROUND), alpha)
        notes.append("transparent parts are shown on white")
    return np.array(_reduced(picture, notes), np.uint8)


def _eight_bit(path: Path, picture: Image.Image, notes: list[str]) -> Image.Image:
    """The picture with 8 bits a channel; Pillow's own conversion would clip 16-bit grey instead of scaling it."""
    if picture.mode in _PLAIN_MODES or picture.mode in _ALPHA_MODES:
        return picture
    values = np.asarray(picture)
    if picture.mode not in _16_BIT_MODES or values.min() < 0 or values.max() > _16_BIT_MAX:
        raise ImageError(
            f"{path.name} must have grey, RGB, CMYK or palette pixels of 8 or 16 bits",
            got=f"pixels of the kind {picture.mode!r}",
            cure="Export it as an ordinary PNG or JPEG.",
        )
    notes.append("16-bit grey is scaled to 8 bits")
    return Image.fromarray(np.rint(values * (255 / _16_BIT_MAX)).astype(np.uint8))


def _without_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey, RGB or CMYK picture, and its transparency where it has any."""
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        if picture.mode == "La":
            picture = picture.convert("LA")
        picture = picture.convert("RGBA")
        return picture.convert("RGB"), picture.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture, None
    return picture.convert("RGB"), None


def _in_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """RGB picture; colours follow the file's ICC profile where it has one that fits."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            description = ImageCms.getProfileDescription(source).strip()
            if "sRGB" not in description:
                picture = _converted(picture, source)
                notes.append(f"colours are converted from the profile {description!r} to sRGB")
                return picture
        except (ImageCms.PyCMSError, *_DECODER_ERRORS) as error:
            notes.append("its colour profile cannot be used and is left out; colours may be off")
            _log.warning("a colour profile is left out: %s", error)
    if picture.mode == "CMYK":
        notes.append("CMYK without a usable profile: colours are approximate")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _converted(picture: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        picture,
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,  # what image editors do by default: shadows keep their detail
    )
    if converted is None:
        raise ImageCms.PyCMSError("the conversion gave no picture")
    return converted


def _reduced(picture: Image.Image, notes: list[str]) -> Image.Image:
    long_px = max(picture.size)
    if long_px <= MAX_SIDE_PX:
        return picture
    width_px, height_px = (max(1, round(side * MAX_SIDE_PX / long_px)) for side in picture.size)
    notes.append(f"reduced from {picture.width}x{picture.height} to {width_px}x{height_px}")
    return picture.resize((width_px, height_px), Image.Resampling.LANCZOS)
