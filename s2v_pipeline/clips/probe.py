"""What a clip's container says about its picture, read back from the file.

Belongs here: reading a clip's codec parameters and counting its packets.
Does not belong here: decoding frames, sound, judging a delivered video (video.probe).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.video.stream import VideoStream

from s2v_pipeline.clips.container import only_video_stream, open_mp4
from s2v_pipeline.errors import MediaError

_WITHOUT_EXTRADATA = ("vp9",)


@dataclass(frozen=True)
class PictureFormat:
    """All that two clips must share for their packets to follow each other in one stream.

    Attributes:
        codec: FFmpeg's name of the codec, "h264", "hevc", "av1", "vp9".
        width_px, height_px: size of the picture.
        time_base: length of one tick of the stream's clock, in seconds.
        extradata: parameter sets (of H.264: SPS, PPS) as the container stores them; a decoder reads them once. VP9 has
            none.
    """

    codec: str
    width_px: int
    height_px: int
    time_base: Fraction
    extradata: bytes


@dataclass(frozen=True)
class ClipProbe:
    """A clip's picture format and the number of its packets (one a frame)."""

    picture: PictureFormat
    n_frames: int


def picture_format(stream: VideoStream, name: str) -> PictureFormat:
    """The format of an opened stream.

    Raises:
        MediaError: the stream has no clock, or no parameter sets where its codec has them.
    """
    context = stream.codec_context
    codec = context.codec.canonical_name  # the context's own name is the decoder's, such as libdav1d
    if stream.time_base is None or (context.extradata is None and codec not in _WITHOUT_EXTRADATA):
        raise MediaError(
            f"{name} must have a time base and parameter sets",
            got=f"time base {stream.time_base}, {context.extradata_size} bytes of parameter sets",
            cure="Make the clip again.",
        )
    return PictureFormat(codec, context.width, context.height, stream.time_base, bytes(context.extradata or b""))


def probe_clip(path: Path) -> ClipProbe:
    """Read a clip's format and count its packets; nothing is decoded.

    Raises:
        MediaError: not a readable MP4 with one video stream.
    """
    with open_mp4(path) as container:
        stream = only_video_stream(container, path.name)
        picture = picture_format(stream, path.name)
        n_frames = sum(1 for packet in container.demux(stream) if packet.size)
    return ClipProbe(picture, n_frames)
