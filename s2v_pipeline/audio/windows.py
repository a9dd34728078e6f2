"""Sound in blocks: cutting a stream of blocks into windows with margins, so that long recordings fit into memory.

Belongs here: the type of a block, windows with margins, applying a function to each.
Does not belong here: what is done to the sound (rumble, hum, denoise, normalise), reading files (decode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SoundBlock = NDArray[np.float32]
"""(channels, n) samples, nominally in [-1, 1]."""

SoundBlocks = Iterable[SoundBlock]
"""A sound, one block of any length after the other."""


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of sound with what lies around it.

    Attributes:
        samples: (channels, before + length + after); margins are shorter at the sound's ends.
        before: samples of the margin in front.
        length: samples of the stretch itself.
    """

    samples: SoundBlock
    before: int
    length: int

    def own(self, samples: SoundBlock) -> SoundBlock:
        """The stretch itself out of processed `samples`, which have the window's shape."""
        return samples[:, self.before : self.before + self.length]


def windows(blocks: SoundBlocks, *, length: int, margin: int) -> Iterator[Window]:
    """Windows of `length` samples, the last one shorter, with up to `margin` samples on both sides.

    Raises:
        ValueError: `length` is not positive or `margin` is negative.
    """
    if length < 1 or margin < 0:
        raise ValueError(f"windows need a positive length and margins; got {length}, {margin}")
    source = iter(blocks)
    held: SoundBlock | None = None
    before = 0
    ended = False
    while not ended or (held is not None and held.shape[1] > before):
        parts = [] if held is None else [held]
        n_held = sum(part.shape[1] for part in parts)
        while not ended and n_held < before + length + margin:
            block = next(source, None)
            if block is None:
                ended = True
            else:
                parts.append(block)
                n_held += block.shape[1]
        if n_held <= before:
            return
        held = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        n_own = min(length, n_held - before)
        yield Window(held[:, : before + n_own + margin], before, n_own)
        keep_from = max(0, before + n_own - margin)
        held, before = held[:, keep_from:], before + n_own - keep_from


def apply_in_windows(
    blocks: SoundBlocks, function: Callable[[SoundBlock], SoundBlock], *, length: int, margin: int
) -> Iterator[SoundBlock]:
    """`function`, which keeps the shape, over the whole sound; it needs to look no further than `margin` samples."""
    for window in windows(blocks, length=length, margin=margin):
        yield window.own(function(window.samples))
