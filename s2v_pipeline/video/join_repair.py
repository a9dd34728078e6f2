"""Jumps at joins softened: what jumped is spread over a few frames on either side.

Belongs here: the repair. Does not belong here: deciding which joins need it (video.joins).

The jump between the last frame of one chunk and the first of the next is taken apart into a displacement (optical flow)
and, after following it, a slow field of colour. Frames before the join are moved and coloured a growing part of the way
towards the later chunk, frames after it a shrinking part of the way back. Each frame keeps its own mouth: pictures of
other times are not mixed in, but for the frames next to the join, where a quarter hides what neither field explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.video.enhance.flow import Flow, FlowMeter, pulled
from s2v_pipeline.video.enhance.stage import Window, sliding
from s2v_pipeline.video.frames import ShownFrame

REACH_FRAMES = 4
"""Frames on either side: a sixth of a second at 25 frames a second, in which a jump becomes a quick movement."""

_SMOOTH_SHARE = 1 / 24  # of the longer side: blur of both fields; a head jumps as a whole, lips must not be dragged
_MIXED_SHARE = 0.25  # of the frame across the join in the two frames next to it


@dataclass(frozen=True)
class BlendJoins:
    """The joins given, softened; all other frames pass unchanged.

    Args:
        joins: first frame of the later chunk of each join to soften, ascending.
        reach_frames: frames on either side.
    """

    joins: tuple[int, ...]
    reach_frames: int = REACH_FRAMES
    name: str = "blend joins"

    @property
    def window(self) -> Window:
        """See `Enhancement`."""
        return Window(self.reach_frames, self.reach_frames + 1)

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """See `Enhancement`; frames must be numbered as the joins count them."""
        meter = FlowMeter(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        jump: _Jump | None = None
        for around, position in sliding(frames, self.window):
            own = around[position]
            join = nearest_join(self.joins, own.index, self.reach_frames)
            if join is None:
                yield own
                continue
            if jump is None or jump.join != join:
                sides = {frame.index: frame.pixels for frame in around}
                if join not in sides or join - 1 not in sides:
                    yield own  # the video ends before the join
                    continue
                jump = _Jump.between(sides[join - 1], sides[join], join, meter)
            yield ShownFrame(own.index, own.time_s, jump.softened(own.pixels, own.index, self.reach_frames))


def nearest_join(joins: Sequence[int], frame: int, reach_frames: int) -> int | None:
    """The join that the frame is within reach of; of two the nearer, and the earlier of two as near."""
    near = [join for join in joins if join - reach_frames <= frame < join + reach_frames]
    return min(near, key=lambda join: abs(2 * (frame - join) + 1), default=None)


@dataclass(frozen=True, eq=False)
class _Jump:
    """What jumped at a join."""

    join: int
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    back: Flow  # for a pixel of the later frame: where it lies in the earlier one
    there: Flow  # for a pixel of the earlier frame: where it lies in the later one
    colour: NDArray[np.float32]  # later minus earlier, after following the movement; slow

    @classmethod
    def between(cls, before: NDArray[np.uint8], after: NDArray[np.uint8], join: int, meter: FlowMeter) -> _Jump:
        height_px, width_px, _ = before.shape
        size = (width_px, height_px)
        spread_px = max(size) * _SMOOTH_SHARE
        one, two = meter.gray(before), meter.gray(after)
        there = np.asarray(cv2.GaussianBlur(meter.between(one, two, size), (0, 0), spread_px), np.float32)
        back = np.asarray(cv2.GaussianBlur(meter.between(two, one, size), (0, 0), spread_px), np.float32)
        moved = pulled(before, back).astype(np.float32)
        colour = cv2.GaussianBlur(after.astype(np.float32) - moved, (0, 0), spread_px)
        return cls(join, before, after, back, there, np.asarray(colour, np.float32))

    def softened(self, pixels: NDArray[np.uint8], index: int, reach_frames: int) -> NDArray[np.uint8]:
        """The frame, moved and coloured its part of the way."""
        early = index < self.join
        steps = index - (self.join - reach_frames) + 1 if early else self.join + reach_frames - index
        share = steps / (2 * reach_frames + 1)  # below one half: the two frames next to the join end one step apart
        flow = self.back if early else self.there
        moved = pulled(pixels, np.float32(share) * flow).astype(np.float32)
        moved += (share if early else -share) * self.colour
        if index in (self.join - 1, self.join):
            other, other_flow = (self.after, self.there) if early else (self.before, self.back)
            across = pulled(other, np.float32(1 - share) * other_flow).astype(np.float32)
            across += (share - 1 if early else 1 - share) * self.colour
            moved = (1 - _MIXED_SHARE) * moved + _MIXED_SHARE * across
        return np.asarray(np.rint(np.clip(moved, 0, 255)), np.uint8)
