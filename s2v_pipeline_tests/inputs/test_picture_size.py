import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2v_pipeline.errors import ImageError
from s2v_pipeline.inputs.picture_size import official_size, resize_and_crop

# The rows stand here as a file, without the reader of the other vectors: this module and its tests need no torch.
_SIZES = Path(__file__).parents[1] / "data" / "wan_s2v" / "sizes.json"
_480P_PX = 480 * 832


def test_every_official_size() -> None:
    table = json.loads(_SIZES.read_text(encoding="utf-8"))
    assert table["columns"] == ["height", "width", "max_area", "out_height", "out_width"]
    got = [official_size(*row[:3]) for row in table["rows"]]
    assert len(got) == 44
    assert got == [tuple(row[3:]) for row in table["rows"]]


def test_sizes_are_multiples_of_64_within_the_area() -> None:
    rng = np.random.default_rng(3)
    for height_px, width_px in rng.integers(200, 4097, (300, 2)).tolist():
        size = official_size(height_px, width_px, _480P_PX)
        assert math.prod(size) <= _480P_PX
        assert all(side % 64 == 0 and side > 0 for side in size)


def test_small_pictures_are_refused() -> None:
    with pytest.raises(ImageError, match=r"at least 64 px; got 500x63 px.*larger picture"):
        official_size(63, 500, _480P_PX)
    with pytest.raises(ImageError, match="got 40x100 px"):
        resize_and_crop(np.zeros((100, 40, 3), np.uint8), 64, 64)
    with pytest.raises(ImageError, match="got 0x64 px"):
        resize_and_crop(np.zeros((64, 0, 3), np.uint8), 64, 64)


def test_a_picture_that_no_size_fits_is_refused() -> None:
    with pytest.raises(ImageError, match="got 20000x70 px"):
        official_size(70, 20000, 64 * 64)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="max_area_px"):
        official_size(100, 100, 64 * 63)
    with pytest.raises(ValueError, match="uint8"):
        resize_and_crop(np.zeros((100, 100, 4), np.uint8), 64, 64)
    with pytest.raises(ValueError, match="positive"):
        resize_and_crop(np.zeros((100, 100, 3), np.uint8), 0, 64)


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    got = resize_and_crop(pixels, 128, 192)
    np.testing.assert_array_equal(got, pixels)
    assert got.flags.c_contiguous


def test_the_long_side_is_cut_evenly_and_halves_round_to_even() -> None:
    # Short side 64 already; the long side is 101, so that (101 - 64) / 2 = 18.5 goes to 18.
    pixels = np.random.default_rng(1).integers(0, 256, (64, 101, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_and_crop(pixels, 64, 64), pixels[:, 18:82])
    # 103: 19.5 goes to 20.
    pixels = np.random.default_rng(2).integers(0, 256, (103, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_and_crop(pixels, 64, 64), pixels[20:84])


def test_the_long_side_is_truncated() -> None:
    # 100x151 with the short side at 64: 96.64 becomes 96, not 97.
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (100, 151, 3), dtype=np.uint8))
    expected = np.asarray(image.resize((96, 64), Image.Resampling.BILINEAR))[:, 16:80]
    np.testing.assert_array_equal(resize_and_crop(image, 64, 64), expected)


def test_black_where_the_picture_does_not_reach() -> None:
    # A square for a wide video: the short side goes to 64, and 64 of 128 columns are left over; odd ones go right.
    white = np.full((100, 100, 3), 255, np.uint8)
    got = resize_and_crop(white, 64, 128)
    assert not got[:, :32].any()
    assert not got[:, 96:].any()
    assert (got[:, 32:96] == 255).all()
    odd = resize_and_crop(white, 64, 129)
    assert np.flatnonzero(odd[0, :, 0]).tolist() == list(range(32, 96))


def test_other_modes_become_rgb() -> None:
    grey = Image.new("L", (80, 80), 77)
    assert (resize_and_crop(grey, 64, 64) == 77).all()
