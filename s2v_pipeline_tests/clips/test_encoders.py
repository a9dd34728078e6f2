"""Encoders: which one is used, quality and speed in each one's own numbers, colours in every codec."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from s2v_pipeline.clips import encoders
from s2v_pipeline.clips.container import open_mp4
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.encoders import (
    FORMAT_NAMES,
    HARDWARE,
    SOFTWARE,
    choose_encoder,
    encoder_options,
    encoding_of,
    own_quality,
    why_not,
)
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video_settings import Codec
from s2v_pipeline_tests.video.material import picture

FPS = Fraction(25)
SIDE_PX = 96
CODECS: tuple[Codec, ...] = get_args(Codec)
DEPTHS = [(codec, depth) for codec in CODECS for depth in (8, 10) if (codec, depth) != ("vp9", 10)]
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120))


def _settings(codec: Codec, depth: int = 8, **changed: int) -> VideoSettings:
    return VideoSettings.model_validate(
        {"width_px": SIDE_PX, "height_px": SIDE_PX, "codec": codec, "bit_depth": depth, **changed}
    )


def _moving(span: FrameSpan) -> Iterator[FrameBatch]:
    pixels = [picture(frame, SIDE_PX) for frame in range(span.start_frame, span.stop_frame)]
    yield FrameBatch(np.stack(pixels), FPS, span.start_frame)


def _encode(path: Path, frame_batches: Iterator[FrameBatch], span: FrameSpan, settings: VideoSettings) -> Path:
    encode_clip(frame_batches, path, frames=span, fps=FPS, width_px=SIDE_PX, height_px=SIDE_PX, settings=settings)
    return path


@pytest.mark.parametrize(("codec", "depth"), DEPTHS)
def test_clips_fit_together_whatever_they_hold(tmp_path: Path, codec: Codec, depth: int) -> None:
    """One packet a frame in order from 0, a key frame first, the same parameter sets for other content and quality."""
    noise = np.random.default_rng(0).integers(0, 256, (9, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    settings, rough = _settings(codec, depth), _settings(codec, depth, crf=30)
    clips = [
        _encode(tmp_path / "a.mp4", _moving(FrameSpan(0, 60)), FrameSpan(0, 60), settings),
        _encode(tmp_path / "b.mp4", iter([FrameBatch(noise, FPS, 0)]), FrameSpan(0, 9), rough),
        _encode(tmp_path / "c.mp4", _moving(FrameSpan(7, 8)), FrameSpan(7, 8), settings),
    ]
    assert len({probe_clip(clip).picture for clip in clips}) == 1
    assert probe_clip(clips[0]).picture.codec == FORMAT_NAMES[codec]
    with open_mp4(clips[0]) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.pts * packet.time_base for packet in packets] == [index / FPS for index in range(60)]
    assert all(packet.pts == packet.dts for packet in packets)
    assert packets[0].is_keyframe


@pytest.mark.parametrize(("codec", "depth"), DEPTHS)
def test_colours_are_tagged_and_converted_as_bt709(tmp_path: Path, codec: Codec, depth: int) -> None:
    """Decoded Y, Cb and Cr of flat colours against the formula of ITU-R BT.709-6, table 3, computed here."""
    stripe_px = SIDE_PX // len(COLOURS)
    stripes = np.repeat(np.array(COLOURS, np.uint8), stripe_px, axis=0)[None].repeat(SIDE_PX, axis=0)
    frame_batch = FrameBatch(np.stack([stripes] * 3), FPS, 0)
    clip = _encode(tmp_path / "c.mp4", iter([frame_batch]), FrameSpan(0, 3), _settings(codec, depth, crf=4))
    with open_mp4(clip) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == ("yuv420p" if depth == 8 else "yuv420p10le")
    steps = 2 ** (depth - 8)
    luma_plane, chroma = (
        frames[-1][:SIDE_PX] / steps,
        frames[-1][SIDE_PX:].reshape(2, SIDE_PX // 2, SIDE_PX // 2) / steps,
    )
    for index, (red, green, blue) in enumerate(np.array(COLOURS) / 255):
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        expected = (
            16 + 219 * luma,
            128 + 224 * (blue - luma) / (2 * (1 - 0.0722)),
            128 + 224 * (red - luma) / (2 * (1 - 0.2126)),
        )
        middle_px = index * stripe_px + stripe_px // 2
        decoded = (luma_plane[:, middle_px].mean(), *chroma[:, :, middle_px // 2].mean(axis=1))
        assert decoded == pytest.approx(expected, abs=2)


def test_a_rate_is_aimed_at_instead_of_a_quality(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for codec in CODECS:
        sizes = []
        for kbps in (100, 400):
            settings = _settings(codec, bitrate_kbps=kbps)
            assert not {"crf"} & set(encoder_options(SOFTWARE[codec], settings))
            clip = _encode(tmp_path / "r.mp4", iter([FrameBatch(noise, FPS, 0)]), FrameSpan(0, 50), settings)
            sizes.append(clip.stat().st_size)
        assert sizes[1] > 1.5 * sizes[0], codec


def test_quality_grows_in_every_encoder_with_that_of_x264() -> None:
    for encoder in SOFTWARE.values():
        numbers = [own_quality(encoder, crf) for crf in range(41)]
        assert numbers == sorted(numbers)
        assert numbers[18] < numbers[28]
    assert [own_quality("libx264", crf) for crf in range(41)] == list(range(41))


def test_keys_of_clips_that_exist_stay() -> None:
    """A clip in H.264 with the defaults keeps the key that it had when there was no other codec."""
    assert encoding_of(VideoSettings(), SOFTWARE["h264"]) == {
        "width_px": 512,
        "height_px": 512,
        "fps": "25",
        "crf": 18,
        "x264_preset": "veryfast",
    }
    changed = [
        encoding_of(VideoSettings(bit_depth=10), SOFTWARE["h264"]),
        encoding_of(VideoSettings(bitrate_kbps=900), SOFTWARE["h264"]),
        encoding_of(VideoSettings(codec="vp9"), SOFTWARE["vp9"]),
        encoding_of(VideoSettings(), HARDWARE["h264"][0]),
    ]
    assert len({str(sorted(each.items())) for each in [*changed, encoding_of(VideoSettings(), SOFTWARE["h264"])]}) == 5


def test_an_encoder_that_does_not_work_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"video\.codec vp9 with video\.bit_depth 10") as caught:
        choose_encoder("vp9", 10, "software")
    assert "libvpx-vp9" in caught.value.got


def test_hardware_is_tried_first_and_software_is_what_remains(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def only_software(encoder: str, bit_depth: int) -> str:
        tried.append(encoder)
        return "" if encoder in SOFTWARE.values() else "no card"

    monkeypatch.setattr(encoders, "why_not", only_software)
    assert choose_encoder("h265", 8, "auto") == "libx265"
    assert tried == [*HARDWARE["h265"], "libx265"]
    assert "libx265 is used" in caplog.text
    with pytest.raises(SettingsError, match="needs an encoder that works here"):
        choose_encoder("h265", 8, "hardware")
    monkeypatch.setattr(encoders, "why_not", lambda encoder, bit_depth: "")
    assert choose_encoder("h265", 8, "auto") == "hevc_nvenc"


def test_what_is_tried_really_encodes() -> None:
    assert [why_not(encoder, 8) for encoder in SOFTWARE.values()] == [""] * 4
    assert why_not("no_such_encoder", 8) == "not in this build of FFmpeg"
