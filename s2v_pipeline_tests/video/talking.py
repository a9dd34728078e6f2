"""A small talking video of real speech with known phones, and pictures of faces, for the tests of the face's measures.

Belongs here: making them. Does not belong here: fixtures (conftest), measuring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.portrait.generator import PortraitGenerator
from s2v_pipeline.generation.portrait.motion import CONTEXT_S
from s2v_pipeline.media import FrameBatch, Waveform
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan, frames_for_samples
from s2v_pipeline.video.face_track import FaceTrack, track_face, track_frames
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline_tests.alignment.known_speech import tiled
from s2v_pipeline_tests.generation.portrait_requests import sample_portrait, save_png
from s2v_pipeline_tests.video.material import write_flac

FPS = Fraction(25)
SIZE_PX = 224
RATE_HZ = 16_000
PAUSE_S = 1.4
SETTINGS = VideoSettings(width_px=SIZE_PX, height_px=SIZE_PX, x264_preset="ultrafast")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Talking:
    """A video of two sentences, "It's easy to tell the depth of a well. The juice of lemons makes fine punch." """

    path: Path
    phones: pd.DataFrame
    speech: Waveform
    track: FaceTrack


def portrait() -> Pixels:
    return sample_portrait(SIZE_PX, SIZE_PX)


def make_talking(folder: Path, landmarker: FaceLandmarker) -> Talking:
    """Rendered by the portrait generator, encoded and joined with its sound as the pipeline does."""
    known, _ = tiled(2, pause_s=PAUSE_S)
    n_frames = frames_for_samples(len(known.waveform.samples), RATE_HZ, FPS)
    features = extract_features(known.waveform, n_frames=n_frames, fps=FPS)
    summary = describe_speech(known.waveform, features)
    phones = _without_gaps(known.truth)
    video = VideoRequest(
        input_id="talking",
        fps=FPS,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        input_seed=7,
        prompt="",
        portrait=save_png(portrait(), folder / "portrait.png"),
        speech_level_db=summary.speech_level_db,
        median_f0_hz=summary.median_f0_hz,
    )
    plan = plan_chunks(n_frames, chunk_frames=n_frames)
    (request,) = build_requests(video, plan, phonemes=phones, features=features, context_s=CONTEXT_S)
    generator = PortraitGenerator()
    batches = generator.decode(request, generator.generate(request, None))
    clip = write_batches(folder / "clip.mp4", batches, n_frames)
    path = with_sound(clip, known.waveform, folder / "talking.mp4", n_frames=n_frames)
    return Talking(path, phones, known.waveform, track_face(path, landmarker))


def with_sound(clip: Path, sound: Waveform, path: Path, *, n_frames: int) -> Path:
    """The clip and a sound as one file."""
    flac = write_flac(path.with_suffix(".flac"), sound.samples[None], RATE_HZ)
    assemble_video([clip], flac, path, frame_counts=[n_frames], fps=FPS, settings=SETTINGS, metadata={})
    return path


def later(sound: Waveform, shift_s: float) -> Waveform:
    """The same length of sound, later, or earlier where the shift is negative."""
    shift = round(shift_s * RATE_HZ)
    moved = np.zeros_like(sound.samples)
    if shift >= 0:
        moved[shift:] = sound.samples[: moved.size - shift]
    else:
        moved[:shift] = sound.samples[-shift:]
    return Waveform(moved, RATE_HZ)


def write_pictures(path: Path, pictures: Sequence[Pixels]) -> Path:
    return write_batches(path, (FrameBatch(p[None], FPS, index) for index, p in enumerate(pictures)), len(pictures))


def write_batches(path: Path, batches: Iterable[FrameBatch], n_frames: int) -> Path:
    span = FrameSpan(0, n_frames)
    encode_clip(iter(batches), path, frames=span, fps=FPS, width_px=SIZE_PX, height_px=SIZE_PX, settings=SETTINGS)
    return path


def follow(pictures: Iterable[Pixels], landmarker: FaceLandmarker, *, fps: Fraction = FPS) -> FaceTrack:
    """A track of pictures that were not encoded."""
    shown = (ShownFrame(index, index / fps, picture) for index, picture in enumerate(pictures))
    return track_frames(shown, landmarker, fps=fps)


def part_of(track: FaceTrack, frames: slice) -> FaceTrack:
    """Some of the frames, each in its place; with a step, as if only those had been looked at."""
    return FaceTrack(
        fps=track.fps,
        step=track.step * (frames.step or 1),
        start_s=track.start_s,
        width_px=track.width_px,
        height_px=track.height_px,
        frames=track.frames[frames],
        landmarks_px=track.landmarks_px[frames],
        blendshapes=track.blendshapes[frames],
        colours_lab=track.colours_lab[frames],
        faces_counted=track.faces_counted[frames],
    )


def with_landmarks(track: FaceTrack, landmarks_px: NDArray[np.float64]) -> FaceTrack:
    """A track whose landmarks are others; blendshapes and colours are the first frame's throughout."""
    n = len(landmarks_px)
    return FaceTrack(
        fps=track.fps,
        step=1,
        start_s=track.start_s,
        width_px=track.width_px,
        height_px=track.height_px,
        frames=np.arange(n, dtype=np.int64),
        landmarks_px=landmarks_px.astype(np.float32),
        blendshapes=np.repeat(track.blendshapes[:1], n, axis=0),
        colours_lab=np.repeat(track.colours_lab[:1], n, axis=0),
        faces_counted=np.full(n, -1, np.int16),
    )


def other_person(pixels: Pixels) -> Pixels:
    """The sample with other proportions: a narrower face, which no turning or scaling makes of the first."""
    middle = pixels.shape[1] / 2
    narrower = np.array([[0.8, 0.0, middle * 0.2], [0.0, 1.0, 0.0]])
    return np.asarray(cv2.warpAffine(pixels, narrower, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _without_gaps(truth: pd.DataFrame) -> pd.DataFrame:
    rows: list[tuple[str, float, float]] = []
    for row in truth[truth["phone"] != SILENCE].itertuples():
        at_s = rows[-1][2] if rows else 0.0
        if row.start_s > at_s + 1e-6:
            rows.append((SILENCE, at_s, row.start_s))
        rows.append((row.phone, row.start_s, row.end_s))
    return pd.DataFrame([*rows, (SILENCE, rows[-1][2], rows[-1][2] + 2.0)], columns=["phone", "start_s", "end_s"])
