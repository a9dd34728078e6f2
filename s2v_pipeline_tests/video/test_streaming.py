"""HLS and DASH: the ladder, segments that start at chunks, playlists, the folder in the store."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as Xml

import av
import pytest

from s2v_pipeline.clips.encoders import SOFTWARE
from s2v_pipeline.errors import MediaError
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.ladder import Rung, rungs, scaled_clips
from s2v_pipeline.video.playlists import hevc_codecs
from s2v_pipeline.video.streaming import Stream, StreamSound, write_stream
from s2v_pipeline_tests.video.material import read_number, voice, write_clip, write_flac

FPS = Fraction(30000, 1001)
COUNTS = [20, 20, 7]  # 47 frames; 25092 samples at 16 kHz are the nearest length
N_SAMPLES = 25092
NAMESPACE = {"d": "urn:mpeg:dash:schema:mpd:2011"}
CAPTIONS = "WEBVTT\n\n00:00:00.200 --> 00:00:01.000\nFish & chips\n"


@dataclass(frozen=True)
class Written:
    folder: Path
    stream: Stream


@pytest.fixture(scope="module", params=["h264", "h265", "av1", "vp9"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    working = tmp_path_factory.mktemp(request.param)
    settings = VideoSettings.model_validate({"width_px": 64, "height_px": 64, "codec": request.param})
    starts = [sum(COUNTS[:index]) for index in range(len(COUNTS))]
    clips = [
        write_clip(working / f"{start}.mp4", FrameSpan(start, start + count), FPS, settings=settings)
        for start, count in zip(starts, COUNTS, strict=True)
    ]
    small = scaled_clips(
        clips,
        working,
        Rung(32, 32),
        frame_counts=COUNTS,
        fps=FPS,
        settings=settings,
        encoder=SOFTWARE[settings.codec],
    )
    speech = write_flac(working / "s.flac", voice(N_SAMPLES, 16000), 16000)
    folder = working / "streaming"
    folder.mkdir()
    stream = write_stream(
        [small, clips],
        speech,
        folder,
        frame_counts=COUNTS,
        fps=FPS,
        sound=StreamSound(64, "stereo"),
        captions=CAPTIONS,
        language="en",
    )
    return Written(folder, stream)


def _joined(folder: Path, number: int, segments: slice = slice(None)) -> io.BytesIO:
    files = sorted(folder.glob(f"segment_{number}_*.m4s"))[segments]
    return io.BytesIO((folder / f"init_{number}.mp4").read_bytes() + b"".join(each.read_bytes() for each in files))


def test_every_segment_is_one_chunk_and_can_be_decoded_by_itself(written: Written) -> None:
    assert (written.stream.n_segments, written.stream.sizes) == (3, ((32, 32), (64, 64)))
    for number in (0, 1):
        shown = 0
        for index, count in enumerate(COUNTS):
            with av.open(_joined(written.folder, number, slice(index, index + 1))) as container:
                frames = list(container.decode(video=0))
            assert len(frames) == count
            assert frames[0].pts * frames[0].time_base == shown / FPS
            if number == 1:
                numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in frames]
                assert numbers == list(range(shown, shown + count))
            shown += count


def test_sound_is_whole_and_cut_where_chunks_start(written: Written) -> None:
    with av.open(_joined(written.folder, 2)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].layout.name == "stereo"
    assert frames[0].pts == 0
    assert N_SAMPLES <= sum(frame.samples for frame in frames) < N_SAMPLES + 1024
    for index in range(3):
        with av.open(_joined(written.folder, 2, slice(index, index + 1))) as container:
            packets = [packet for packet in container.demux(audio=0) if packet.size]
        start_s = packets[0].pts * packets[0].time_base
        assert -Fraction(1024, 16000) <= start_s - sum(COUNTS[:index]) / FPS <= Fraction(1024, 16000)


def test_dash_says_exact_lengths_and_bit_rates(written: Written) -> None:
    mpd = Xml.fromstring((written.folder / "manifest.mpd").read_text())  # noqa: S314 - written by this test
    assert mpd.attrib["mediaPresentationDuration"] == f"PT{max(47 / float(FPS), N_SAMPLES / 16000):.6f}S"
    representations = mpd.findall(".//d:Representation", NAMESPACE)
    assert [each.attrib["id"] for each in representations] == ["0", "1", "2", "captions"]
    for each in representations[:2]:
        times = each.findall(".//d:S", NAMESPACE)
        clock_hz = int(each.find("d:SegmentTemplate", NAMESPACE).attrib["timescale"])  # type: ignore[union-attr]
        lengths = [
            Fraction(int(time.attrib["d"]), clock_hz) for time in times for _ in range(1 + int(time.attrib.get("r", 0)))
        ]
        assert lengths == [count / FPS for count in COUNTS]
        sizes = [path.stat().st_size for path in sorted(written.folder.glob(f"segment_{each.attrib['id']}_*.m4s"))]
        peak = max(8 * size / length for size, length in zip(sizes, lengths, strict=True))
        assert int(each.attrib["bandwidth"]) == pytest.approx(float(peak), abs=1)
        assert re.match(r"avc1\.|hvc1\.|av01\.|vp09\.", each.attrib["codecs"])


def test_hls_lists_the_same_segments_sizes_and_captions(written: Written) -> None:
    master = (written.folder / "master.m3u8").read_text()
    assert re.findall(r"RESOLUTION=(\d+x\d+)", master) == ["32x32", "64x64"]
    assert master.count('AUDIO="sound"') == master.count('SUBTITLES="captions"') == 2
    assert 'CHANNELS="2"' in master
    for name in re.findall(r"^media_\d\.m3u8$|(?<=URI=\")[^\"]+", master, re.M):
        playlist = (written.folder / name).read_text()
        files = [line for line in playlist.splitlines() if not line.startswith("#")]
        assert files
        assert all((written.folder / file).is_file() for file in files)
        assert "#EXT-X-PLAYLIST-TYPE:VOD" in playlist
        assert "PROGRAM-DATE-TIME" not in playlist
    lengths = re.findall(r"EXTINF:([\d.]+)", (written.folder / "media_1.m3u8").read_text())
    assert [float(length) for length in lengths] == pytest.approx([count / float(FPS) for count in COUNTS], abs=1e-6)
    assert (written.folder / "captions.vtt").read_text() == CAPTIONS
    assert "X-TIMESTAMP-MAP" in (written.folder / "captions_hls.vtt").read_text()


def test_clips_that_are_not_the_plan_are_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", FrameSpan(0, 9), FPS)
    speech = write_flac(tmp_path / "s.flac", voice(4800, 16000), 16000)
    folder = tmp_path / "streaming"
    folder.mkdir()
    with pytest.raises(MediaError, match="must hold 10 frames"):
        write_stream([[clip]], speech, folder, frame_counts=[10], fps=FPS, sound=StreamSound(64))


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [
        ((512, 512), (360, 540, 720, 1080), [(360, 360), (512, 512)]),
        ((1920, 1080), (360, 540, 720, 1080), [(640, 360), (960, 540), (1280, 720), (1920, 1080)]),
        ((720, 1280), (360, 540), [(360, 640), (540, 960), (720, 1280)]),
        ((832, 480), (360,), [(624, 360), (832, 480)]),
        ((192, 192), (360,), [(192, 192)]),
    ],
)
def test_the_ladder_ends_with_the_videos_own_size(
    size: tuple[int, int], sides: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    assert [(rung.width_px, rung.height_px) for rung in rungs(*size, sides)] == expected


def test_names_of_h265_follow_the_standard() -> None:
    """The example of ISO/IEC 14496-15, annex E: Main, level 3.1, progressive and frame-only."""
    record = bytes([1, 0x01, 0x60, 0, 0, 0, 0xB0, 0, 0, 0, 0, 0, 93])
    assert hevc_codecs(record) == "hvc1.1.6.L93.B0"
    assert hevc_codecs(bytes([1, 0x22, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 120])) == "hvc1.2.4.H120.90"
