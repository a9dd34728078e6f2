"""Reading a clip back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.video.material import SIDE_PX, voice, write_clip, write_flac


def test_frames_are_counted_and_the_format_is_read(tmp_path: Path) -> None:
    probe = probe_clip(write_clip(tmp_path / "clip.mp4", FrameSpan(0, 13), Fraction(25)))
    assert probe.n_frames == 13
    assert (probe.picture.codec, probe.picture.width_px, probe.picture.height_px) == ("h264", SIDE_PX, SIDE_PX)
    assert probe.picture.extradata[0] == 1  # avcC, version 1: ISO/IEC 14496-15


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("#EXTM3U\nhttp://127.0.0.1/other.mp4\n")
    clip = write_clip(tmp_path / "clip.mp4", FrameSpan(0, 13), Fraction(25))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-400])  # a clip's index lies at its end
    sound = write_flac(tmp_path / "sound.mp4", voice(4000, 8000), 8000)
    for path in (text, cut, sound, tmp_path / "absent.mp4"):
        with pytest.raises(MediaError, match=path.name):
            probe_clip(path)
