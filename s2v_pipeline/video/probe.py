"""What a delivered video really is, read back from the file.

Belongs here: counting packets, exact start and length of picture and sound, tags, faststart.
Does not belong here: comparing with the speech (video.audio_difference), looking at pixels (video.picture_checks).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from s2v_pipeline.clips.container import is_webm, only_video_stream, open_video
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.boxes import MovieLayout, TrackEdit, read_movie_layout
from s2v_pipeline.video.ebml import cues_come_first
from s2v_pipeline.video.sound import AAC_FRAME_SAMPLES


@dataclass(frozen=True)
class ColorTags:
    """How the stream says its numbers mean colours: code points of ITU-T H.273; 1, 1, 1 is BT.709, 2 is unknown.

    Attributes:
        primaries, transfer, matrix: ColourPrimaries, TransferCharacteristics, MatrixCoefficients.
        full_range: False for 16-235.
    """

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


@dataclass(frozen=True)
class VideoProbe:
    """A video file. All times are exact seconds on the player's clock.

    Attributes:
        codec, pix_fmt: FFmpeg's names, "h264", "hevc", "av1", "vp9"; "yuv420p", "yuv420p10le".
        width_px, height_px: size of the picture.
        fps: frames a second.
        n_frames: counted packets of the picture.
        video_start_s, video_duration_s: when the first frame appears, and until when the last one stays.
        audio_codec, audio_rate_hz, audio_channels: of the sound; None, 0, 0 where there is none.
        audio_start_s: when the first sample that is heard sounds.
        audio_duration_s: length of what a player hears, without the encoder's priming and padding (edit list).
        audio_decoded_s: length that a decoder gives that cuts the priming but not the padding of the last AAC frame.
        faststart: the index lies before the media, so that a browser plays and seeks while it loads.
        color: tags of the picture.
        size_bytes: of the file.
    """

    codec: str
    pix_fmt: str
    width_px: int
    height_px: int
    fps: Fraction
    n_frames: int
    video_start_s: Fraction
    video_duration_s: Fraction
    audio_codec: str | None
    audio_rate_hz: int
    audio_channels: int
    audio_start_s: Fraction
    audio_duration_s: Fraction
    audio_decoded_s: Fraction
    faststart: bool
    color: ColorTags
    size_bytes: int


def probe_video(path: Path) -> VideoProbe:
    """Read a video: its index, all packets of the picture, and all of the sound, decoded.

    Raises:
        MediaError: not a readable video with one picture and at most one sound, or one whose edit list and decoded
            sound contradict each other.
    """
    layout = MovieLayout(cues_come_first(path), ()) if is_webm(path) else read_movie_layout(path)
    with open_video(path) as container:
        stream = only_video_stream(container, path.name)
        context = stream.codec_context
        n_frames, first_tick = _count_frames(container, stream)
        time_base = stream.time_base or Fraction(0)
        duration_s = _picture_duration(path, container, stream, layout, n_frames)
        size = (context.width, context.height)
        color = ColorTags(
            primaries=context.color_primaries,
            transfer=context.color_trc,
            matrix=context.colorspace,
            full_range=context.color_range == _FULL_RANGE,
        )
        codec, pix_fmt, fps = context.codec.canonical_name, context.pix_fmt, stream.average_rate
    if not n_frames or duration_s is None or fps is None or pix_fmt is None:
        raise MediaError(
            f"{path.name} must hold frames at a known rate",
            got=f"{n_frames} frames at {fps}",
            cure="Make the video again.",
        )
    sound = _probe_sound(path, layout.track("audio"))
    return VideoProbe(
        codec=codec,
        pix_fmt=pix_fmt,
        width_px=size[0],
        height_px=size[1],
        fps=fps,
        n_frames=n_frames,
        video_start_s=first_tick * time_base,
        video_duration_s=duration_s,
        audio_codec=sound.codec,
        audio_rate_hz=sound.rate_hz,
        audio_channels=sound.channels,
        audio_start_s=sound.start_s,
        audio_duration_s=sound.duration_s,
        audio_decoded_s=sound.decoded_s,
        faststart=layout.faststart,
        color=color,
        size_bytes=path.stat().st_size,
    )


_WEBM_TICK_S = Fraction(1, 1000)  # TimestampScale as FFmpeg writes it; WebM's guidelines ask for no other
_FULL_RANGE = 2  # AVColorRange: 1 is MPEG (16-235), 2 is JPEG (0-255)


@dataclass(frozen=True)
class _Sound:
    codec: str | None = None
    rate_hz: int = 0
    channels: int = 0
    start_s: Fraction = Fraction(0)
    duration_s: Fraction = Fraction(0)
    decoded_s: Fraction = Fraction(0)


def _picture_duration(
    path: Path, container: InputContainer, stream: VideoStream, layout: MovieLayout, n_frames: int
) -> Fraction | None:
    """Length of the picture: an MP4's edit list says it; a WebM's clock counts milliseconds and says it nearly."""
    if not is_webm(path):
        edit = layout.track("video")
        return None if edit is None else edit.duration_s
    if stream.average_rate is None:
        return None
    container.seek(0)
    for index, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
        off_s = (packet.pts or 0) * packet.time_base - frame_start_s(index, stream.average_rate)
        if abs(off_s) > _WEBM_TICK_S:
            raise MediaError(
                f"frame {index} of {path.name} must lie within {_WEBM_TICK_S} s of its place",
                got=f"{float(off_s):.4f} s beside it",
                cure="Make the video again.",
            )
    return frame_start_s(n_frames, stream.average_rate)


def _count_frames(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    """(number of packets, the earliest pts, in which the demuxer has already counted the edit list)."""
    n_frames, first_tick = 0, 0
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            first_tick = packet.pts if n_frames == 0 else min(first_tick, packet.pts)
            n_frames += 1
    return n_frames, first_tick


def _probe_sound(path: Path, edit: TrackEdit | None) -> _Sound:
    with open_video(path) as container:
        streams = container.streams.audio
        if not streams or (edit is None and not is_webm(path)):
            return _Sound()
        if len(streams) > 1:
            raise MediaError(
                f"{path.name} must hold one sound", got=f"{len(streams)}", cure="Give a video that this pipeline made."
            )
        stream = streams[0]
        context = stream.codec_context
        codec, rate_hz, channels = context.codec.canonical_name, context.sample_rate, context.channels
        first_s, n_decoded = _decode_sound(container, stream)
    decoded_s = Fraction(n_decoded, rate_hz)
    if edit is None:  # a WebM says in its last packet what is padding, and the decoder keeps to it
        return _Sound(codec, rate_hz, channels, first_s, decoded_s, decoded_s)
    padding_s = decoded_s - edit.duration_s
    if first_s != edit.start_s or not 0 <= padding_s < Fraction(AAC_FRAME_SAMPLES, rate_hz):
        raise MediaError(
            f"the decoded sound of {path.name} must start where its edit list says and be longer by less than a frame",
            got=f"start {first_s} s for {edit.start_s} s, length {decoded_s} s for {edit.duration_s} s",
            cure="Make the video again.",
        )
    return _Sound(codec, rate_hz, channels, first_s, edit.duration_s, decoded_s)


def _decode_sound(container: InputContainer, stream: AudioStream) -> tuple[Fraction, int]:
    """(time of the first decoded sample, number of decoded samples)."""
    first_s, n_samples = Fraction(0), 0
    for frame in container.decode(stream):
        if n_samples == 0 and frame.pts is not None and frame.time_base is not None:
            first_s = frame.pts * frame.time_base
        n_samples += frame.samples
    return first_s, n_samples
