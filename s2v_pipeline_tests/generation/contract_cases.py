"""What the contract suite needs to know of each generator: how it is made here, and what it can be asked for.

Belongs here: one case for each registered generator.
Does not belong here: what generators promise (test_contract).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.chunks.speech_window import cut_window
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.portrait_requests import request_for
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

RATE_HZ = 16_000
NEEDED_BY_WAN = ("torch", "diffusers", "transformers")

RequestMaker = Callable[[FileRef, FrameSpan], ChunkRequest]


@dataclass(frozen=True)
class Case:
    """One generator.

    Attributes:
        make_spec: from a folder that it may write to.
        make_request: of frames of a short speech, for a portrait of `size_px`; of a chained generator, the first chunk.
        size_px: width and height.
        frames: of one chunk that stands alone.
        other_frames: of another one.
        first_frames, next_frames: of a chunk that hands on its carry, and of the one after it; of chained generators.
        moving_px: top, bottom, left, right of what must move.
        least_movement: mean difference of that part between two frames, of 255.
    """

    make_spec: Callable[[Path], GeneratorSpec]
    make_request: RequestMaker
    size_px: int
    frames: FrameSpan
    other_frames: FrameSpan
    moving_px: tuple[int, int, int, int]
    least_movement: float
    first_frames: FrameSpan | None = None
    next_frames: FrameSpan | None = None


def missing_modules(name: str) -> tuple[str, ...]:
    """What a generator's case cannot run without, and is not here."""
    needed = (*NEEDED_BY_WAN, f"s2v_pipeline.generation.{name}.generator") if name == "wan_s2v" else ()
    return tuple(module for module in needed if importlib.util.find_spec(module) is None)


def _wan_spec(folder: Path) -> GeneratorSpec:
    # The tiny model takes 32 tokens of text; the official negative prompt has more.
    weights = write_tiny_checkpoint(folder / "weights")
    settings = WanSettings(
        weights=weights, steps=2, precision="float32", compile=False, device="cpu", negative_prompt="blurred"
    )
    return GeneratorSpec("wan_s2v", wan=settings)


def _wan_request(portrait: FileRef, frames: FrameSpan) -> ChunkRequest:
    plain = request_for(portrait, frames, width_px=64, height_px=64)
    return replace(
        plain,
        fps=Fraction(16),
        phonemes=plain.phonemes.head(0),
        features=plain.features.head(0),
        speech_level_db=0,
        median_f0_hz=0,
        sound=cut_window(_speech(), frames, Fraction(16), context_s=Fraction(8), level_rms=0.1),
        is_last=True,
    )


@functools.cache
def _speech() -> Waveform:
    return Waveform(np.random.default_rng(5).normal(0, 0.1, 7 * RATE_HZ).astype(np.float32), RATE_HZ)


CASES: Mapping[str, Case] = {
    "portrait": Case(
        make_spec=lambda folder: GeneratorSpec("portrait"),
        make_request=request_for,
        size_px=256,
        frames=FrameSpan(4, 22),
        other_frames=FrameSpan(0, 3),
        moving_px=(128, 200, 90, 166),
        least_movement=2.0,
    ),
    "wan_s2v": Case(
        make_spec=_wan_spec,
        make_request=_wan_request,
        size_px=64,
        frames=FrameSpan(0, 13),
        other_frames=FrameSpan(0, 5),
        moving_px=(0, 64, 0, 64),
        least_movement=0.0,  # random weights: it is enough that frames differ
        first_frames=FrameSpan(0, 77),
        next_frames=FrameSpan(77, 90),
    ),
}
