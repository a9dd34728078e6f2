"""FFmpeg's own video filters, through PyAV, over a stream of frames.

Belongs here: building the graph, feeding and draining it, keeping each frame's index and time.
Does not belong here: which filter with which options (the stages).

One thread a graph, so that the same frames give the same bytes. Pictures stay RGB, as planes, so nothing is lost on the
way in and out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.frames import ShownFrame

_TICK = Fraction(1, 25)  # the filters used here look at the order of frames alone


@dataclass(frozen=True)
class Filter:
    """One FFmpeg filter with its options, as FFmpeg writes them: Filter("cas", "strength=0.3")."""

    name: str
    options: str = ""

    @property
    def available(self) -> bool:
        """Whether PyAV's FFmpeg has it; filters under the GPL (hqdn3d, eq) are not in its wheels."""
        return self.name in av.filter.filters_available


def filtered(frames: Iterable[ShownFrame], filters: Sequence[Filter]) -> Iterator[ShownFrame]:
    """Each frame after the filters, with its own index and time; the size may change, the number may not.

    Raises:
        MediaError: a filter that is not there or refuses its options, or one that drops or adds frames.
    """
    missing = [one.name for one in filters if not one.available]
    if missing:
        raise MediaError(
            "FFmpeg must have the filters that an enhancement uses",
            got=f"no {', '.join(missing)}",
            cure="Install PyAV's own wheel (pip install --force-reinstall av), or switch the enhancement off.",
        )
    source = iter(frames)
    first = next(source, None)
    if first is None:
        return
    waiting: deque[ShownFrame] = deque()
    try:
        graph = _graph(first, filters)
        for number, frame in enumerate(chain([first], source)):
            waiting.append(frame)
            graph.vpush(_picture(frame, number))
            yield from _drained(graph, waiting)
        graph.vpush(None)
        yield from _drained(graph, waiting)
    except av.FFmpegError as error:
        names = ", ".join(one.name for one in filters)
        raise MediaError(
            f"the filters {names} must take frames of {first.pixels.shape[1]}x{first.pixels.shape[0]}",
            got=f"{type(error).__name__}: {error}",
            cure="Switch the enhancement off, or report this with the video's size.",
        ) from error
    if waiting:
        raise MediaError(
            "filters must give as many frames as they get",
            got=f"{len(waiting)} fewer",
            cure="Switch the enhancement off.",
        )


def _graph(first: ShownFrame, filters: Sequence[Filter]) -> Graph:
    height_px, width_px, _ = first.pixels.shape
    graph = Graph()
    graph.threads = 1
    source = f"video_size={width_px}x{height_px}:pix_fmt=rgb24:time_base={_TICK}:pixel_aspect=1/1"
    steps = (Filter("buffer", source), Filter("format", "gbrp"), *filters, Filter("format", "rgb24"))
    nodes: list[FilterContext] = [graph.add(one.name, one.options or None) for one in steps]
    graph.link_nodes(*nodes, graph.add("buffersink"))
    graph.configure()
    return graph


def _picture(frame: ShownFrame, number: int) -> VideoFrame:
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
    picture.pts = number
    picture.time_base = _TICK
    return picture


def _drained(graph: Graph, waiting: deque[ShownFrame]) -> Iterator[ShownFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        if not waiting:
            raise MediaError(
                "filters must give as many frames as they get", got="more", cure="Switch the enhancement off."
            )
        frame = waiting.popleft()
        yield ShownFrame(frame.index, frame.time_s, np.ascontiguousarray(picture.to_ndarray(format="rgb24")))
