"""One chunk's frames to one clip."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.clips.container import open_mp4
from s2v_pipeline.clips.encode import KEYFRAME_INTERVAL_S, encode_clip
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline_tests.video.material import SETTINGS, SIDE_PX, batches, picture, write_clip

FPS = Fraction(25)
RATES = (Fraction(25), Fraction(30000, 1001), Fraction(16), Fraction(24000, 1001), Fraction(120))


def _encode(path: Path, *frame_batches: FrameBatch, frames: FrameSpan) -> None:
    encode_clip(
        iter(frame_batches), path, frames=frames, fps=FPS, width_px=SIDE_PX, height_px=SIDE_PX, settings=SETTINGS
    )


def _batch(n_frames: int, start_frame: int = 0, *, side_px: int = SIDE_PX, fps: Fraction = FPS) -> FrameBatch:
    return FrameBatch(np.zeros((n_frames, side_px, side_px, 3), np.uint8), fps, start_frame)


@pytest.mark.parametrize("fps", RATES)
def test_packets_lie_exactly_on_the_frame_grid_without_reordering(tmp_path: Path, fps: Fraction) -> None:
    n_frames = int(5 * fps) + 1 if fps < 100 else 250
    info = encode_clip(
        batches(FrameSpan(50, 50 + n_frames), fps),
        tmp_path / "clip.mp4",
        frames=FrameSpan(50, 50 + n_frames),
        fps=fps,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        settings=SETTINGS,
    )
    with open_mp4(tmp_path / "clip.mp4") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert stream.average_rate == fps
        assert stream.start_time == 0
    times_s = [packet.pts * packet.time_base for packet in packets]
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]

    assert info.n_frames == n_frames == len(packets)
    assert info.size_bytes == (tmp_path / "clip.mp4").stat().st_size
    assert times_s == [index / fps for index in range(n_frames)]
    assert all(packet.pts == packet.dts for packet in packets)
    assert keys[0] == 0
    assert max(np.diff([*keys, n_frames])) <= KEYFRAME_INTERVAL_S * fps


def test_first_packet_is_an_idr_frame(tmp_path: Path) -> None:
    with open_mp4(write_clip(tmp_path / "clip.mp4", FrameSpan(0, 3), FPS)) as container:
        data = bytes(next(packet for packet in container.demux(video=0) if packet.size))
    kinds, offset = [], 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        kinds.append(data[offset + 4] & 0x1F)
        offset += 4 + length
    assert 5 in kinds  # nal_unit_type of an IDR slice, ITU-T H.264 table 7-1
    assert 1 not in kinds


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_parameter_sets_do_not_depend_on_length_content_or_crf(tmp_path: Path, fps: Fraction) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    black = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)
    formats = set()
    for pixels, crf in ((noise, 18), (noise[:1], 18), (black, 18), (noise[:9], 30)):
        encode_clip(
            iter([FrameBatch(pixels, fps, 0)]),
            tmp_path / "clip.mp4",
            frames=FrameSpan(0, len(pixels)),
            fps=fps,
            width_px=SIDE_PX,
            height_px=SIDE_PX,
            settings=VideoSettings(crf=crf),
        )
        formats.add(probe_clip(tmp_path / "clip.mp4").picture)
    assert len(formats) == 1


def test_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_clip(tmp_path / name, FrameSpan(0, 60), FPS) for name in ("a.mp4", "b.mp4"))
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)}
    assert len(digests) == 1


def test_pure_colours_come_back_and_are_tagged_bt709(tmp_path: Path) -> None:
    colours = np.array(
        [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
        + [[128, 128, 128], [224, 172, 140], [90, 56, 37], [20, 30, 200]],
        np.uint8,
    )
    pixels = np.broadcast_to(colours[:, None, None, :], (len(colours), SIDE_PX, SIDE_PX, 3)).copy()
    path = tmp_path / "clip.mp4"
    _encode(path, FrameBatch(pixels, FPS, 0), frames=FrameSpan(0, len(colours)))

    decoded = np.stack([frame.pixels for frame in iter_frames(path)]).astype(int)
    assert np.abs(decoded - pixels).max() <= 3
    with open_mp4(path) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"
        luma = [frame.to_ndarray()[:SIDE_PX] for frame in container.decode(video=0)]
    # BT.709 limited range: black 16, white 235, green 173 (BT.601 would give 145).
    assert abs(int(luma[0][32, 32]) - 16) <= 1
    assert abs(int(luma[7][32, 32]) - 235) <= 1
    assert abs(int(luma[2][32, 32]) - 173) <= 1


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ([_batch(3), _batch(2, 4)], "must come next"),
        ([_batch(3), _batch(4, 3)], "must come next"),
        ([_batch(3, 1)], "must come next"),
        ([_batch(3)], "an end at 3"),
        ([_batch(6, side_px=32)], "32x32"),
        ([_batch(6, fps=Fraction(24))], "at 24"),
        ([], "an end at 0"),
    ],
)
def test_frames_other_than_promised_are_refused(tmp_path: Path, given: list[FrameBatch], part: str) -> None:
    with pytest.raises(MediaError, match=part):
        _encode(tmp_path / "clip.mp4", *given, frames=FrameSpan(0, 6))


def test_shapes_that_4_2_0_or_a_clock_cannot_hold_are_refused(tmp_path: Path) -> None:
    for width_px, fps, frames in (
        (65, FPS, FrameSpan(0, 1)),
        (64, Fraction(2997002997, 10**8), FrameSpan(0, 1)),
        (64, FPS, FrameSpan(3, 3)),
    ):
        with pytest.raises(MediaError):
            encode_clip(
                iter([]), tmp_path / "c.mp4", frames=frames, fps=fps, width_px=width_px, height_px=64, settings=SETTINGS
            )


def test_a_folder_that_is_missing_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="FileNotFoundError"):
        write_clip(tmp_path / "absent" / "clip.mp4", FrameSpan(0, 1), FPS)


def test_the_picture_survives(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", FrameSpan(100, 130), FPS)
    for frame in iter_frames(path):
        error = frame.pixels.astype(float) - picture(100 + frame.index)
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 30  # 4:2:0 blurs the number's cells; crf 18 adds little
