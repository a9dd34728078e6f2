"""The course of a video's measures over time, drawn for people.

Belongs here: one figure. Does not belong here: measures, the page around it (quality_report).
"""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from s2v_pipeline.video.inspection import Expected, Inspection
from s2v_pipeline.video.phone_signals import read_phones

_SIZE_IN = (10.0, 6.2)
_MOST_POINTS = 1500  # more are not seen, and an hour's page must stay small
_SILENT, _CLOSED = "#eef1f5", "#f6d9a8"


def draw_course(found: Inspection, expected: Expected) -> str:
    """SVG text: mouth's opening over the phones, brightness, change from frame to frame, likeness to the portrait."""
    fps = float(found.probe.fps)
    times_s = np.asarray((np.arange(len(found.track.luma)) + 0.5) / fps, np.float64)
    change = found.track.change.mean(axis=1)
    courses = (
        ("mouth's opening\n(eye distances)", found.opening),
        ("brightness\n(0-255)", found.track.luma),
        ("change to the\nframe before", change),
        ("likeness to\nthe portrait", found.track.likeness),
    )
    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    FigureCanvasSVG(figure)
    for axes, (name, values) in zip(figure.subplots(len(courses), 1, sharex=True), courses, strict=True):
        for phone in read_phones(expected.phonemes):
            if phone.name == "SIL" or phone.name in ("P", "B", "M"):
                axes.axvspan(phone.start_s, phone.end_s, color=_SILENT if phone.name == "SIL" else _CLOSED, lw=0)
        at_s, drawn = _thinned(times_s, np.asarray(values, np.float64))
        axes.plot(at_s, drawn, lw=0.9, color="#2f5d8a")
        for frame in (*found.picture.jumps, *found.picture.empty_frames)[:_MOST_POINTS]:
            axes.axvline((frame + 0.5) / fps, color="#b3261e", lw=0.8)
        axes.set_ylabel(name, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("s   (grey: silence, orange: P, B, M, red: jumps and empty frames)", fontsize=8)
    axes.set_xlim(0, times_s[-1] + 0.5 / fps)
    content = io.StringIO()
    # Without a date and with a fixed salt the same measures give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "quality"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _thinned(
    times_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest of as many neighbours as it takes to stay below _MOST_POINTS."""
    step = -(-2 * len(values) // _MOST_POINTS)
    if step <= 2:
        return times_s, values
    n = len(values) // step
    parts = values[: n * step].reshape(n, step)
    pairs = np.stack([parts.min(axis=1), parts.max(axis=1)], axis=1).ravel()
    return np.repeat(times_s[: n * step : step], 2), pairs
