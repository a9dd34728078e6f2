"""What every enhancement promises, and how several follow each other.

Belongs here: the protocol, the window that a stage looks at, sliding it over a stream, chaining stages.
Does not belong here: any single enhancement, reading or writing files.

Frames are `ShownFrame`s: an index, an exact time, and (height, width, 3) uint8 RGB pixels that nobody changes in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from s2v_pipeline.video.frames import ShownFrame


@dataclass(frozen=True)
class Window:
    """Frames that a stage needs for frame i: the half-open span [i - back_frames, i + stop_frames).

    `Window(0, 1)` is the frame alone. A stage holds at most `n_frames` frames, however long the video is.

    Raises:
        ValueError: a window without the frame itself.
    """

    back_frames: int
    stop_frames: int

    def __post_init__(self) -> None:
        if self.back_frames < 0 or self.stop_frames < 1:
            raise ValueError(f"a window must hold its own frame; got [-{self.back_frames}, {self.stop_frames})")

    @property
    def n_frames(self) -> int:
        """Most frames in memory at a time."""
        return self.back_frames + self.stop_frames


ALONE = Window(0, 1)
PAIR = Window(0, 2)


@runtime_checkable
class Enhancement(Protocol):
    """One stage. Applying it keeps no state on the object: the same frames give the same bytes, every time.

    Attributes:
        name: for metadata and tables.
        window: what it looks at around each frame.
    """

    @property
    def name(self) -> str: ...

    @property
    def window(self) -> Window: ...

    def apply(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """The enhanced frames, in order.

        Raises:
            MediaError: frames that the stage cannot work on, or a filter that failed.
        """
        ...


def chained(stages: Sequence[Enhancement], frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
    """The frames after all stages, first to last; without a stage, the frames."""
    stream = iter(frames)
    for stage in stages:
        stream = stage.apply(stream)
    return stream


def sliding(frames: Iterable[ShownFrame], window: Window) -> Iterator[tuple[tuple[ShownFrame, ...], int]]:
    """(frames of the window around each frame, cut at the ends of the video; position of the frame in them)."""
    source = iter(frames)
    held: deque[ShownFrame] = deque()
    position = -1
    exhausted = False
    while True:
        position += 1
        while not exhausted and len(held) < position + window.stop_frames:
            following = next(source, None)
            if following is None:
                exhausted = True
            else:
                held.append(following)
        if position >= len(held):
            return
        if position > window.back_frames:
            held.popleft()
            position -= 1
        yield tuple(held), position
