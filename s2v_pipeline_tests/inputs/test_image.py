"""Portrait files: what is read, what it becomes, what is refused. Real files, made from the sample portrait."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from s2v_pipeline.errors import ImageError
from s2v_pipeline.inputs.image import MAX_SIDE_PX, LoadedPortrait, load_portrait
from s2v_pipeline.setting_groups import InputSettings

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "astronaut" / "portrait.png"
LIMITS = InputSettings()
ORIENTATION_TAG = 0x0112


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert("RGB").resize((160, 120), Image.Resampling.LANCZOS)


def _difference(loaded: LoadedPortrait, expected: Image.Image) -> float:
    return float(np.abs(loaded.pixels.astype(float) - np.asarray(expected.convert("RGB"), float)).mean())


def _saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_sample_is_read_as_it_is() -> None:
    loaded = load_portrait(SAMPLE, LIMITS)
    with Image.open(SAMPLE) as image:
        np.testing.assert_array_equal(loaded.pixels, np.asarray(image.convert("RGB")))
    assert (loaded.source_format, loaded.source_width_px, loaded.source_height_px) == ("PNG", 400, 400)
    assert loaded.notes == ()
    assert not loaded.pixels.flags.writeable


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("p.png", {}, 0.0),
        ("p.bmp", {}, 0.0),
        ("p.tif", {"compression": "tiff_lzw"}, 0.0),
        ("p.ppm", {}, 0.0),
        ("p.webp", {"lossless": True}, 0.0),
        ("p.jpg", {"quality": 95}, 3.5),
        ("p.gif", {}, 8.0),
    ],
)
def test_each_format_gives_the_same_picture(
    portrait: Image.Image, tmp_path: Path, name: str, options: dict[str, object], tolerance: float
) -> None:
    loaded = load_portrait(_saved(portrait, tmp_path / name, **options), LIMITS)
    assert _difference(loaded, portrait) <= tolerance
    assert loaded.notes == ()


def test_extension_does_not_matter_but_content_does(portrait: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "portrait.jpg"
    portrait.save(path, "PNG")
    assert load_portrait(path, LIMITS).source_format == "PNG"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(portrait: Image.Image, tmp_path: Path, suffix: str, orientation: int) -> None:
    # What a camera held that way stores: the inverse of the turn that EXIF asks for.
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = portrait.transpose(stored_as[orientation])
    path = _saved(stored, tmp_path / f"turned.{suffix}", exif=exif.tobytes() if suffix != "tif" else exif, quality=95)
    loaded = load_portrait(path, LIMITS)
    assert loaded.pixels.shape == (120, 160, 3)
    assert _difference(loaded, portrait) < 4
    assert f"EXIF orientation {orientation}" in loaded.notes[0]


def test_cmyk_without_profile(portrait: Image.Image, tmp_path: Path) -> None:
    loaded = load_portrait(_saved(portrait.convert("CMYK"), tmp_path / "cmyk.jpg", quality=95), LIMITS)
    assert _difference(loaded, portrait) < 3
    assert "approximate" in loaded.notes[0]


def test_profile_of_other_primaries_changes_the_colours(portrait: Image.Image, tmp_path: Path) -> None:
    swapped = _matrix_profile_with_swapped_red_and_green()
    loaded = load_portrait(_saved(portrait, tmp_path / "swapped.png", icc_profile=swapped), LIMITS)
    red, green, blue = portrait.split()
    assert _difference(loaded, Image.merge("RGB", (green, red, blue))) < 4
    assert "swapped" in loaded.notes[0]


def test_srgb_profile_leaves_the_colours(portrait: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    loaded = load_portrait(_saved(portrait, tmp_path / "srgb.png", icc_profile=profile), LIMITS)
    assert _difference(loaded, portrait) == 0
    assert loaded.notes == ()


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_unusable_profile_is_left_out_and_said(portrait: Image.Image, tmp_path: Path, mode: str) -> None:
    path = _saved(portrait.convert(mode), tmp_path / "bad.jpg", icc_profile=b"not a profile", quality=95)
    loaded = load_portrait(path, LIMITS)
    assert _difference(loaded, portrait) < 3
    assert "left out" in loaded.notes[0]


def test_profile_of_another_colour_space_is_left_out(portrait: Image.Image, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    loaded = load_portrait(_saved(portrait, tmp_path / "lab.png", icc_profile=profile), LIMITS)
    assert _difference(loaded, portrait) == 0
    assert "left out" in loaded.notes[0]


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_16_bit_grey_is_scaled_not_clipped(portrait: Image.Image, tmp_path: Path, name: str) -> None:
    grey = np.asarray(portrait.convert("L"))
    deep = grey.astype(np.uint16) * 257
    path = tmp_path / name
    if path.suffix == ".pgm":
        path.write_bytes(b"P5\n160 120\n65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(path)
    loaded = load_portrait(path, LIMITS)
    np.testing.assert_array_equal(loaded.pixels, np.repeat(grey[..., None], 3, axis=2))
    assert "16-bit" in loaded.notes[0]


def test_floating_point_pixels_are_refused(portrait: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="8 or 16 bits"):
        load_portrait(_saved(portrait.convert("F"), tmp_path / "float.tif"), LIMITS)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_shown_on_white(portrait: Image.Image, tmp_path: Path, mode: str) -> None:
    alpha = np.full((120, 160), 255, np.uint8)
    alpha[:, :40], alpha[:, 40:80] = 0, 128
    image = portrait.convert("LA" if mode == "LA" else "RGB").convert(mode)
    image.putalpha(Image.fromarray(alpha))
    loaded = load_portrait(_saved(image, tmp_path / "alpha.png"), LIMITS)
    opaque = np.asarray(portrait.convert("L" if mode == "LA" else "RGB").convert("RGB"), float)
    assert (loaded.pixels[:, :40] == 255).all()
    np.testing.assert_allclose(loaded.pixels[:, 40:80], opaque[:, 40:80] * 128 / 255 + 255 * 127 / 255, atol=1.5)
    np.testing.assert_array_equal(loaded.pixels[:, 80:], opaque[:, 80:])
    assert "white" in loaded.notes[0]


def test_opaque_alpha_is_not_worth_a_note(portrait: Image.Image, tmp_path: Path) -> None:
    loaded = load_portrait(_saved(portrait.convert("RGBA"), tmp_path / "opaque.png"), LIMITS)
    assert _difference(loaded, portrait) == 0
    assert loaded.notes == ()


def test_palette_with_a_transparent_entry(portrait: Image.Image, tmp_path: Path) -> None:
    indexed = portrait.quantize(16)
    loaded = load_portrait(_saved(indexed, tmp_path / "palette.png", transparency=0), LIMITS)
    where = np.asarray(indexed) == 0
    assert where.any()
    assert (loaded.pixels[where] == 255).all()
    np.testing.assert_array_equal(loaded.pixels[~where], np.asarray(indexed.convert("RGB"))[~where])


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_bilevel(portrait: Image.Image, tmp_path: Path, mode: str) -> None:
    grey = portrait.convert(mode)
    assert _difference(load_portrait(_saved(grey, tmp_path / "grey.png"), LIMITS), grey) == 0


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png", "pages.tif"])
def test_first_of_several_pictures(portrait: Image.Image, tmp_path: Path, name: str) -> None:
    black = Image.new("RGB", portrait.size)
    options = {"lossless": True} if name.endswith("webp") else {}
    path = _saved(portrait, tmp_path / name, save_all=True, append_images=[black, black], **options)
    loaded = load_portrait(path, LIMITS)
    assert _difference(loaded, portrait) < 8
    assert "first" in loaded.notes[0]


def test_jpeg_with_further_views_is_an_ordinary_picture(portrait: Image.Image, tmp_path: Path) -> None:
    path = _saved(portrait, tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[portrait], quality=95)
    loaded = load_portrait(path, LIMITS)
    assert loaded.source_format == "MPO"
    assert _difference(loaded, portrait) < 4
    assert loaded.notes == ()


def test_large_picture_is_reduced(tmp_path: Path) -> None:
    path = _saved(Image.new("RGB", (MAX_SIDE_PX * 2, 1000), (10, 200, 30)), tmp_path / "wide.png")
    loaded = load_portrait(path, LIMITS)
    assert loaded.pixels.shape == (500, MAX_SIDE_PX, 3)
    assert (loaded.source_width_px, loaded.source_height_px) == (MAX_SIDE_PX * 2, 1000)
    assert tuple(loaded.pixels[250, 2000]) == (10, 200, 30)
    assert "reduced from 8192x1000" in loaded.notes[0]


@pytest.mark.parametrize("side_px", [9_000, 12_000, 30_000, 2_000_000_000])
def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, side_px: int) -> None:
    # Only a header: were a pixel decoded, the error would be about damage.
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(side_px, side_px))
    with pytest.raises(ImageError, match="at most 64 million pixels") as caught:
        load_portrait(path, LIMITS)
    assert "max_image_mpx" in caught.value.cure


def test_file_over_the_byte_limit(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    path.write_bytes(SAMPLE.read_bytes() + bytes(2_000_000))
    with pytest.raises(ImageError, match="at most 1 MB") as caught:
        load_portrait(path, InputSettings(max_image_mb=1))
    assert "2.3 MB" in caught.value.got


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("empty.png", b"", "must be an image"),
        ("text.png", b"I am a text that was renamed.\n", "PNG, JPEG, WebP"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>", "PNG, JPEG, WebP"),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n", "PNG, JPEG, WebP"),
        ("document.pdf", b"%PDF-1.4\n", "PNG, JPEG, WebP"),
        ("start.png", b"\x89PNG\r\n\x1a\n", "PNG, JPEG, WebP"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rule) as caught:
        load_portrait(path, LIMITS)
    assert caught.value.cure
    assert name in caught.value.rule


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match="no plain file"):
            load_portrait(path, LIMITS)


@pytest.mark.parametrize("size", [(1, 1), (59, 400), (400, 59)])
def test_too_small_for_a_face(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="at least 60 px"):
        load_portrait(_saved(Image.new("RGB", size), tmp_path / "small.png"), LIMITS)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.bmp", "cut.tif", "cut.ppm"])
def test_truncated_files_are_refused(portrait: Image.Image, tmp_path: Path, name: str) -> None:
    path = _saved(portrait, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=name):
        load_portrait(path, LIMITS)


@pytest.mark.parametrize("name", ["f.png", "f.jpg", "f.webp", "f.bmp", "f.tif", "f.gif", "f.ppm"])
def test_damaged_bytes_give_a_picture_or_an_image_error(portrait: Image.Image, tmp_path: Path, name: str) -> None:
    generator = np.random.default_rng(1)
    path = _saved(portrait.resize((80, 60)), tmp_path / name)
    original = np.frombuffer(path.read_bytes(), np.uint8)
    outcomes = {True: 0, False: 0}
    for _ in range(60):
        path.write_bytes(_damaged(original, generator))
        try:
            outcomes[load_portrait(path, LIMITS).pixels.ndim == 3] += 1
        except ImageError:
            outcomes[False] += 1
    assert sum(outcomes.values()) == 60


def _damaged(original: NDArray[np.uint8], generator: np.random.Generator) -> bytes:
    damaged = original.copy()
    # Headers matter most: half of the changes hit the first bytes.
    reach = 128 if generator.random() < 0.5 else damaged.size
    where = generator.integers(0, min(reach, damaged.size), 4)
    damaged[where] = generator.integers(0, 256, where.size)
    return damaged.tobytes()


def _png_header(width_px: int, height_px: int) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", b"no pixels")


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _matrix_profile_with_swapped_red_and_green() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged and whose name is not sRGB's."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    n_tags = struct.unpack_from(">I", profile, 128)[0]
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * n_tags, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    renamed = bytes(profile)
    for encoding in ("utf-16-be", "ascii"):
        renamed = renamed.replace("sRGB built-in".encode(encoding), "swapped 12345".encode(encoding))
    assert "swapped" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(renamed)))
    return renamed
