"""The delivered video: the clips' packets and the speech in one MP4, MOV or WebM, checked after it was written.

Belongs here: interleaving, the container's options.
Does not belong here: how clips are joined (video.stitch), AAC and Opus (video.sound), captions and chapters as packets
(video.captions), comparing the result with what was meant (video.assembled), an atomic rename (artifacts).

The picture is not encoded again, and the speech is encoded once, from the input's own FLAC. Encoders of sound put
priming before the first sample; the container's edit list (MP4, MOV) or codec delay (WebM) hides it, so that both
streams start at exactly 0.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from s2v_pipeline.clips.container import only_video_stream, open_mp4
from s2v_pipeline.clips.encode import HEVC_TAG
from s2v_pipeline.clips.encoders import FORMAT_NAMES
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.video.assembled import AssembledVideo, MuxPlan, check_assembled
from s2v_pipeline.video.captions import Inside, add_caption_stream, caption_packets, set_chapters
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline.video.sound import SpeechTrack, add_sound_stream, delivered_format, flac_format
from s2v_pipeline.video.stitch import stitched_packets

logger = logging.getLogger(__name__)

# A string: the class takes no parameters at run time.
AnyPacket: TypeAlias = "Packet[VideoStream] | Packet[AudioStream] | Packet[SubtitleStream]"

Progress = Callable[[int, int], None]
"""Called with (frames written, frames of the video)."""


def assemble_video(
    clips: Sequence[Path],
    speech: Path,
    destination: Path,
    *,
    frame_counts: Sequence[int],
    fps: Fraction,
    settings: VideoSettings,
    metadata: Mapping[str, str],
    inside: Inside | None = None,
    on_progress: Progress | None = None,
) -> AssembledVideo:
    """Write the video at `destination` (a temporary path; renaming it is the caller's) and check what was written.

    Packets stream from file to file; memory does not grow with the length but for the container's index.

    Args:
        clips: clips of `clips.encode`, in order.
        speech: FLAC of one or two channels.
        destination: the file to write, with the container's name as suffix.
        frame_counts: planned frames of each clip.
        fps: frames a second.
        settings: container, audio_kbps and audio_channels are used; codec and size of the picture are the clips'.
        metadata: tags of the container that it has names for, such as title, comment, artist, date.
        inside: captions and chapters; none for neither.
        on_progress: told about every frame written.

    Raises:
        MediaError: clips that do not fit together or the plan, damaged speech, a picture whose length is not the
            nearest whole number of frames to the speech's, or a written file that is not what was meant.
    """
    if not clips or len(clips) != len(frame_counts):
        raise MediaError(
            "a video needs clips and the planned number of frames of each",
            got=f"{len(clips)} clips, {len(frame_counts)} counts",
            cure="Materialise rendered_clips for this partition again.",
        )
    source = flac_format(speech)
    plan = MuxPlan(
        clips=clips,
        frame_counts=frame_counts,
        fps=fps,
        picture=probe_clip(clips[0]).picture,
        speech=speech,
        source=source,
        sound=delivered_format(source, "libopus" if settings.container == "webm" else "aac", settings.audio_channels),
        kbps=settings.audio_kbps,
        container=settings.container,
    )
    if plan.resampled and plan.sound_codec == "aac":
        logger.warning("speech of %d Hz is resampled to %d Hz for AAC", source.rate_hz, plan.sound.rate_hz)
    try:
        n_samples = _write(plan, destination, metadata, inside or Inside(), on_progress)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"the video must be written to {destination.name}",
            got=f"{type(error).__name__}: {error}",
            cure="Check the free disk space and that the folder can be written.",
        ) from error
    assembled = AssembledVideo(
        probe=probe_video(destination),
        n_clips=len(clips),
        speech_duration_s=Fraction(n_samples, source.rate_hz),
        resampled=plan.resampled,
    )
    check_assembled(assembled, plan, n_samples, destination)
    return assembled


def _write(
    plan: MuxPlan, destination: Path, metadata: Mapping[str, str], inside: Inside, on_progress: Progress | None
) -> int:
    """Write everything; the number of the speech's samples."""
    options = {"movflags": "+faststart", "movie_timescale": str(plan.movie_timescale)}
    if plan.container == "webm":
        options = {"cues_to_front": "1"}
    # FFmpeg opens the output by its path, as faststart reads it again; an absolute path is never taken for an address.
    output = str(destination.resolve())
    with ExitStack() as stack:
        container = stack.enter_context(av.open(output, "w", format=plan.container, container_options=options))
        container.metadata.update(metadata)
        video_stream = _copied_stream(container, plan.clips[0])
        audio_stream = add_sound_stream(container, plan.sound, plan.kbps, plan.sound_codec)
        texts: Iterator[AnyPacket] = iter(())
        if inside.cues:
            caption_stream = add_caption_stream(container, inside.language)
            texts = caption_packets(caption_stream, inside.cues, webm=plan.container == "webm")
        if inside.chapters:
            set_chapters(container, inside.chapters)
        track = SpeechTrack(plan.speech, audio_stream)
        sound: Iterator[AnyPacket] = stack.enter_context(closing(track.packets()))
        pictures = stack.enter_context(
            closing(stitched_packets(plan.clips, plan.frame_counts, fps=plan.fps, picture=plan.picture))
        )
        n_written = 0
        for packet in heapq.merge(_onto(pictures, video_stream), sound, texts, key=_decode_time_s):
            container.mux(packet)
            if packet.stream_index == video_stream.index:
                n_written += 1
                if on_progress is not None:
                    on_progress(n_written, plan.n_frames)
    return track.n_samples


def _copied_stream(container: OutputContainer, clip: Path) -> VideoStream:
    with open_mp4(clip) as source:
        # Opaque: the stream takes the clip's parameters without an encoder, which a decoder's name would not find.
        stream = container.add_stream_from_template(only_video_stream(source, clip.name), opaque=True)
    if container.format.name != "webm" and stream.codec_context.codec.canonical_name == FORMAT_NAMES["h265"]:
        stream.codec_context.codec_tag = HEVC_TAG
    return stream


def _onto(packets: Iterator[Packet[VideoStream]], stream: VideoStream) -> Iterator[AnyPacket]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _decode_time_s(packet: AnyPacket) -> Fraction:
    if packet.dts is None:
        raise MediaError("packets must have a decoding time", got="none", cure="Make the clips again.")
    return packet.dts * packet.time_base
