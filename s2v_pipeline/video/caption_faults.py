"""What is wrong with a finished video's captions.

Belongs here: reading SRT and WebVTT as a player would, times within the video, order, text.
Does not belong here: making captions (alignment.captions).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import srt
import webvtt

MOST_PER_FILE = 5  # faults named of one file; one is as bad as a hundred
_MS = Fraction(1, 1000)  # captions count in whole ms


def caption_faults(files: Sequence[Path], video_s: Fraction) -> tuple[str, ...]:
    """One line a fault, files in the order given; () where all is well."""
    found: list[str] = []
    for path in files:
        try:
            cues = _read(path)
        except (OSError, UnicodeError, ValueError, webvtt.errors.MalformedFileError, srt.SRTParseError) as error:
            found.append(f"{path.name} is not readable as captions: {error}")
            continue
        faults = [] if cues else ["has no caption"]
        before_s = Fraction(0)
        for number, (start_s, end_s, text) in enumerate(cues, start=1):
            if end_s > video_s + _MS:
                faults.append(
                    f"caption {number} ends at {float(end_s):.3f} s, after the video ({float(video_s):.3f} s)"
                )
            if not start_s < end_s:
                faults.append(f"caption {number} ends at {float(end_s):.3f} s, not after its start")
            if start_s < before_s - _MS:
                faults.append(f"caption {number} starts at {float(start_s):.3f} s, before the one before it ends")
            if not text.strip():
                faults.append(f"caption {number} has no text")
            before_s = end_s
        found += [f"{path.name}: {fault}" for fault in faults[:MOST_PER_FILE]]
    return tuple(found)


def _read(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    """(start, end, text) of each caption, in seconds."""
    if path.suffix == ".srt":
        parsed = srt.parse(path.read_text("utf-8-sig"))
        return [(_seconds(cue.start.total_seconds()), _seconds(cue.end.total_seconds()), cue.content) for cue in parsed]
    if path.suffix == ".vtt":
        read = webvtt.read(str(path))
        return [(_seconds(cue.start_in_seconds), _seconds(cue.end_in_seconds), cue.text) for cue in read]
    raise ValueError("the name must end in .srt or .vtt")


def _seconds(value: float) -> Fraction:
    return Fraction(round(value * 1000), 1000)
