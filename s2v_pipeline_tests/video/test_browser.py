"""Delivered files and streams in headless Chromium: they run, are heard, can be sought, and end when they should."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.video.captions import Chapter, Cue, Inside
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline.video.streaming import StreamSound, write_stream
from s2v_pipeline_tests.browser import Played, chromium_page, fetch_players, play
from s2v_pipeline_tests.video.material import make_video

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

FPS = Fraction(25)
N_SAMPLES = 64077  # 4.005 s: 100 frames in three chunks
COUNTS = [40, 40, 20]
LENGTH_S = 4.005
INSIDE = Inside(
    (Cue(100, 900, "hello"),), (Chapter(Fraction(0), Fraction(2), "a"), Chapter(Fraction(2), Fraction(4), "b"))
)
FILES = [("h264", "mp4"), ("h264", "mov"), ("av1", "mp4"), ("av1", "webm"), ("vp9", "mp4"), ("vp9", "webm")]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for codec, container in FILES:
        settings = VideoSettings.model_validate(
            {"width_px": 64, "height_px": 64, "codec": codec, "container": container}
        )
        working = tmp_path_factory.mktemp("working")
        made = make_video(working, n_samples=N_SAMPLES, rate_hz=16000, fps=FPS, chunk_frames=40, settings=settings)
        assemble_video(
            made.clips,
            made.speech,
            folder / f"{codec}.{container}",
            frame_counts=COUNTS,
            fps=FPS,
            settings=settings,
            metadata={},
            inside=INSIDE,
        )
        if container == "mp4":
            (folder / codec).mkdir()
            write_stream([made.clips], made.speech, folder / codec, frame_counts=COUNTS, fps=FPS, sound=StreamSound(96))
    return folder


@pytest.fixture(scope="module")
def page(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium_page(media, fetch_players(tmp_path_factory.mktemp("npm"))) as opened:
        yield opened


def _check(played: Played) -> None:
    report = played.report
    assert played.complete, report
    assert report["duration_s"] == pytest.approx(LENGTH_S, abs=0.04)
    assert report["end_s"] == pytest.approx(LENGTH_S, abs=0.04)
    assert report["sought_to_s"] == pytest.approx(2.5, abs=0.04)
    assert report["size"] == [64, 64]


@pytest.mark.parametrize(("codec", "container"), FILES)
def test_files_play(page: Any, codec: str, container: str) -> None:
    _check(play(page, f"{codec}.{container}", seek_s=2.5))


@pytest.mark.parametrize("codec", ["h264", "av1", "vp9"])
@pytest.mark.parametrize(("kind", "playlist"), [("hls", "master.m3u8"), ("dash", "manifest.mpd")])
def test_streams_play_and_their_segments_are_the_chunks(page: Any, codec: str, kind: str, playlist: str) -> None:
    played = play(page, f"{codec}/{playlist}", seek_s=2.5, kind=kind)
    _check(played)
    assert played.report["starts"] == pytest.approx([0, 1.6, 3.2], abs=0.001)
