"""Which encoder makes a codec, whether it works here, and its options.

Belongs here: names of encoders, trying them, settings as each encoder's own options.
Does not belong here: frames, containers (encode), which settings there are (video_settings).

An encoder of FFmpeg is there or not by how the library was built, and works or not by the machine's hardware and
drivers; so each one that is asked for encodes a few frames first, once a process.
"""

from __future__ import annotations

import functools
import io
import logging
import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, cast

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.video_settings import Codec, VideoSettings

Wanted = Literal["software", "auto", "hardware"]

SOFTWARE: Mapping[Codec, str] = {"h264": "libx264", "h265": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
# NVIDIA, Apple, Intel, AMD, then what needs frames on the card, which PyAV cannot hand over in every build.
HARDWARE: Mapping[Codec, tuple[str, ...]] = {
    "h264": ("h264_nvenc", "h264_videotoolbox", "h264_qsv", "h264_amf", "h264_vaapi"),
    "h265": ("hevc_nvenc", "hevc_videotoolbox", "hevc_qsv", "hevc_amf", "hevc_vaapi"),
    "av1": ("av1_nvenc", "av1_qsv", "av1_amf", "av1_vaapi"),
    "vp9": ("vp9_qsv", "vp9_vaapi"),
}

FORMAT_NAMES: Mapping[Codec, str] = {"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9"}
"""FFmpeg's names of the codecs themselves."""

ENCODER_SOURCE = "encoder"
"""Under which a clip's provenance record names its encoder, among its sources."""

# Closed groups of pictures; parameter sets without traces of the content; the same bytes on every kind of processor.
_X264_PARAMS = "open-gop=0:stitchable=1:cpu-independent=1"
# The same for x265: no reordering, no message with the encoder's options in the stream, one thread.
_X265_PARAMS = "open-gop=0:bframes=0:info=0:pools=none:frame-threads=1:wpp=0:repeat-headers=0:log-level=none"
# lp: one thread. irefresh-type 2: closed groups.
_SVT_AV1_PARAMS = "lp=1:irefresh-type=2"

# Speeds by x264's names -> SVT-AV1's preset (0 slow to 13 fast), libvpx's cpu-used (0 slow to 5 fast with "good").
_SVT_AV1_PRESETS = {
    "ultrafast": 12,
    "superfast": 11,
    "veryfast": 10,
    "faster": 9,
    "fast": 8,
    "medium": 6,
    "slow": 4,
}
_VP9_CPU_USED = {"ultrafast": 5, "superfast": 5, "veryfast": 4, "faster": 4, "fast": 3, "medium": 2, "slow": 1}
# NVENC's p1 (fast) to p7; the others have names of their own and take their default.
_NVENC_PRESETS = {"ultrafast": 1, "superfast": 2, "veryfast": 3, "faster": 4, "fast": 5, "medium": 6, "slow": 7}

_PROBE_SIDE_PX = 256  # hardware encoders refuse very small pictures
_PROBE_FRAMES = 3

_log = logging.getLogger(__name__)


def pixel_format(encoder: str, bit_depth: int) -> str:
    """4:2:0 as the encoder takes it: what every player decodes."""
    if bit_depth == 8:
        return "yuv420p"
    return "yuv420p10le" if encoder in SOFTWARE.values() else "p010le"


def own_quality(encoder: str, crf: int) -> int:
    """The encoder's own quality number for a `crf` of x264.

    Fitted to equal PSNR of the luma on talking portraits; benchmarks/delivery.py measures it again.
    """
    if encoder == "libx264":
        return crf
    slope, offset, least, most = _QUALITY_FITS.get(encoder, (1.0, 0.0, 1, 51))
    return max(least, min(most, round(slope * crf + offset)))


# (slope, offset, least, most) of the encoder's number over x264's. In 10 bits SVT-AV1 gets flat pictures that change at
# once wrong, by more the lower the number is (a third of the luma at 1, 4 % at 16); 20 is already very fine.
_QUALITY_FITS: Mapping[str, tuple[float, float, int, int]] = {
    "libx265": (1.17, -0.2, 1, 51),
    "libsvtav1": (3.1, -25.3, 20, 63),
    "libvpx-vp9": (2.75, -23.0, 1, 63),
}


def encoder_options(encoder: str, settings: VideoSettings) -> dict[str, str]:
    """FFmpeg's options for an encoder: speed, quality, and what makes clips fit together."""
    quality = str(own_quality(encoder, settings.crf))
    rate = settings.bitrate_kbps is not None
    speed = settings.x264_preset
    if encoder == "libx264":
        return {"preset": speed, **({} if rate else {"crf": quality}), "x264-params": _X264_PARAMS}
    if encoder == "libx265":
        return {"preset": speed, **({} if rate else {"crf": quality}), "x265-params": _X265_PARAMS}
    if encoder == "libsvtav1":
        preset = str(_SVT_AV1_PRESETS[speed])
        return {"preset": preset, **({} if rate else {"crf": quality}), "svtav1-params": _SVT_AV1_PARAMS}
    if encoder == "libvpx-vp9":
        constant = {} if rate else {"crf": quality, "b": "0"}
        return {"deadline": "good", "cpu-used": str(_VP9_CPU_USED[speed]), "row-mt": "0", **constant}
    if encoder.endswith("_nvenc"):
        constant = {} if rate else {"rc": "vbr", "cq": quality}
        return {"preset": f"p{_NVENC_PRESETS[speed]}", "forced-idr": "1", **constant}
    if encoder.endswith("_qsv"):
        return {} if rate else {"global_quality": quality}
    return {}


def encoding_of(settings: VideoSettings, encoder: str) -> dict[str, object]:
    """All that changes a clip's bytes for the same frames, as plain values for its key.

    What stands at its default is left out where it came later than the keys of clips that exist.
    """
    used: dict[str, object] = settings.model_dump(
        mode="json", include={"width_px", "height_px", "fps", "crf", "x264_preset"}
    )
    if encoder != SOFTWARE["h264"]:
        used["encoder"] = encoder
    if settings.bit_depth != 8:
        used["bit_depth"] = settings.bit_depth
    if settings.bitrate_kbps is not None:
        used["bitrate_kbps"] = settings.bitrate_kbps
    return used


def choose_encoder(codec: Codec, bit_depth: int, wanted: Wanted) -> str:
    """FFmpeg's name of the encoder that is used: the first that works here, among those that are wanted.

    Raises:
        SettingsError: none works.
    """
    candidates = {
        "software": (SOFTWARE[codec],),
        "hardware": HARDWARE[codec],
        "auto": (*HARDWARE[codec], SOFTWARE[codec]),
    }[wanted]
    reasons = {}
    for encoder in candidates:
        reason = why_not(encoder, bit_depth)
        if not reason:
            if wanted == "auto" and encoder == SOFTWARE[codec]:
                _log.warning("no hardware encoder of %s works here: %s is used", codec, encoder)
            return encoder
        reasons[encoder] = reason
    raise SettingsError(
        f"video.codec {codec} with video.bit_depth {bit_depth} needs an encoder that works here",
        got="; ".join(f"{encoder}: {reason}" for encoder, reason in reasons.items()),
        cure="Choose another video.codec or video.bit_depth, or cluster.video_encoder 'software'.",
    )


def keep_quiet(encoder: str) -> None:
    """Let SVT-AV1 say errors alone: it writes to standard error past FFmpeg's log, and has no option for it."""
    if encoder == SOFTWARE["av1"]:
        os.environ.setdefault("SVT_LOG", "1")


@functools.cache
def why_not(encoder: str, bit_depth: int) -> str:
    """Why an encoder does not work here, found by encoding a few frames; '' where it does."""
    keep_quiet(encoder)
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as container:
            added = container.add_stream(
                encoder,
                rate=Fraction(25),
                options=encoder_options(encoder, VideoSettings()),
                time_base=Fraction(1, 25),
                width=_PROBE_SIDE_PX,
                height=_PROBE_SIDE_PX,
            )
            stream = cast("VideoStream", added)
            stream.pix_fmt = pixel_format(encoder, bit_depth)
            stream.codec_context.thread_count = 1
            stream.codec_context.max_b_frames = 0
            packets: list[Packet[VideoStream]] = []
            for index in range(_PROBE_FRAMES):
                frame = VideoFrame(_PROBE_SIDE_PX, _PROBE_SIDE_PX, stream.pix_fmt)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                packets += stream.encode(frame)
            packets += stream.encode(None)
            container.mux(packets)
    except av.codec.codec.UnknownCodecError:
        return "not in this build of FFmpeg"
    except (av.FFmpegError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return "" if len(packets) == _PROBE_FRAMES else f"{len(packets)} packets of {_PROBE_FRAMES} frames"
