"""What the gate found of one video, as `quality_report.json` and as a page for people.

Belongs here: the two files. Does not belong here: measuring (inspection), judging (gate), the plots (quality_plots).
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from s2v_pipeline.video.frames import grab_frames
from s2v_pipeline.video.inspection import Expected, Inspection
from s2v_pipeline.video.quality_plots import draw_course
from s2v_pipeline.video.verdict import CHECKS, Measured, passed

REPORT_PART = "quality_report.json"
PAGE_PART = "quality_report.html"
FORMAT = 1  # of the JSON; raised when a reader must know

_MOST_PICTURES = 12
_PICTURE_PX = 240
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#1c2430}
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}
table{border-collapse:collapse;width:100%}td,th{padding:.25em .6em;text-align:left;border-bottom:1px solid #dde3ea}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.pass{color:#1b6e3a}.fail{color:#b3261e;font-weight:600}.none{color:#6b7686}
figure{display:inline-block;margin:0 .8em .8em 0}figcaption{font-size:.85em;max-width:240px}img{max-width:100%}
"""


def write_report(path: Path, name: str, measured: Sequence[Measured]) -> None:
    """Write the JSON: every measure with its limit, by check."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "video": name,
        "passed": all(measure.passed for measure in measured),
        "checks": {
            check: {
                "passed": passed(measured, check),
                "measures": [
                    {
                        **{key: value for key, value in asdict(measure).items() if key != "check"},
                        "passed": measure.passed,
                    }
                    for measure in measured
                    if measure.check == check
                ],
            }
            for check in CHECKS
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_page(
    path: Path, video: Path, name: str, found: Inspection, expected: Expected, measured: Sequence[Measured]
) -> None:
    """Write the page: verdicts, courses over time, the frames where something is worst. It needs no other file.

    Raises:
        MediaError: the video is not readable.
    """
    failed = [check for check in CHECKS if not passed(measured, check)]
    verdict = "fails: " + ", ".join(check.replace("_", " ") for check in failed) if failed else "passes every check"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(name)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(name)} <span class={'fail' if failed else 'pass'}>{html.escape(verdict)}</span></h1>",
        "<h2>Course</h2>",
        _svg(draw_course(found, expected)),
        "<h2>Frames to look at</h2>",
        *_pictures(video, found, measured),
        "<h2>Measures</h2><table><tr><th>check<th>measure<th>value<th>limit<th>where<th>",
        *(_row(measure) for measure in measured),
        "</table></html>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _row(measure: Measured) -> str:
    state = "none" if measure.value is None else "pass" if measure.passed else "fail"
    value = "not measured" if measure.value is None else f"{measure.value:.4g}{measure.unit}"
    limit = f"{'≥' if measure.at_least else '≤'} {measure.limit:.4g}"
    place = "" if measure.at_s is None else f"{measure.at_s:.2f} s"
    cells = (measure.check.replace("_", " "), measure.measure, value, limit, place, measure.note)
    classes = ("", "", f"n {state}", "n", "n", "")
    return "<tr>" + "".join(f"<td class='{c}'>{html.escape(cell)}" for c, cell in zip(classes, cells, strict=True))


def _pictures(video: Path, found: Inspection, measured: Sequence[Measured]) -> list[str]:
    """The frames at which a failed measure is worst; without any, those at which the measures come nearest to it."""
    placed = sorted((m for m in measured if m.at_s is not None), key=lambda measure: measure.passed)
    chosen: dict[int, list[str]] = {}
    fps = found.probe.fps
    for measure in placed:
        index = min(found.probe.n_frames - 1, max(0, int((measure.at_s or 0.0) * fps)))
        chosen.setdefault(index, []).append(measure.measure + ("" if measure.passed else " (fails)"))
    times_s = [Fraction(index) / fps for index in list(chosen)[:_MOST_PICTURES]]
    shown = grab_frames(video, times_s)
    return [_figure(frame.pixels, f"{float(frame.time_s):.2f} s: {', '.join(chosen[frame.index])}") for frame in shown]


def _figure(pixels: Any, text: str) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_PICTURE_PX, _PICTURE_PX))
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=88)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    image = f"<img alt='' src='data:image/jpeg;base64,{encoded}'>"
    return f"<figure>{image}<figcaption>{html.escape(text)}</figcaption></figure>"


def _svg(text: str) -> str:
    return text[text.index("<svg") :]
