"""What probing says about files, including those that are not as this pipeline writes them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.boxes import read_movie_layout
from s2v_pipeline.video.probe import ColorTags, probe_video
from s2v_pipeline_tests.video.material import SIDE_PX, Made, make_video, write_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_video(
        tmp_path_factory.mktemp("probe"), n_samples=12345, rate_hz=16000, fps=Fraction(30000, 1001), chunk_frames=10
    )


def test_every_field_of_a_delivered_video(made: Made) -> None:
    probe = probe_video(made.path)
    assert (probe.codec, probe.pix_fmt, probe.width_px, probe.height_px) == ("h264", "yuv420p", SIDE_PX, SIDE_PX)
    assert (probe.fps, probe.n_frames) == (Fraction(30000, 1001), 23)
    assert (probe.video_start_s, probe.video_duration_s) == (0, 23 * Fraction(1001, 30000))
    assert (probe.audio_codec, probe.audio_rate_hz, probe.audio_channels) == ("aac", 16000, 1)
    assert (probe.audio_start_s, probe.audio_duration_s) == (0, Fraction(12345, 16000))
    assert probe.audio_duration_s <= probe.audio_decoded_s < probe.audio_duration_s + Fraction(1024, 16000)
    assert probe.color == ColorTags(primaries=1, transfer=1, matrix=1, full_range=False)
    assert probe.faststart
    assert probe.size_bytes == made.path.stat().st_size


def test_edit_list_hides_exactly_the_priming(made: Made) -> None:
    edit = read_movie_layout(made.path).track("audio")
    assert edit is not None
    assert (edit.start_s, edit.skipped_s) == (0, Fraction(1024, 16000))


def test_a_clip_has_no_sound_and_its_index_last(made: Made) -> None:
    probe = probe_video(made.clips[0])
    assert (probe.audio_codec, probe.audio_duration_s, probe.faststart) == (None, 0, False)
    assert probe.n_frames == 10


def test_a_video_of_one_frame_has_a_rate(tmp_path: Path) -> None:
    probe = probe_video(write_clip(tmp_path / "one.mp4", FrameSpan(0, 1), Fraction(30000, 1001)))
    assert (probe.n_frames, probe.fps) == (1, Fraction(30000, 1001))


def test_a_late_picture_is_seen(made: Made, tmp_path: Path) -> None:
    """The same packets, muxed 0.4 s late by an empty edit."""
    late = tmp_path / "late.mp4"
    with made.clips[0].open("rb") as file, av.open(file, "r", format="mp4") as source, av.open(str(late), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts += 12000
                packet.dts += 12000
                packet.stream = stream
                out.mux(packet)
    assert probe_video(late).video_start_s == Fraction(2, 5)


def test_damaged_files_are_refused(made: Made, tmp_path: Path) -> None:
    whole = made.path.read_bytes()
    moov = whole.index(b"moov")
    damaged = {
        "empty": b"",
        "text": b"#EXTM3U\nfile:///etc/hostname\n",
        "no_index": whole[: moov - 4],
        "huge_box": whole[: moov - 4] + b"\xff\xff\xff\xff" + whole[moov:],
        "cut_index": whole[: moov + 200],
        "zero_clock": whole.replace(b"mvhd" + whole[whole.index(b"mvhd") + 4 :][:16], b"mvhd" + bytes(16)),
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=name):
            probe_video(path)
