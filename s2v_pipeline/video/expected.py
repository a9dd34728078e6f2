"""What the stages before say that a finished video must be.

Belongs here: collecting it from stored values. Does not belong here: measuring (inspection), judging (gate).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.audio.tracks import clean_up_report, delivered_path
from s2v_pipeline.clips.encoders import FORMAT_NAMES
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline.video.burned import caption_changes
from s2v_pipeline.video.captions import read_cues
from s2v_pipeline.video.finish_plan import expected_look, output_fps
from s2v_pipeline.video.inspection import Expected
from s2v_pipeline.video.manifest import FinalVideo

_PIXELS = {8: "yuv420p", 10: "yuv420p10le"}  # what a decoder gives


def expected_video(
    speech: SpeechInput,
    features: Mapping[Any, Any],
    phonemes: pd.DataFrame,
    video: FinalVideo,
    settings: Settings,
    store: ArtifactStore,
) -> Expected:
    """What the video of an input is held against.

    Args:
        speech: value of speech_inputs.
        features: `attrs` of audio_features.
        phonemes: value of phoneme_alignments.
        video: value of final_videos, of which only the names of files are believed.
        settings: resolved for the input.
        store: where the files are.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    with Image.open(store.read_path("speech_inputs", speech.input_id, speech.framed.name)) as framed:
        portrait = expected_look(settings.enhance, np.array(framed.convert("RGB"), np.uint8))
    fps = output_fps(speech.fps, settings.enhance)
    n_frames = frames_for_samples(speech.n_samples, speech.rate_hz, fps)
    captions = tuple(store.read_path("final_videos", speech.input_id, part) for part in video.caption_parts)
    return Expected(
        n_frames=n_frames,
        fps=fps,
        width_px=portrait.shape[1],
        height_px=portrait.shape[0],
        codec=FORMAT_NAMES[settings.video.codec],
        pix_fmt=_PIXELS[settings.video.bit_depth],
        speech_s=speech.duration_s,
        speech=delivered_path(clean_up_report(features), speech.input_id, store),
        channels=settings.video.audio_channels,
        phonemes=phonemes,
        portrait=portrait,
        captions=captions,
        settings=settings.video,
        drawn_changes=_drawn_changes(captions, n_frames, fps) if settings.delivery.burn_captions != "off" else (),
    )


def _drawn_changes(captions: tuple[Path, ...], n_frames: int, fps: Fraction) -> tuple[int, ...]:
    """Frames that show another caption than the one before."""
    texts = [path.read_text(encoding="utf-8") for path in captions if path.suffix == ".vtt"]
    return caption_changes(read_cues(texts[0]), n_frames, fps) if texts else ()
