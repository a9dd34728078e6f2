"""Captions as SubRip (.srt) and WebVTT (.vtt) text.

Belongs here: the two formats and what they cannot hold. Does not belong here: what the captions are (captions).

Written here rather than with a library: those that there are take `{...}` and `\\N` in a text for commands, or write
`<` and `&` as they are. What is written is read back with independent readers in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from s2v_pipeline.alignment.captions import Caption

_NOTHING_WIDE = "\u200b"
# SubRip has no way to escape; what players would take for a tag or a command gets a space without width behind its
# first sign, and an arrow, which stands between times, one of another shape.
_SRT_COMMAND = re.compile(r"[<{\\](?=[\\/A-Za-z])")
_ARROW, _SRT_ARROW = "-->", "\u2192"
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def srt_text(captions: Iterable[Caption]) -> str:
    """A SubRip file's text; UTF-8 is what players expect of it."""
    return "\n".join(
        f"{number}\n{_clock(each.start_ms, ',')} --> {_clock(each.end_ms, ',')}\n{_srt_lines(each)}\n"
        for number, each in enumerate(captions, start=1)
    )


def vtt_text(captions: Iterable[Caption]) -> str:
    """A WebVTT file's text (W3C, "WebVTT: The Web Video Text Tracks Format"), which is UTF-8."""
    cues = (
        f"{_clock(each.start_ms, '.')} --> {_clock(each.end_ms, '.')}\n"
        + "\n".join(line.translate(_VTT_ESCAPES) for line in each.lines)
        + "\n"
        for each in captions
    )
    return "\n".join(["WEBVTT\n", *cues])


def _srt_lines(caption: Caption) -> str:
    return _SRT_COMMAND.sub(lambda found: found[0] + _NOTHING_WIDE, "\n".join(caption.lines)).replace(
        _ARROW, _SRT_ARROW
    )


def _clock(time_ms: int, point: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"
