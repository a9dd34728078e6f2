"""Captions and chapters inside a video: cues read from a sidecar, chapters at pauses, both as the container takes them.

Belongs here: WebVTT's cues as packets of a text stream, where chapters start and what they are called.
Does not belong here: making captions (alignment), muxing (mux).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import pandas as pd
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

_CUE = re.compile(r"(\d+):(\d\d):(\d\d)\.(\d{3}) --> (\d+):(\d\d):(\d\d)\.(\d{3})\n((?:.+\n?)+)")
_MS = Fraction(1, 1000)
MIN_PAUSE_S = 0.5  # shorter ones lie between words and at commas; a new thought takes a breath
_TITLE_WORDS = 6
_SILENCE = "SIL"

# What FFmpeg's encoder makes the sample description of 3GPP timed text from: white letters below, no box.
_STYLE_HEADER = b"""[Script Info]\r
ScriptType: v4.00+\r
PlayResX: 384\r
PlayResY: 288\r
\r
[V4+ Styles]\r
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, \
MarginL, MarginR, MarginV, Encoding\r
Style: Default,Sans,18,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r
\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""


# Containers name languages by ISO 639-2/T; those that people speak into videos most.
_THREE_LETTERS: Mapping[str, str] = dict(
    re.findall(
        r"(..):(...)",
        "ar:ara cs:ces da:dan de:deu el:ell en:eng es:spa fi:fin fr:fra he:heb hi:hin hu:hun id:ind it:ita ja:jpn "
        "ko:kor nb:nob nl:nld no:nor pl:pol pt:por ro:ron ru:rus sv:swe th:tha tr:tur uk:ukr vi:vie zh:zho",
    )
)


@dataclass(frozen=True)
class Cue:
    """Text that is shown from `start_ms` to `end_ms`; `text` is escaped as WebVTT has it."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class Chapter:
    """Half-open span [start_s, end_s) of a video, and its name."""

    start_s: Fraction
    end_s: Fraction
    title: str


@dataclass(frozen=True)
class Inside:
    """What goes into the container beside picture and sound; `language` is a tag such as en or pt-BR."""

    cues: tuple[Cue, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    language: str = "en"


def three_letters(language: str) -> str:
    """A tag such as pt-BR as containers have it, por; und (undetermined) for one that is not in the table here.

    MOV has numbers for fewer languages, under older names; FFmpeg leaves out those that it does not find.
    """
    primary = language.partition("-")[0].lower()
    return primary if len(primary) == 3 else _THREE_LETTERS.get(primary, "und")


def read_cues(vtt: str) -> tuple[Cue, ...]:
    """The cues of a WebVTT file as `alignment.caption_files` writes it."""
    cues = []
    for found in _CUE.finditer(vtt):
        *clock, text = found.groups()
        start_ms, end_ms = (
            ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(ms)
            for hours, minutes, seconds, ms in (clock[:4], clock[4:])
        )
        cues.append(Cue(start_ms, end_ms, text.strip("\n")))
    return tuple(cues)


def chapters_at_pauses(
    phonemes: pd.DataFrame, cues: Sequence[Cue], *, length_s: Fraction, least_s: float
) -> tuple[Chapter, ...]:
    """Chapters that start in the middle of the longest pauses, each at least `least_s` long; () below two.

    Titles are the first words of what is said in them, in the transcript's spelling.
    """
    silent = phonemes[phonemes["phone"] == _SILENCE]
    pauses = [
        (end_s - start_s, (start_s + end_s) / 2)
        for start_s, end_s in zip(silent["start_s"], silent["end_s"], strict=True)
        if end_s - start_s >= MIN_PAUSE_S
    ]
    bounds_s = [0.0, float(length_s)]
    for _, middle_s in sorted(pauses, reverse=True):
        if all(abs(middle_s - bound_s) >= least_s for bound_s in bounds_s):
            bounds_s.append(middle_s)
    bounds_s.sort()
    if len(bounds_s) < 3:
        return ()
    starts_s = [Fraction(round(1000 * bound_s), 1000) for bound_s in bounds_s[:-1]]
    return tuple(
        Chapter(start_s, end_s, _title(cues, start_s, end_s) or f"{number}")
        for number, (start_s, end_s) in enumerate(zip(starts_s, [*starts_s[1:], length_s], strict=True), start=1)
    )


def _title(cues: Sequence[Cue], start_s: Fraction, end_s: Fraction) -> str:
    words = " ".join(
        html.unescape(cue.text) for cue in cues if start_s <= (cue.start_ms + cue.end_ms) * _MS / 2 < end_s
    ).split()
    title = " ".join(words[:_TITLE_WORDS])
    return title.rstrip(",;:") + "…" if len(words) > _TITLE_WORDS else title


def set_chapters(container: OutputContainer, chapters: Sequence[Chapter]) -> None:
    """Give an output its chapters; before the first packet."""
    container.set_chapters(
        [
            {
                "id": number,
                "start": round(chapter.start_s / _MS),
                "end": round(chapter.end_s / _MS),
                "time_base": _MS,
                "metadata": {"title": chapter.title},
            }
            for number, chapter in enumerate(chapters, start=1)
        ]
    )


def add_caption_stream(container: OutputContainer, language: str) -> SubtitleStream:
    """A stream of timed text: WebVTT in WebM, 3GPP timed text (tx3g) in MP4 and MOV."""
    if container.format.name == "webm":
        stream = cast("SubtitleStream", container.add_mux_stream("webvtt"))
    else:
        stream = container.add_stream("mov_text")
        stream.codec_context.subtitle_header = _STYLE_HEADER
    stream.time_base = _MS
    stream.metadata["language"] = three_letters(language)
    return stream


def caption_packets(stream: SubtitleStream, cues: Sequence[Cue], *, webm: bool) -> Iterator[Packet[SubtitleStream]]:
    """One packet a cue; the muxer fills the gaps between them.

    A sample of tx3g is the length of its text in two bytes, then the text in UTF-8 (3GPP TS 26.245, section 5.17).
    """
    for cue in cues:
        text = cue.text.encode() if webm else html.unescape(cue.text).encode()
        packet = cast("Packet[SubtitleStream]", Packet(text if webm else len(text).to_bytes(2, "big") + text))
        packet.pts = packet.dts = cue.start_ms
        packet.duration = cue.end_ms - cue.start_ms
        packet.time_base = _MS
        packet.stream = stream
        yield packet
