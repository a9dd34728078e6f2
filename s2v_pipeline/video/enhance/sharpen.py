"""Sharper edges.

Belongs here: the stage around FFmpeg's contrast adaptive sharpening.
Does not belong here: larger pictures (upscale).

CAS (AMD FidelityFX) sharpens flat texture more than edges that are sharp already, so it makes no halos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from s2v_pipeline.video.enhance.filter_graph import Filter, filtered
from s2v_pipeline.video.enhance.stage import ALONE, Window
from s2v_pipeline.video.frames import ShownFrame

MOST_STRENGTH = 0.8
"""A portrait blurred by 0.8 px gains 0.7 to 1.5 dB of PSNR at 0 to 0.6 and loses 4 dB at 1."""


@dataclass(frozen=True)
class Sharpen:
    """FFmpeg's cas.

    Args:
        strength: 0 to 0.8; 0 is the mildest sharpening, not none. Beyond 0.8 it does harm even to a blurred picture.

    Raises:
        ValueError: another strength.
    """

    strength: float = 0.3
    name: str = "sharpen"
    window: Window = ALONE

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= MOST_STRENGTH:
            raise ValueError(f"strength must be 0 to {MOST_STRENGTH}; got {self.strength}")

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        return filtered(frames, [Filter("cas", f"strength={self.strength:.4f}")])
