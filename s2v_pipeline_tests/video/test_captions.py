"""Captions and chapters inside videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from s2v_pipeline.clips.container import open_video
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.captions import Chapter, Cue, Inside, chapters_at_pauses, read_cues, three_letters
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline_tests.video.material import read_number, voice, write_clip, write_flac

FPS = Fraction(25)
VTT = "WEBVTT\n\n00:00:00.200 --> 00:00:00.900\nFish &amp; chips\nwörld\n\n00:00:01.100 --> 00:00:01.800\n5 &lt; 6\n"
CUES = (Cue(200, 900, "Fish &amp; chips\nwörld"), Cue(1100, 1800, "5 &lt; 6"))
CHAPTERS = (Chapter(Fraction(0), Fraction(1), "One, ü"), Chapter(Fraction(1), Fraction(2), "Two"))


def test_cues_are_read_from_the_sidecar() -> None:
    assert read_cues(VTT) == CUES
    assert read_cues("WEBVTT\n\n01:02:03.004 --> 01:02:04.000\nlate\n") == (Cue(3723004, 3724000, "late"),)
    assert read_cues("WEBVTT\n") == ()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "h264"), ("mov", "h264"), ("webm", "vp9")])
def test_captions_and_chapters_come_back_and_disturb_nothing(tmp_path: Path, container: str, codec: str) -> None:
    settings = VideoSettings.model_validate({"width_px": 64, "height_px": 64, "codec": codec, "container": container})
    clip = write_clip(tmp_path / "c.mp4", FrameSpan(0, 50), FPS, settings=settings)
    speech = write_flac(tmp_path / "s.flac", voice(32000, 16000), 16000)
    paths = {}
    for name, inside in (("with", Inside(CUES, CHAPTERS, "de")), ("without", None)):
        paths[name] = tmp_path / f"{name}.{container}"
        assemble_video(
            [clip], speech, paths[name], frame_counts=[50], fps=FPS, settings=settings, metadata={}, inside=inside
        )
    with open_video(paths["with"]) as opened:
        (texts,) = opened.streams.subtitles
        if container != "mov":
            assert texts.metadata["language"] == "deu"
        chapters = opened.chapters()
        found = [
            (round(1000 * each.pts * each.time_base), round(1000 * each.duration * each.time_base), bytes(each))
            for each in opened.demux(texts)
            if each.size > 2
        ]
    if container == "webm":
        assert [text.decode() for *_, text in found] == [cue.text for cue in CUES]
    else:
        assert [text[2:].decode() for *_, text in found] == ["Fish & chips\nwörld", "5 < 6"]
        assert all(int.from_bytes(text[:2], "big") == len(text) - 2 for *_, text in found)
    assert [(start, length) for start, length, _ in found] == [(200, 700), (1100, 700)]
    assert [(each["metadata"]["title"], each["start"] * each["time_base"]) for each in chapters] == [
        ("One, ü", 0),
        ("Two", 1),
    ]
    probes = [probe_video(path) for path in paths.values()]
    for name in ("n_frames", "video_start_s", "video_duration_s", "audio_start_s", "audio_duration_s", "faststart"):
        assert getattr(probes[0], name) == getattr(probes[1], name)
    assert [read_number(frame.pixels) for frame in iter_frames(paths["with"])] == list(range(50))


def _phonemes(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["phone", "start_s", "end_s"])


def test_chapters_start_in_long_pauses_and_are_named_by_what_is_said() -> None:
    phonemes = _phonemes(
        ("AH", 0, 9),
        ("SIL", 9, 9.4),
        ("AH", 9.4, 12),
        ("SIL", 12, 13),
        ("AH", 13, 15),
        ("SIL", 15, 15.8),
        ("AH", 15.8, 30),
    )
    cues = (Cue(500, 9000, "Now, this is the very first part"), Cue(13000, 15000, "Then"), Cue(16000, 20000, "more"))
    chapters = chapters_at_pauses(phonemes, cues, length_s=Fraction(30), least_s=10)
    assert [(each.start_s, each.end_s) for each in chapters] == [(0, Fraction(25, 2)), (Fraction(25, 2), 30)]
    assert [each.title for each in chapters] == ["Now, this is the very first…", "Then more"]
    # A shorter least length takes the next longest pause as well, but never one below half a second.
    assert [float(each.start_s) for each in chapters_at_pauses(phonemes, cues, length_s=Fraction(30), least_s=2)] == [
        *(0.0, 12.5, 15.4)
    ]


def test_languages_are_named_as_containers_do() -> None:
    names = {"en": "eng", "pt-BR": "por", "fil": "fil", "xx": "und"}
    assert {tag: three_letters(tag) for tag in names} == names


def test_no_chapters_below_two() -> None:
    phonemes = _phonemes(("SIL", 0, 1), ("AH", 1, 9), ("SIL", 9, 10))
    assert chapters_at_pauses(phonemes, (), length_s=Fraction(10), least_s=5) == ()
