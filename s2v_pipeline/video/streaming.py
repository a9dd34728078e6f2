"""The video as HLS and DASH: CMAF segments that both playlists share, in several sizes, cut where chunks start.

Belongs here: cutting packets into segments with FFmpeg's muxer, what was written.
Does not belong here: the sizes and their clips (ladder), what playlists say (playlists), the single file (mux).

FFmpeg's muxer starts a segment at each packet that is marked as a key frame once a segment is long enough. Only the
first packet of a chunk, and of the sound after it, keeps its mark here, and any length is enough: so segments of all
sizes and of the sound begin at chunks. The unmarked key frames inside a segment stay what they are for decoders.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from s2v_pipeline.clips.container import only_video_stream, open_mp4
from s2v_pipeline.clips.encode import HEVC_TAG
from s2v_pipeline.clips.encoders import FORMAT_NAMES
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.captions import three_letters
from s2v_pipeline.video.playlists import HLS_NAME, MPD_NAME, finish_playlists, hevc_codecs
from s2v_pipeline.video.sound import SpeechTrack, add_sound_stream, delivered_format, flac_format
from s2v_pipeline.video.stitch import stitched_packets

_INIT_NAME = "init_$RepresentationID$.mp4"
_SEGMENT_NAME = "segment_$RepresentationID$_$Number%05d$.m4s"
_OPTIONS = {
    "hls_playlist": "1",
    "hls_master_name": HLS_NAME,
    "init_seg_name": _INIT_NAME,
    "media_seg_name": _SEGMENT_NAME,
    "dash_segment_type": "mp4",
    "seg_duration": "0.001",  # less than a frame: the marks alone decide
    "adaptation_sets": "id=0,streams=v id=1,streams=a",
}


@dataclass(frozen=True)
class StreamSound:
    """Bit rate and channels ("source", "mono" or "stereo") of a stream's sound."""

    kbps: int
    channels: str = "source"


@dataclass(frozen=True)
class Stream:
    """What was written.

    Attributes:
        files: names in the folder.
        n_segments: of each rendition.
        sizes: (width, height) of the pictures, from small to large.
    """

    files: tuple[str, ...]
    n_segments: int
    sizes: tuple[tuple[int, int], ...]


def write_stream(
    ladder: Sequence[Sequence[Path]],
    speech: Path,
    folder: Path,
    *,
    frame_counts: Sequence[int],
    fps: Fraction,
    sound: StreamSound,
    captions: str = "",
    language: str = "en",
) -> Stream:
    """Write init files, segments, `master.m3u8` and `manifest.mpd` into an empty folder.

    Args:
        ladder: for each size, from small to large, its clips in order.
        speech: FLAC of one or two channels.
        folder: where the files go; a temporary one, as nothing here is atomic.
        frame_counts: planned frames of each clip.
        fps: frames a second.
        sound: AAC whatever the codec of the picture.
        captions: text of a WebVTT file, as a rendition of its own; '' for none.
        language: of the speech, as a tag.

    Raises:
        MediaError: clips that do not fit, or segments that do not start at chunks.
    """
    starts_s, picture = _starts(frame_counts, fps), probe_clip(ladder[-1][0]).picture
    try:
        sizes, n_samples, rate_hz = _write(ladder, speech, folder, frame_counts, fps, sound, language)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"the stream must be written to {folder.name}",
            got=f"{type(error).__name__}: {error}",
            cure="Check the free disk space and that the folder can be written.",
        ) from error
    finish_playlists(
        folder,
        starts_s=starts_s,
        video_s=frame_start_s(sum(frame_counts), fps),
        audio_s=Fraction(n_samples, rate_hz),
        fps=fps,
        codecs=hevc_codecs(picture.extradata) if picture.codec == FORMAT_NAMES["h265"] else "",
        channels=delivered_format(flac_format(speech), "aac", sound.channels).channels,
        captions=captions,
        language=language,
    )
    return Stream(tuple(sorted(path.name for path in folder.iterdir())), len(starts_s), sizes)


def _write(
    ladder: Sequence[Sequence[Path]],
    speech: Path,
    folder: Path,
    frame_counts: Sequence[int],
    fps: Fraction,
    wanted: StreamSound,
    language: str,
) -> tuple[tuple[tuple[int, int], ...], int, int]:
    """(sizes, samples of the speech, their rate)."""
    source = flac_format(speech)
    starts_s = _starts(frame_counts, fps)
    pictures = [probe_clip(clips[0]).picture for clips in ladder]
    output = str((folder / MPD_NAME).resolve())
    with ExitStack() as stack:
        container = stack.enter_context(av.open(output, "w", format="dash", container_options=_OPTIONS))
        streams = [_copied_stream(container, clips[0]) for clips in ladder]
        sound = add_sound_stream(container, delivered_format(source, "aac", wanted.channels), wanted.kbps)
        sound.metadata["language"] = three_letters(language)
        track = SpeechTrack(speech, sound)
        packets: list[Iterator[Any]] = [stack.enter_context(closing(_marked(track.packets(), starts_s)))]
        for clips, picture, stream in zip(ladder, pictures, streams, strict=True):
            copied = stitched_packets(clips, frame_counts, fps=fps, picture=picture)
            packets.append(stack.enter_context(closing(_marked(copied, starts_s, stream))))
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return tuple((each.width_px, each.height_px) for each in pictures), track.n_samples, source.rate_hz


def _copied_stream(container: OutputContainer, clip: Path) -> VideoStream:
    with open_mp4(clip) as source:
        stream = container.add_stream_from_template(only_video_stream(source, clip.name), opaque=True)
    if stream.codec_context.codec.canonical_name == FORMAT_NAMES["h265"]:
        stream.codec_context.codec_tag = HEVC_TAG
    return stream


def _starts(frame_counts: Sequence[int], fps: Fraction) -> tuple[Fraction, ...]:
    """When each chunk starts."""
    return tuple(frame_start_s(sum(frame_counts[:index]), fps) for index in range(len(frame_counts)))


def _marked(packets: Iterator[Any], starts_s: Sequence[Fraction], stream: VideoStream | None = None) -> Generator[Any]:
    """The packets, of which the first at or after each start alone is marked as a key frame.

    A sound's packets before 0, its encoder's priming, belong to the first segment.
    """
    waiting = list(starts_s)
    first = True
    for packet in packets:
        time_s = packet.pts * packet.time_base
        starts = first or bool(waiting and time_s >= waiting[0])
        while waiting and time_s >= waiting[0]:
            waiting.pop(0)
        if first and waiting and waiting[0] == 0:
            waiting.pop(0)
        packet.is_keyframe, first = starts, False
        if stream is not None:
            packet.stream = stream
        yield packet
