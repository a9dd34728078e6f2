"""Requests of `wan_s2v` with a random portrait and random speech: speed does not depend on what they show.

Belongs here: requests. Does not belong here: random weights (wan_speed, wan_load), measuring.
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
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import FrameSpan

FPS = Fraction(16)
CHUNK_FRAMES, FIRST_CHUNK_FRAMES = 80, 77
_SAMPLES_PER_FRAME = 1000
_CONTEXT_S = Fraction(8)


def random_requests(folder: Path, *, n_chunks: int, size: tuple[int, int], seed: int) -> list[ChunkRequest]:
    """Requests of all chunks of one input; `size` is width and height, the portrait lies in `folder`."""
    rng, (width_px, height_px) = np.random.default_rng(seed), size
    portrait = folder / f"portrait_{seed}.png"
    Image.fromarray(rng.integers(0, 255, (height_px, width_px, 3), dtype=np.uint8)).save(portrait)
    reference = FileRef(portrait, hashlib.sha256(portrait.read_bytes()).hexdigest())
    ends = [FIRST_CHUNK_FRAMES + CHUNK_FRAMES * index for index in range(n_chunks)]
    noise = rng.standard_normal(_SAMPLES_PER_FRAME * ends[-1]) * 0.1
    speech = Waveform(noise.astype(np.float32), 16_000)
    level_rms = rounded_level_rms(speech)
    return [
        ChunkRequest(
            input_id=f"random{seed}",
            index=index,
            frames=span,
            fps=FPS,
            width_px=width_px,
            height_px=height_px,
            seed=index,
            input_seed=0,
            prompt="a person talks to the camera",
            portrait=reference,
            phonemes=pd.DataFrame(columns=list(PHONEME_COLUMNS)),
            features=pd.DataFrame(columns=list(FEATURE_COLUMNS)),
            speech_level_db=0,
            median_f0_hz=0,
            sound=cut_window(speech, span, FPS, context_s=_CONTEXT_S, level_rms=level_rms),
            is_last=index == n_chunks - 1,
        )
        for index, span in enumerate(map(FrameSpan, [0, *ends[:-1]], ends))
    ]
