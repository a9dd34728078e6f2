"""The public class: what it refuses before it makes anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2v_pipeline.api import SpeechToVideo, copy_files
from s2v_pipeline.errors import SettingsError


@pytest.fixture(autouse=True)
def _own_instance(project_dir: Path) -> Iterator[None]:
    yield
    os.environ.pop("DAGSTER_HOME", None)


@pytest.mark.parametrize("num_gpus", [-1, 2])
def test_a_number_of_gpus_that_no_generator_takes(num_gpus: int) -> None:
    with pytest.raises(SettingsError, match="num_gpus must be 0 or 1"):
        SpeechToVideo(num_gpus=num_gpus)


def test_gpus_that_the_generator_does_not_take_or_needs(sample: Path) -> None:
    files = {"image_path": sample / "portrait.png", "audio_path": sample / "speech.wav"}
    with SpeechToVideo(num_gpus=1) as maker, pytest.raises(SettingsError, match="num_gpus must be 0 for this"):
        maker.generate_video(**files)
    with SpeechToVideo(num_gpus=0) as maker, pytest.raises(SettingsError, match="num_gpus must be 1 for this"):
        maker.generate_video(**files, generator="wan_s2v")


def test_an_unknown_generator_is_named_with_those_that_there_are(sample: Path) -> None:
    with SpeechToVideo() as maker, pytest.raises(SettingsError, match="must be one of portrait, wan_s2v"):
        maker.generate_video(
            image_path=sample / "portrait.png", audio_path=sample / "speech.wav", generator="imaginary"
        )


def test_captions_are_copied_beside_the_video_under_its_name(tmp_path: Path) -> None:
    files = tuple(tmp_path / name for name in ("anna.mp4", "anna.srt", "anna.vtt"))
    for file in files:
        file.write_text(file.name)
    to = tmp_path / "out" / "me.v2.mp4"
    copies = copy_files(files, to)
    assert copies == (to, to.with_name("me.v2.srt"), to.with_name("me.v2.vtt"))
    assert [copy.read_text() for copy in copies] == ["anna.mp4", "anna.srt", "anna.vtt"]
    assert copy_files(files[:1], tmp_path / "alone.mp4") == (tmp_path / "alone.mp4",)
