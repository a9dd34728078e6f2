"""Jumps at joins: measured, judged, softened; which chunks are made again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.join_repair import BlendJoins, nearest_join
from s2v_pipeline.video.joins import chunks_to_remake, joins_of, measure_joins
from s2v_pipeline_tests.video.enhance.sequences import after, clean, shown

CHUNKS = (FrameSpan(0, 15), FrameSpan(15, 30), FrameSpan(30, 45))
JOINS = (15, 30)
CLEAN = clean(45)


def _jumping(levels: int = 0, shift_px: int = 0) -> NDArray[np.uint8]:
    pixels = CLEAN.astype(np.int16)
    pixels[15:] += levels
    pixels[15:] = np.roll(pixels[15:], shift_px, axis=1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def test_a_video_without_jumps_passes() -> None:
    report = measure_joins(shown(CLEAN), JOINS)
    assert report.passed
    assert report.n_ordinary == 42
    assert len(report.joins) == 2
    assert "colour" in report.joins[0].summary


@pytest.mark.parametrize(("levels", "shift_px", "measure"), [(2, 0, "colour"), (6, 0, "colour"), (0, 6, "movement")])
def test_a_jump_is_found_at_its_join_and_softened(levels: int, shift_px: int, measure: str) -> None:
    jumping = _jumping(levels, shift_px)
    report = measure_joins(shown(jumping), JOINS)
    assert [join.frame for join in report.jumps] == [15]
    assert measure in report.jumps[0].beyond
    blended = after(BlendJoins((15,)), jumping)
    np.testing.assert_array_equal(blended[:11], jumping[:11])
    np.testing.assert_array_equal(blended[19:], jumping[19:])
    softened = measure_joins(shown(blended), JOINS).joins[0]
    assert softened.values[measure] < 0.5 * report.joins[0].values[measure]


def test_chunks_after_a_jump_are_made_again_while_tries_are_left() -> None:
    report = measure_joins(shown(_jumping(6)), JOINS)
    assert chunks_to_remake(report, CHUNKS, chained=False, tries_left=(1, 1, 1)) == (1,)
    assert chunks_to_remake(report, CHUNKS, chained=True, tries_left=(1, 1, 1)) == (1, 2)
    assert chunks_to_remake(report, CHUNKS, chained=True, tries_left=(1, 0, 1)) == ()
    assert chunks_to_remake(measure_joins(shown(CLEAN), JOINS), CHUNKS, chained=True, tries_left=(1, 1, 1)) == ()
    with pytest.raises(ValueError, match="its tries"):
        chunks_to_remake(report, CHUNKS, chained=False, tries_left=(1,))
    with pytest.raises(ValueError, match="start of a chunk"):
        chunks_to_remake(report, CHUNKS[:1], chained=False, tries_left=(1,))


def test_joins_are_where_chunks_start() -> None:
    assert joins_of(CHUNKS) == JOINS
    with pytest.raises(ValueError, match="gap"):
        joins_of((FrameSpan(0, 5), FrameSpan(6, 9)))
    with pytest.raises(MediaError, match="inside a video"):
        measure_joins(shown(CLEAN), (45,))


def test_a_frame_belongs_to_the_nearer_join() -> None:
    assert [nearest_join((10, 16), frame, 4) for frame in (5, 6, 12, 13, 19, 20)] == [None, 10, 10, 16, 16, None]
