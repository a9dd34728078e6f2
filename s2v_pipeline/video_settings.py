"""Settings of the delivered picture and sound, and of what is delivered beside them.

Belongs here: the groups `video` and `delivery`, and which codec goes into which container.
Does not belong here: the other groups and the presets (setting_groups), acting on a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from s2v_pipeline.setting_values import Group, Numbers, Rate

MAX_FPS_NUMERATOR = 10**6  # clocks of MP4 tracks are 32 bits; 30000/1001 and 23976/1000 are far below

Codec = Literal["h264", "h265", "av1", "vp9"]
Container = Literal["mp4", "mov", "webm"]

CODECS_OF: Mapping[Container, tuple[Codec, ...]] = {
    "mp4": ("h264", "h265", "av1", "vp9"),
    "mov": ("h264", "h265"),  # QuickTime has no names for the others
    "webm": ("av1", "vp9"),  # the WebM project's container guidelines allow VP8, VP9 and AV1
}
"""What may go into a container; mp4 takes everything."""


class VideoSettings(Group):
    """The picture and sound that are delivered."""

    width_px: int = Field(512, ge=64, le=4096, description="even, as 4:2:0 video needs")
    height_px: int = Field(512, ge=64, le=4096, description="even, as 4:2:0 video needs")
    framing: Literal["face", "picture"] = Field(
        "face",
        description="face: cropped around the face to exactly width_px x height_px; picture: the whole picture, "
        "width_px x height_px at most in area",
    )
    fps: Rate = Field(Fraction(25), description="frames a second, exact: 25, 30, '30000/1001'")
    codec: Codec = Field("h264", description="h264 plays everywhere; the others are smaller and slower to make")
    container: Container = Field("mp4", description="mov takes h264 and h265, webm takes av1 and vp9")
    bit_depth: int = Field(8, ge=8, le=10, multiple_of=2, description="8 or 10; 10 has finer steps, fewer players")
    crf: int = Field(
        18, ge=0, le=40, description="quality on x264's scale, lower is better and larger; other codecs get their own"
    )
    bitrate_kbps: int | None = Field(
        None, ge=50, le=200_000, description="aim at this rate instead of at a quality; none means crf"
    )
    x264_preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        "veryfast", description="speed by x264's names; the other encoders' speeds follow it"
    )
    audio_kbps: int = Field(160, ge=32, le=320, description="bit rate of AAC (mp4, mov) or Opus (webm)")
    audio_channels: Literal["source", "mono", "stereo"] = Field(
        "source", description="mono is the mean of both; stereo of a mono recording is the same twice"
    )

    @field_validator("width_px", "height_px")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    @field_validator("fps")
    @classmethod
    def _sane_rate(cls, value: Fraction) -> Fraction:
        if not 1 <= value <= 120:
            raise ValueError("must lie between 1 and 120")
        if value.numerator > MAX_FPS_NUMERATOR:
            raise ValueError(f"must have a numerator of at most {MAX_FPS_NUMERATOR}, such as 30000/1001 for 29.97")
        return value

    @field_validator("container")
    @classmethod
    def _takes_the_codec(cls, value: Container, info: ValidationInfo) -> Container:
        # The default, mp4, takes every codec; so this need not run where only the codec is set.
        codec = info.data.get("codec")
        if codec is not None and codec not in CODECS_OF[value]:
            raise ValueError(f"must be a container that takes {codec}: {value} takes {' and '.join(CODECS_OF[value])}")
        return value


class DeliverySettings(Group):
    """What lies beside and inside the delivered file."""

    streaming: bool = Field(False, description="also HLS and DASH, in the folder streaming/ beside the video")
    ladder: Numbers = Field(
        (360, 540, 720, 1080),
        description="shorter sides of the streams' pictures in pixels, up to the video's; its own is always there",
    )
    embed_captions: bool = Field(True, description="captions inside the file, too, where there is a transcript")
    burn_captions: Literal["off", "box", "outline"] = Field(
        "off", description="captions drawn into the picture, too: white on a dark board, or with a dark outline"
    )
    burn_place: Literal["bottom", "top"] = Field("bottom", description="where they are drawn")
    chapters: bool = Field(True, description="chapters at pauses, where there is a transcript and at least two fit")
    chapter_s: float = Field(30, ge=5, description="least length of a chapter")
    preview: Literal["off", "webp", "gif"] = Field("off", description="a short moving picture of the beginning")
    audio_file: bool = Field(False, description="the sound alone as .m4a")
    thumbnails: bool = Field(False, description="small pictures for a player's seek bar: one sheet and a .vtt")

    @field_validator("ladder")
    @classmethod
    def _even_sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 or not 64 <= size <= 4096 for size in value):
            raise ValueError("must be even numbers from 64 to 4096")
        return tuple(sorted(set(value)))
