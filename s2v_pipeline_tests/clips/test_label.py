"""The visible label: where it lies, that nothing else changes, and that it is read on any picture."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.clips.label import Corner, Stamp, make_stamp, stamped
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.media import FrameBatch

SIZE = (192, 128)  # height, width


def stamp(text: str = "AI-generated", corner: Corner = "bottom_right", font: Path | None = None) -> Stamp:
    return make_stamp(text, corner=corner, font=font, width_px=SIZE[1], height_px=SIZE[0])


def batches(level: int) -> Iterator[FrameBatch]:
    for start in (0, 3):
        yield FrameBatch(np.full((3, *SIZE, 3), level, np.uint8), Fraction(25), start)


@pytest.mark.parametrize("corner", ["top_left", "top_right", "bottom_left", "bottom_right"])
def test_it_lies_in_its_corner_and_nothing_else_changes(corner: Corner) -> None:
    drawn = stamp(corner=corner)
    height_px, width_px = drawn.gray.shape
    inside = np.zeros(SIZE, bool)
    inside[drawn.top_px : drawn.top_px + height_px, drawn.left_px : drawn.left_px + width_px] = True
    rows, columns = np.nonzero(inside)
    assert bool(rows.max() < SIZE[0] / 2) is corner.startswith("top")
    assert columns.min() > 0
    assert columns.max() < SIZE[1] - 1
    for before, after in zip(batches(90), stamped(batches(90), drawn), strict=True):
        assert (after.start_frame, after.fps) == (before.start_frame, before.fps)
        changed = (after.pixels != before.pixels).any(-1)
        assert not changed[:, ~inside].any()
        assert changed[:, inside].mean() > 0.9  # the edge of a letter may meet the picture's own level
        assert (after.pixels == after.pixels[:1]).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_letters_stand_out_on_any_picture(level: int) -> None:
    drawn = stamp()
    height_px, width_px = drawn.gray.shape
    shown = next(stamped(batches(level), drawn)).pixels[0, drawn.top_px :, drawn.left_px :][:height_px, :width_px, 0]
    assert shown.max() == 255
    assert np.median(shown) <= 110  # the board
    assert 0.05 < (shown > 200).mean() < 0.6


def test_without_a_label_frames_pass_untouched() -> None:
    given = list(batches(7))
    assert list(stamped(iter(given), None)) == given


def test_the_hash_follows_text_and_place() -> None:
    assert stamp().sha256 == stamp().sha256
    assert len({stamp().sha256, stamp("AI made").sha256, stamp(corner="top_left").sha256}) == 3


@pytest.mark.parametrize(
    ("text", "words"), [("   ", "must fit"), ("a" * 60, "must fit"), ("AI 생성", "letters that its font has")]
)
def test_a_text_that_cannot_be_drawn_is_refused(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        stamp(text)


def test_another_font_is_used_and_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    serif = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSerif.ttf"
    assert stamp(font=serif).sha256 != stamp().sha256
    bad = tmp_path / "bad.ttf"
    bad.write_text("hello")
    with pytest.raises(SettingsError, match="TrueType or OpenType"):
        stamp(font=bad)


def test_a_stamp_checks_itself() -> None:
    with pytest.raises(ValueError, match="two \\(h, w\\) uint8"):
        Stamp(0, 0, np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
