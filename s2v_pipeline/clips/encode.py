"""One chunk's frames to one clip in the delivered codec: the only lossy step that the picture goes through.

Belongs here: RGB to YUV, one stream in one file, checks of the frames that come and of the file that went out.
Does not belong here: encoders and their options (encoders), making frames (generation), putting clips together
(video.stitch), sound.

What makes clips fit together by copying packets:
- each starts with a key frame (IDR) and its groups of pictures are closed, so no frame refers to another clip;
- there are no B-frames: every frame is decoded in the order it is shown, pts equals dts and starts at exactly 0, and
  the container needs no edit list to hide a decoding delay;
- x264's `stitchable` keeps what depends on the content or the length out of the parameter sets (SPS, PPS), which are
  therefore the same bytes for every clip of one video (libx264, x264.h: b_stitchable). x265 and SVT-AV1 write the same
  bytes without being asked; VP9 has none. Stitching compares them.

SVT-AV1 and libvpx do look ahead and hide frames for later reference, but pack them into one packet with a shown frame,
so that packets stay one a frame, in order.

One thread a clip: workers run side by side, and the same frames give the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from s2v_pipeline.clips.encoders import FORMAT_NAMES, SOFTWARE, encoder_options, keep_quiet, pixel_format
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video_settings import MAX_FPS_NUMERATOR, VideoSettings

logger = logging.getLogger(__name__)

KEYFRAME_INTERVAL_S = 2  # seeking lands within 2 s; shorter intervals cost bytes, longer ones feel slow
BT709_MATRIX = 1  # matrix_coefficients of ITU-T H.273, as AVColorSpace numbers it
HEVC_TAG = "hvc1"  # parameter sets in the header alone; Apple's players refuse FFmpeg's default, hev1

# Accurate rounding and chroma from all source pixels: without them flat colours come back several levels off.
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT


@dataclass(frozen=True)
class ClipInfo:
    """A written and checked clip: its frames and its size on disk."""

    n_frames: int
    size_bytes: int


def encode_clip(
    batches: Iterator[FrameBatch],
    path: Path,
    *,
    frames: FrameSpan,
    fps: Fraction,
    width_px: int,
    height_px: int,
    settings: VideoSettings,
    encoder: str | None = None,
    on_frame: Callable[[], None] | None = None,
) -> ClipInfo:
    """Write the frames as an MP4 with one stream of the codec, batch by batch; not atomic by itself.

    BT.709, limited range, converted with that matrix and tagged so. Of `settings` the codec, bit depth, quality or
    rate, and speed count.

    Args:
        batches: the frames in order, together exactly `frames`.
        path: the file to write; replaced if it exists.
        frames: which frames of the video the clip holds.
        fps: frames a second; the clip's clock counts it exactly.
        width_px, height_px: size of every frame; both even.
        settings: encoder settings.
        encoder: FFmpeg's name of the encoder, as `encoders.choose_encoder` gives it; none means the codec's software.
        on_frame: called after each frame.

    Raises:
        MediaError: frames of another size, rate or place than promised, an encoder failure, or a written file that
            does not hold the frames.
    """
    _check_shape(frames, fps, width_px, height_px)
    encoder = encoder or SOFTWARE[settings.codec]
    try:
        with path.open("wb") as file, av.open(file, "w", format="mp4") as container:
            stream = _add_stream(container, encoder, fps, width_px, height_px, settings)
            converter = VideoReformatter()
            for index, pixels in enumerate(_checked_pixels(batches, frames, fps, width_px, height_px)):
                container.mux(stream.encode(_yuv_frame(converter, pixels, stream.pix_fmt, index, fps)))
                if on_frame is not None:
                    on_frame()
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"frames {frames.start_frame} to {frames.stop_frame} must be encoded to {path.name}",
            got=f"{type(error).__name__}: {error}",
            cure="Check the free disk space and the video settings (`s2v config show`).",
        ) from error

    probe = probe_clip(path)
    n_written = probe.n_frames
    if probe.picture.codec != FORMAT_NAMES[settings.codec]:
        raise MediaError(
            f"clip {path.name} must be {settings.codec}", got=probe.picture.codec, cure="Choose another encoder."
        )
    if n_written != len(frames):
        raise MediaError(
            f"clip {path.name} must hold {len(frames)} frames", got=f"{n_written}", cure="Make the clip again."
        )
    info = ClipInfo(n_written, path.stat().st_size)
    logger.debug("encoded clip %s: %d frames, %d bytes", path.name, info.n_frames, info.size_bytes)
    return info


def _check_shape(frames: FrameSpan, fps: Fraction, width_px: int, height_px: int) -> None:
    if not len(frames) or min(width_px, height_px) <= 0 or width_px % 2 or height_px % 2:
        raise MediaError(
            "a clip needs frames, and an even width and height, as 4:2:0 video stores half of each for colour",
            got=f"{len(frames)} frames of {width_px}x{height_px}",
            cure="Set video.width_px and video.height_px to even numbers.",
        )
    if fps <= 0 or fps.numerator > MAX_FPS_NUMERATOR:
        raise MediaError(
            f"a frame rate must be positive with a numerator of at most {MAX_FPS_NUMERATOR}",
            got=f"{fps}",
            cure="Write a rate such as 29.97 exactly, as '30000/1001'.",
        )


def _add_stream(
    container: OutputContainer, encoder: str, fps: Fraction, width_px: int, height_px: int, settings: VideoSettings
) -> VideoStream:
    keep_quiet(encoder)
    added = container.add_stream(
        encoder,
        rate=fps,
        options=encoder_options(encoder, settings),
        time_base=1 / fps,
        width=width_px,
        height=height_px,
    )
    stream = cast("VideoStream", added)
    stream.pix_fmt = pixel_format(encoder, settings.bit_depth)
    context = stream.codec_context
    context.thread_count = 1
    context.gop_size = max(1, int(KEYFRAME_INTERVAL_S * fps))
    context.max_b_frames = 0
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.colorspace = BT709_MATRIX
    context.color_range = ColorRange.MPEG
    if settings.codec == "h265":
        context.codec_tag = HEVC_TAG
    if settings.bitrate_kbps is not None:
        context.bit_rate = settings.bitrate_kbps * 1000
    return stream


def _checked_pixels(
    batches: Iterator[FrameBatch], frames: FrameSpan, fps: Fraction, width_px: int, height_px: int
) -> Iterator[NDArray[np.uint8]]:
    """Each frame's pixels, once its batch is known to be the one that must come next."""
    next_frame = frames.start_frame
    for batch in batches:
        size = (batch.pixels.shape[2], batch.pixels.shape[1])
        if batch.fps != fps or size != (width_px, height_px):
            raise MediaError(
                f"frames must be {width_px}x{height_px} at {fps} frames a second",
                got=f"{size[0]}x{size[1]} at {batch.fps}",
                cure="The generator's decode() must keep to the request's size and rate.",
            )
        if batch.start_frame != next_frame or batch.span.stop_frame > frames.stop_frame:
            raise MediaError(
                f"frames {next_frame} to at most {frames.stop_frame} must come next",
                got=f"{batch.start_frame} to {batch.span.stop_frame}",
                cure="The generator's decode() must give the request's frames in order, each once.",
            )
        yield from batch.pixels
        next_frame = batch.span.stop_frame
    if next_frame != frames.stop_frame:
        raise MediaError(
            f"frames must be given up to {frames.stop_frame}",
            got=f"an end at {next_frame}",
            cure="The generator's decode() must give all frames of the request.",
        )


def _yuv_frame(
    converter: VideoReformatter, pixels: NDArray[np.uint8], pixel_format_: str | None, index: int, fps: Fraction
) -> VideoFrame:
    frame = converter.reformat(
        VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
        format=pixel_format_,
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALING,
        threads=1,
    )
    frame.pts = index
    frame.time_base = 1 / fps
    return frame
