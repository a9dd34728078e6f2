"""Requests and settings for the tiny checkpoint.

Belongs here: what several tests of wan_s2v ask for. Does not belong here: assertions, the checkpoint itself.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, ChunkRequest, FileRef
from s2v_pipeline.chunks.speech_window import cut_window, rounded_level_rms
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.generation.wan_s2v.generator import WanGenerator, make_generator
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline.timebase import FrameSpan

FPS = Fraction(16)
SIZE_PX = 64


def speech(seconds: float = 7.0) -> Waveform:
    """Noise that gets louder, as long as asked for."""
    noise = np.random.default_rng(5).normal(0, 0.1, round(seconds * 16_000))
    return Waveform((noise * np.linspace(0.2, 1, len(noise))).astype(np.float32), 16_000)


def portrait(folder: Path) -> FileRef:
    """A picture of noise, 64 x 64."""
    path = folder / "portrait.png"
    pixels = np.random.default_rng(6).integers(0, 255, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest())


def request(
    picture: FileRef, frames: FrameSpan, index: int, *, of: Waveform | None = None, is_last: bool = False
) -> ChunkRequest:
    """One chunk of a speech."""
    whole = of or speech()
    return ChunkRequest(
        input_id="noise",
        index=index,
        frames=frames,
        fps=FPS,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        seed=1000 + index,
        input_seed=0,
        prompt="a person talks",
        portrait=picture,
        phonemes=pd.DataFrame(columns=list(PHONEME_COLUMNS)),
        features=pd.DataFrame(columns=list(FEATURE_COLUMNS)),
        speech_level_db=0,
        median_f0_hz=0,
        sound=cut_window(whole, frames, FPS, context_s=Fraction(8), level_rms=rounded_level_rms(whole)),
        is_last=is_last,
    )


def tiny_settings(weights: Path) -> WanSettings:
    """Settings that run the tiny checkpoint on the CPU, exactly."""
    return WanSettings(weights=weights, device="cpu", precision="float32", compile=False, steps=1, guidance=1.0)


def generator(settings: WanSettings) -> WanGenerator:
    """A generator of one's own, not the process's shared one."""
    return make_generator(GeneratorSpec("wan_s2v", wan=settings))
