"""Pictures out of a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.frames import SHEET_TILE_PX, grab_frames, iter_frames, write_contact_sheet, write_poster
from s2v_pipeline_tests.video.material import SIDE_PX, picture, read_number, write_clip

FPS = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 frames: three groups of pictures."""
    return write_clip(tmp_path_factory.mktemp("frames") / "clip.mp4", FrameSpan(0, 130), FPS)


def test_iterating_with_a_step(clip: Path) -> None:
    shown = list(iter_frames(clip, step=40))
    assert [read_number(frame.pixels) for frame in shown] == [0, 40, 80, 120]
    assert [frame.time_s for frame in shown] == [index / FPS for index in (0, 40, 80, 120)]
    assert shown[0].pixels.shape == (SIDE_PX, SIDE_PX, 3)
    with pytest.raises(ValueError, match="step"):
        next(iter_frames(clip, step=0))


def test_grabbing_gives_the_frame_on_screen_in_any_order(clip: Path) -> None:
    indices = [129, 0, 59, 60, 58, 7, 128]
    just_before_the_end_s = [(index + 1) / FPS - Fraction(1, 10**6) for index in indices]
    for times_s in ([index / FPS for index in indices], just_before_the_end_s):
        assert [read_number(frame.pixels) for frame in grab_frames(clip, times_s)] == indices


def test_times_outside_the_video_are_refused(clip: Path) -> None:
    for time_s in (Fraction(-1, 100), 130 / FPS):
        with pytest.raises(MediaError, match="0 to 129"):
            grab_frames(clip, [time_s])


def test_poster_is_the_frame_asked_for(clip: Path, tmp_path: Path) -> None:
    write_poster(clip, tmp_path / "poster.jpg", frame=77)
    with Image.open(tmp_path / "poster.jpg") as image:
        pixels = np.asarray(image)
    assert read_number(pixels) == 77
    assert np.abs(pixels.astype(int)[:48] - picture(77)[:48]).mean() < 4


def test_contact_sheet_asks_for_labels_and_shows_the_frames(clip: Path, tmp_path: Path) -> None:
    asked: list[Fraction] = []

    def label(time_s: Fraction) -> str:
        asked.append(time_s)
        return "AA"

    write_contact_sheet(clip, tmp_path / "sheet.png", n_frames=10, columns=4, labels=label)
    write_contact_sheet(clip, tmp_path / "bare.png", n_frames=10, columns=4)
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "bare.png") as bare:
        assert sheet.width > 4 * SHEET_TILE_PX
        assert sheet.width < 5 * SHEET_TILE_PX
        assert sheet.height > 3 * SHEET_TILE_PX
        assert not np.array_equal(np.asarray(sheet), np.asarray(bare))
        first_tile = np.asarray(sheet.convert("RGB"))[6 : 6 + SHEET_TILE_PX, 6 : 6 + SHEET_TILE_PX]
    assert len(asked) == 10
    assert asked[0] == (Fraction(6) + Fraction(1, 2)) / FPS
    expected = np.asarray(Image.fromarray(picture(6)).resize((SHEET_TILE_PX, SHEET_TILE_PX)))
    assert np.abs(first_tile.astype(int) - expected).mean() < 8


def test_a_sheet_of_a_short_video_has_as_many_tiles_as_frames(tmp_path: Path) -> None:
    short = write_clip(tmp_path / "short.mp4", FrameSpan(0, 2), FPS)
    write_contact_sheet(short, tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert 2 * SHEET_TILE_PX < sheet.width < 3 * SHEET_TILE_PX
