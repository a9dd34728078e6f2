"""Everything that is measured of one finished video, in one pass over its frames and one over its sound.

Belongs here: calling the measures, what a video is held against, the collected figures.
Does not belong here: a measure's own rules (its module), what is right (gate), files and pages (quality_report).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.audio.normalise import SoundLevel, measure_level
from s2v_pipeline.clips.container import open_video
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.video.audio_difference import AudioDifference, audio_difference
from s2v_pipeline.video.caption_faults import caption_faults
from s2v_pipeline.video.face_embedding import FaceEmbedder, FaceLikeness, measure_likeness
from s2v_pipeline.video.face_shape import eye_distances_px, mouth_opening
from s2v_pipeline.video.face_track import face_of_picture, track_frames
from s2v_pipeline.video.frames import ShownFrame, iter_frames
from s2v_pipeline.video.picture_checks import PictureReport, check_picture
from s2v_pipeline.video.picture_faults import PictureFaults, picture_faults
from s2v_pipeline.video.picture_track import PictureTrack, PictureTracker, look_at, small_picture
from s2v_pipeline.video.probe import VideoProbe, probe_video
from s2v_pipeline.video.sound import DecodedSound, open_flac
from s2v_pipeline.video.talking_face import TalkingFace, measure_talking_face


@dataclass(frozen=True, eq=False)
class Expected:
    """What a finished video is held against.

    Attributes:
        n_frames, fps, width_px, height_px: of the plan.
        codec, pix_fmt: FFmpeg's names.
        speech_s: exact length of the speech.
        speech: FLAC of the sound that was to be delivered.
        channels: as `video.audio_channels`: "source", "mono" or "stereo".
        phonemes: columns phone, start_s, end_s.
        portrait: (h, w, 3) uint8 RGB, framed for the video.
        captions: files beside the video.
        settings: the clips' encoding, for the tracker's own noise.
        drawn_changes: frames at which captions that are burned in come, change or go.
    """

    n_frames: int
    fps: Fraction
    width_px: int
    height_px: int
    codec: str
    pix_fmt: str
    speech_s: Fraction
    speech: Path
    channels: str
    phonemes: pd.DataFrame
    portrait: NDArray[np.uint8]
    captions: tuple[Path, ...]
    settings: VideoSettings
    drawn_changes: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Inspection:
    """All figures of one video; None where there was too little to measure, which `face.lips.cannot_tell` explains.

    Attributes:
        opening: (n,), of the mouth in every frame, in eye distances; NaN where no face was seen.
        likeness: by a recognition model, where one was given.

    The others are what their modules say.
    """

    probe: VideoProbe
    alive: PictureReport
    picture: PictureFaults
    track: PictureTrack
    opening: NDArray[np.float64]
    face: TalkingFace
    portrait_has_face: bool
    sound: AudioDifference
    level: SoundLevel
    speech_level: SoundLevel
    captions: tuple[str, ...]
    likeness: FaceLikeness | None = None


def inspect_video(
    video: Path, expected: Expected, landmarker: FaceLandmarker, embedder: FaceEmbedder | None = None
) -> Inspection:
    """Measure a video; with a recognition model its frames are decoded once more.

    Raises:
        MediaError: it is not a readable MP4 with one picture and one sound.
        SettingsError: the recognition model takes other inputs.
    """
    # 1. the container
    probe = probe_video(video)
    # 2. the frames, decoded once for both trackers
    tracker = PictureTracker(expected.portrait, probe.fps)
    faces = track_frames(_shown_to(tracker, iter_frames(video)), landmarker, fps=probe.fps)
    track = tracker.track()
    portrait = face_of_picture(expected.portrait, landmarker)
    # 3. the face, and the sound against the same phones
    face = measure_talking_face(
        video, expected.phonemes, landmarker, settings=expected.settings, portrait=portrait, track=faces
    )
    return Inspection(
        probe=probe,
        alive=check_picture(video),
        picture=picture_faults(
            track,
            look_at(expected.portrait),
            np.asarray(small_picture(expected.portrait).mean(axis=(0, 1))),
            expected.drawn_changes,
        ),
        track=track,
        opening=mouth_opening(faces.landmarks_px, eye_distances_px(faces.landmarks_px)),
        face=face,
        portrait_has_face=portrait is not None,
        sound=audio_difference(video, expected.speech, channels=expected.channels),
        level=_video_level(video),
        speech_level=_speech_level(expected.speech),
        captions=caption_faults(expected.captions, max(probe.video_duration_s, probe.audio_duration_s)),
        likeness=None
        if embedder is None or portrait is None
        else measure_likeness(iter_frames(video), faces, expected.portrait, portrait.landmarks_px, embedder),
    )


def _shown_to(tracker: PictureTracker, frames: Iterator[ShownFrame]) -> Iterator[ShownFrame]:
    for shown in frames:
        tracker.add(shown)
        yield shown


def _video_level(video: Path) -> SoundLevel:
    with open_video(video) as container:
        stream = container.streams.audio[0]
        rate_hz = stream.codec_context.sample_rate
        return measure_level(DecodedSound(container, stream, rate_hz).blocks(), rate_hz)


def _speech_level(speech: Path) -> SoundLevel:
    with open_flac(speech) as (container, stream):
        rate_hz = stream.codec_context.sample_rate
        return measure_level(DecodedSound(container, stream, rate_hz).blocks(), rate_hz)
