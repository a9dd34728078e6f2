"""Larger pictures: Lanczos with detail, or a model that somebody brings.

Belongs here: the resampling stage, the protocol of a model and the stage around it.
Does not belong here: any model or its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.enhance.filter_graph import Filter, filtered
from s2v_pipeline.video.enhance.stage import ALONE, Window, sliding
from s2v_pipeline.video.frames import ShownFrame


@dataclass(frozen=True)
class LanczosUpscale:
    """FFmpeg's Lanczos scaler and, after it, contrast adaptive sharpening.

    Args:
        width_px, height_px: new size.
        detail: strength of the sharpening, 0 to 1; None leaves it out.

    Raises:
        ValueError: another size or strength.
    """

    width_px: int
    height_px: int
    detail: float | None = 0.0
    name: str = "upscale (lanczos)"
    window: Window = ALONE

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px) < 2 or not 0 <= (self.detail or 0) <= 1:
            raise ValueError(
                f"a size must be at least 2 px and detail 0 to 1; got {self.width_px}x{self.height_px}, {self.detail}"
            )

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        filters = [Filter("scale", f"{self.width_px}:{self.height_px}:flags=lanczos+accurate_rnd+bitexact")]
        if self.detail is not None:
            filters.append(Filter("cas", f"strength={self.detail:.4f}"))
        return filtered(frames, filters)


@runtime_checkable
class FrameUpscaler(Protocol):
    """A super-resolution model, loaded by whoever has its weights.

    Attributes:
        name: of the model and its weights, for the metadata.
        scale: how many times larger each side becomes.
        window: frames that it looks at around each frame.
    """

    @property
    def name(self) -> str: ...

    @property
    def scale(self) -> int: ...

    @property
    def window(self) -> Window: ...

    def upscale(self, around: tuple[NDArray[np.uint8], ...], position: int) -> NDArray[np.uint8]:
        """Frame `position` of the window, (scale * height, scale * width, 3) uint8 RGB; pure and deterministic."""
        ...


@dataclass(frozen=True)
class ModelUpscale:
    """A model's frames, checked for what it promised."""

    model: FrameUpscaler

    @property
    def name(self) -> str:
        """See `Enhancement`."""
        return f"upscale ({self.model.name})"

    @property
    def window(self) -> Window:
        """See `Enhancement`."""
        return self.model.window

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`."""
        for around, position in sliding(frames, self.window):
            own = around[position]
            larger = self.model.upscale(tuple(frame.pixels for frame in around), position)
            height_px, width_px = (self.model.scale * side for side in own.pixels.shape[:2])
            if larger.shape != (height_px, width_px, 3) or larger.dtype != np.uint8:
                raise MediaError(
                    f"{self.model.name} must give {width_px}x{height_px} RGB in 8 bits",
                    got=f"{larger.shape} {larger.dtype}",
                    cure="Give a model that keeps to the protocol FrameUpscaler.",
                )
            yield ShownFrame(own.index, own.time_s, larger)
