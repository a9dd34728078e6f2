"""Everything that is measured of the face in a finished video, in one value.

Belongs here: the order of the measures, what is held against what.
Does not belong here: the measures themselves, thresholds that decide about a video.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.face_motion import (
    Blinks,
    FacesSeen,
    Jitter,
    measure_blinks,
    measure_faces,
    measure_jitter,
)
from s2v_pipeline.video.face_track import FaceTrack, PictureFace, track_face
from s2v_pipeline.video.identity import ColourDrift, Identity, measure_colours, measure_identity
from s2v_pipeline.video.lip_sync import LipSync, measure_lip_sync
from s2v_pipeline.video.phone_signals import pauses, read_phones
from s2v_pipeline.video.sound_lag import AvOffset, SoundLag, av_offset, measure_sound_lag
from s2v_pipeline.video.tracker_noise import LEAST_FRAMES, TrackerNoise, measure_tracker_noise

FLOOR_PAUSES = 6
"""Of how many pauses the tracker's noise is taken: single ones with lips held still gave 0.2 to 1.1 thousandths."""


@dataclass(frozen=True)
class TalkingFace:
    """The measures of one video; what could not be measured is None.

    Attributes:
        lips: against the phones.
        sound: of the file, against the phones.
        offset: picture against sound.
        noise: of the tracker on a frozen face, in the longest pauses or at the beginning.
        jitter, blinks, faces, identity, colours: see their classes.
    """

    lips: LipSync
    sound: SoundLag | None
    offset: AvOffset | None
    noise: TrackerNoise | None
    jitter: Jitter | None
    blinks: Blinks | None
    faces: FacesSeen
    identity: Identity | None
    colours: tuple[ColourDrift, ...]

    @property
    def silence_over_noise(self) -> float | None:
        """Motion of the lips in pauses over the tracker's noise; about 1 where they are still."""
        if self.lips.silence is None or self.noise is None:
            return None
        return self.lips.silence.deviation / max(self.noise.opening_deviation, 1e-6)


def measure_talking_face(
    video: Path,
    phonemes: pd.DataFrame,
    landmarker: FaceLandmarker,
    *,
    settings: VideoSettings,
    portrait: PictureFace | None = None,
    track: FaceTrack | None = None,
    sound: SoundLag | None = None,
) -> TalkingFace:
    """Measure a video of any generator.

    Args:
        video: an MP4.
        phonemes: columns phone, start_s, end_s, on the clock of the speech.
        landmarker: the tracker.
        settings: how the frozen video for the tracker's noise is encoded.
        portrait: face of the picture that the video was made from.
        track: of every frame, where the caller has it already.
        sound: lag of the file's sound, where the caller knows it better than from its level, or has no sound.

    Raises:
        MediaError: the video cannot be read.
        ValueError: the table is none, or the track is of every nth frame.
    """
    track = track or track_face(video, landmarker)
    lips = measure_lip_sync(track, phonemes)
    sound = sound or measure_sound_lag(video, phonemes)
    return TalkingFace(
        lips=lips,
        sound=sound,
        offset=av_offset(lips, sound),
        noise=measure_tracker_noise(
            video, track, landmarker, settings=settings, within=_longest_pauses(track, phonemes)
        ),
        jitter=measure_jitter(track),
        blinks=measure_blinks(track),
        faces=measure_faces(track),
        identity=measure_identity(track, portrait),
        colours=measure_colours(track, portrait),
    )


def _longest_pauses(track: FaceTrack, phonemes: pd.DataFrame) -> tuple[FrameSpan, ...]:
    """Frames of the longest pauses that show a face throughout, by time."""
    found = [frames for frames in pauses(read_phones(phonemes), track.middles_s) if np.all(track.seen[frames])]
    long = sorted((frames for frames in found if frames.size >= LEAST_FRAMES), key=len, reverse=True)[:FLOOR_PAUSES]
    return tuple(FrameSpan(start, stop) for start, stop in sorted((int(part[0]), int(part[-1]) + 1) for part in long))
