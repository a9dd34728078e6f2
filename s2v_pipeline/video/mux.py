"""The delivered video: the clips' packets and the speech as AAC in one MP4, checked after it was written.

Belongs here: interleaving, the container's options, the checks of the result.
Does not belong here: how clips are joined (video.stitch), AAC (video.sound), an atomic rename (artifacts).

The picture is not encoded again, and the speech is encoded once, from the input's own FLAC. AAC encoders put priming
before the first sample; the container's edit list hides it, so both streams start at exactly 0.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from s2v_pipeline.clips.container import only_video_stream, open_mp4
from s2v_pipeline.clips.probe import PictureFormat, probe_clip
from s2v_pipeline.errors import MediaError
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import frame_start_s, frames_for_samples
from s2v_pipeline.video.probe import VideoProbe, probe_video
from s2v_pipeline.video.sound import SoundFormat, SpeechTrack, aac_format, add_aac_stream, flac_format
from s2v_pipeline.video.stitch import stitched_packets

logger = logging.getLogger(__name__)

MAX_MOVIE_TIMESCALE = 2**31 - 1  # a signed 32-bit option of FFmpeg's muxer

AnyPacket: TypeAlias = (
    "Packet[VideoStream] | Packet[AudioStream]"  # a string: the class takes no parameters at run time
)

Progress = Callable[[int, int], None]
"""Called with (frames written, frames of the video)."""


@dataclass(frozen=True)
class AssembledVideo:
    """A written and checked video.

    Attributes:
        probe: what the file is.
        n_clips: clips that it was put together from.
        speech_duration_s: exact length of the speech.
        resampled: the speech's rate is not one that AAC has, so it was resampled to 48 kHz.
    """

    probe: VideoProbe
    n_clips: int
    speech_duration_s: Fraction
    resampled: bool

    @property
    def video_minus_audio_s(self) -> Fraction:
        """By how much the picture is longer than the sound."""
        return self.probe.video_duration_s - self.probe.audio_duration_s


def assemble_video(
    clips: Sequence[Path],
    speech: Path,
    destination: Path,
    *,
    frame_counts: Sequence[int],
    fps: Fraction,
    settings: VideoSettings,
    metadata: Mapping[str, str],
    on_progress: Progress | None = None,
) -> AssembledVideo:
    """Write the video at `destination` (a temporary path; renaming it is the caller's) and check what was written.

    Packets stream from file to file; memory does not grow with the length but for the container's index.

    Args:
        clips: H.264 clips of `clips.encode`, in order.
        speech: FLAC of one or two channels.
        destination: the MP4 to write.
        frame_counts: planned frames of each clip.
        fps: frames a second.
        settings: audio_kbps is used; the size of the picture is the clips'.
        metadata: tags of the container that MP4 has names for, such as title, comment, artist, date.
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
    plan = _Plan(
        clips=clips,
        frame_counts=frame_counts,
        fps=fps,
        picture=probe_clip(clips[0]).picture,
        speech=speech,
        source=source,
        sound=aac_format(source),
        kbps=settings.audio_kbps,
    )
    if plan.resampled:
        logger.warning("speech of %d Hz is resampled to %d Hz for AAC", source.rate_hz, plan.sound.rate_hz)
    try:
        n_samples = _write(plan, destination, metadata, on_progress)
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
    _check(assembled, plan, n_samples, destination)
    return assembled


@dataclass(frozen=True)
class _Plan:
    """What is put together: the arguments of `assemble_video` and the formats read from the files."""

    clips: Sequence[Path]
    frame_counts: Sequence[int]
    fps: Fraction
    picture: PictureFormat
    speech: Path
    source: SoundFormat
    sound: SoundFormat
    kbps: int

    @property
    def n_frames(self) -> int:
        return sum(self.frame_counts)

    @property
    def resampled(self) -> bool:
        return self.sound.rate_hz != self.source.rate_hz

    @property
    def movie_timescale(self) -> int:
        """Ticks a second of the clock in which edit lists give lengths, so that they are exact for frames and samples.

        FFmpeg's own is 1000, which rounds the sound's end by up to a millisecond. Where the exact clock does not fit
        into its 32 bits the sound's is used, and the picture's length is rounded up by less than a sample.
        """
        exact = math.lcm(self.fps.numerator, self.sound.rate_hz)
        return exact if exact <= MAX_MOVIE_TIMESCALE else self.sound.rate_hz


def _write(plan: _Plan, destination: Path, metadata: Mapping[str, str], on_progress: Progress | None) -> int:
    """Write everything; the number of the speech's samples."""
    options = {"movflags": "+faststart", "movie_timescale": str(plan.movie_timescale)}
    # FFmpeg opens the output by its path, as faststart reads it again; an absolute path is never taken for an address.
    output = str(destination.resolve())
    with ExitStack() as stack:
        container = stack.enter_context(av.open(output, "w", format="mp4", container_options=options))
        container.metadata.update(metadata)
        video_stream = _copied_stream(container, plan.clips[0])
        audio_stream = add_aac_stream(container, plan.sound, plan.kbps)
        track = SpeechTrack(plan.speech, audio_stream)
        sound: Iterator[AnyPacket] = stack.enter_context(closing(track.packets()))
        pictures = stack.enter_context(
            closing(stitched_packets(plan.clips, plan.frame_counts, fps=plan.fps, picture=plan.picture))
        )
        n_written = 0
        for packet in heapq.merge(_onto(pictures, video_stream), sound, key=_decode_time_s):
            container.mux(packet)
            if packet.stream_index == video_stream.index:
                n_written += 1
                if on_progress is not None:
                    on_progress(n_written, plan.n_frames)
    return track.n_samples


def _copied_stream(container: OutputContainer, clip: Path) -> VideoStream:
    with open_mp4(clip) as source:
        return container.add_stream_from_template(only_video_stream(source, clip.name))


def _onto(packets: Iterator[Packet[VideoStream]], stream: VideoStream) -> Iterator[AnyPacket]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _decode_time_s(packet: AnyPacket) -> Fraction:
    if packet.dts is None:
        raise MediaError("packets must have a decoding time", got="none", cure="Make the clips again.")
    return packet.dts * packet.time_base


def _check(assembled: AssembledVideo, plan: _Plan, n_samples: int, destination: Path) -> None:
    """Compare the written file with what was meant.

    Raises:
        MediaError: something differs.
    """
    probe = assembled.probe
    # Resampling rounds the number of samples; otherwise the sound's length is the speech's, to the sample.
    audio_slack_s = Fraction(int(plan.resampled), plan.sound.rate_hz)
    n_frames_of_speech = frames_for_samples(n_samples, plan.source.rate_hz, plan.fps)
    picture = (probe.codec, probe.width_px, probe.height_px, probe.fps)
    planned_picture = (plan.picture.codec, plan.picture.width_px, plan.picture.height_px, plan.fps)
    picture_excess_s = probe.video_duration_s - frame_start_s(plan.n_frames, plan.fps)
    rules = {
        "frames": (probe.n_frames == plan.n_frames, f"{probe.n_frames} of {plan.n_frames}"),
        "frames for the speech": (plan.n_frames == n_frames_of_speech, f"{plan.n_frames} for {n_frames_of_speech}"),
        "picture": (picture == planned_picture, " ".join(str(value) for value in picture)),
        "start of the picture": (probe.video_start_s == 0, f"{probe.video_start_s} s"),
        "start of the sound": (probe.audio_start_s == 0, f"{probe.audio_start_s} s"),
        "length of the picture": (
            0 <= picture_excess_s < Fraction(1, plan.movie_timescale),
            f"{probe.video_duration_s} s",
        ),
        "length of the sound": (
            abs(probe.audio_duration_s - assembled.speech_duration_s) <= audio_slack_s,
            f"{probe.audio_duration_s} s of {assembled.speech_duration_s} s",
        ),
        "index before the media": (probe.faststart, "the index at the end"),
    }
    wrong = {name: got for name, (holds, got) in rules.items() if not holds}
    if wrong:
        raise MediaError(
            f"{destination.name} must have the planned {', '.join(wrong)}",
            got=", ".join(wrong.values()),
            cure="Materialise rendered_clips and final_videos for this partition again.",
        )
