"""What a video is put together from, and whether the written file is what was meant.

Belongs here: the plan of one video, the value of one that was written, comparing the two.
Does not belong here: writing (mux), reading a file's properties (probe).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from s2v_pipeline.clips.probe import PictureFormat
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_start_s, frames_for_samples
from s2v_pipeline.video.probe import VideoProbe
from s2v_pipeline.video.sound import SoundCodec, SoundFormat
from s2v_pipeline.video_settings import Container

MAX_MOVIE_TIMESCALE = 2**31 - 1  # a signed 32-bit option of FFmpeg's muxer


@dataclass(frozen=True)
class AssembledVideo:
    """A written and checked video.

    Attributes:
        probe: what the file is.
        n_clips: clips that it was put together from.
        speech_duration_s: exact length of the speech.
        resampled: the speech's rate is not one that the sound's codec has, so it was resampled to 48 kHz.
    """

    probe: VideoProbe
    n_clips: int
    speech_duration_s: Fraction
    resampled: bool

    @property
    def video_minus_audio_s(self) -> Fraction:
        """By how much the picture is longer than the sound."""
        return self.probe.video_duration_s - self.probe.audio_duration_s


@dataclass(frozen=True)
class MuxPlan:
    """What is put together: the arguments of `assemble_video` and the formats read from the files."""

    clips: Sequence[Path]
    frame_counts: Sequence[int]
    fps: Fraction
    picture: PictureFormat
    speech: Path
    source: SoundFormat
    sound: SoundFormat
    kbps: int
    container: Container

    @property
    def sound_codec(self) -> SoundCodec:
        """WebM takes Opus and Vorbis; MP4 players all know AAC."""
        return "libopus" if self.container == "webm" else "aac"

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return sum(self.frame_counts)

    @property
    def resampled(self) -> bool:
        """Whether the sound's rate is not the speech's."""
        return self.sound.rate_hz != self.source.rate_hz

    @property
    def movie_timescale(self) -> int:
        """Ticks a second of the clock in which edit lists give lengths, so that they are exact for frames and samples.

        FFmpeg's own is 1000, which rounds the sound's end by up to a millisecond. Where the exact clock does not fit
        into its 32 bits the sound's is used, and the picture's length is rounded up by less than a sample.
        """
        exact = math.lcm(self.fps.numerator, self.sound.rate_hz)
        return exact if exact <= MAX_MOVIE_TIMESCALE else self.sound.rate_hz


def check_assembled(assembled: AssembledVideo, plan: MuxPlan, n_samples: int, destination: Path) -> None:
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
        "channels of the sound": (probe.audio_channels == plan.sound.channels, f"{probe.audio_channels}"),
    }
    wrong = {name: got for name, (holds, got) in rules.items() if not holds}
    if wrong:
        raise MediaError(
            f"{destination.name} must have the planned {', '.join(wrong)}",
            got=", ".join(wrong.values()),
            cure="Materialise rendered_clips and final_videos for this partition again.",
        )
