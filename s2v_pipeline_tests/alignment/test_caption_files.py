"""The two formats, read back by programs that others wrote: FFmpeg, webvtt-py, srt."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import av
import pytest
import srt
import webvtt

from s2v_pipeline.alignment.caption_files import srt_text, vtt_text
from s2v_pipeline.alignment.captions import Caption, phrase_captions
from s2v_pipeline_tests.alignment.spoken_tables import HOSTILE, written

CAPTIONS = (
    Caption(0, 1500, ("R&D, a<b & c>d", "“two” --> three")),
    Caption(1500, 1501, ("1",)),
    Caption(3_599_999, 3_600_500, ("<i>so</i>", "{\\an8}it is")),
    Caption(356_400_000, 356_401_000, ("שלום 🎉", "&amp; \\N NOTE STYLE WEBVTT")),
)


def _ffmpeg(path: Path) -> list[tuple[int, int, str]]:
    """(start_ms, end_ms, text) as FFmpeg's decoder shows them."""
    found = []
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        assert stream.time_base is not None
        for packet in container.demux(stream):
            if packet.size:
                start_ms = round(packet.pts * stream.time_base * 1000)
                end_ms = start_ms + round((packet.duration or 0) * stream.time_base * 1000)
                (subtitle,) = packet.decode()
                found.append((start_ms, end_ms, subtitle.dialogue.decode().replace("\\N", "\n")))
    return found


def _shown(captions: Sequence[Caption]) -> list[tuple[int, int, str]]:
    return [(each.start_ms, each.end_ms, "\n".join(each.lines)) for each in captions]


def _letters(text: str) -> str:
    """Letters and digits alone: FFmpeg escapes other signs in a way of its own."""
    return "".join(filter(str.isalnum, text))


def _plain(text: str) -> str:
    """As a reader sees it: without signs that have no width."""
    return text.replace("\u200b", "")


@pytest.mark.parametrize("captions", [CAPTIONS, phrase_captions(*written(HOSTILE))], ids=["odd", "hostile"])
def test_srt_read_by_another_program(captions: Sequence[Caption]) -> None:
    read = [
        (each.start // timedelta(milliseconds=1), each.end // timedelta(milliseconds=1), _plain(each.content))
        for each in srt.parse(srt_text(captions))
    ]
    assert read == [(start, end, text.replace("-->", "→")) for start, end, text in _shown(captions)]


@pytest.mark.parametrize("captions", [CAPTIONS, phrase_captions(*written(HOSTILE))], ids=["odd", "hostile"])
def test_vtt_read_by_another_program(captions: Sequence[Caption]) -> None:
    read = [
        (round(each.start_in_seconds * 1000) + _ms(each.start), round(each.end_in_seconds * 1000) + _ms(each.end), each)
        for each in webvtt.from_string(vtt_text(captions))
    ]
    assert [(start, end, html.unescape(each.raw_text)) for start, end, each in read] == _shown(captions)


def _ms(clock: str) -> int:
    """webvtt-py's seconds are whole."""
    return int(clock.rpartition(".")[2])


@pytest.mark.parametrize("suffix_and_text", [(".srt", srt_text), (".vtt", vtt_text)], ids=["srt", "vtt"])
def test_ffmpeg_reads_both(suffix_and_text: tuple[str, Callable[[Sequence[Caption]], str]], tmp_path: Path) -> None:
    suffix, text_of = suffix_and_text
    captions = phrase_captions(*written(HOSTILE))
    path = tmp_path / f"a{suffix}"
    path.write_text(text_of(captions), encoding="utf-8")
    read = _ffmpeg(path)
    assert [each[:2] for each in read] == [each[:2] for each in _shown(captions)]
    for (*_, text), (*_, shown) in zip(read, _shown(captions), strict=True):
        assert _letters(text) == _letters(shown)


def test_no_line_of_either_can_be_taken_for_a_time_or_a_tag() -> None:
    captions = phrase_captions(*written(HOSTILE))
    for text in (srt_text(captions), vtt_text(captions)):
        assert text.count("-->") == len(captions)
        assert "\n\n\n" not in text
    assert not re.search(r"<[A-Za-z/]|\{\\|\\[A-Za-z]", srt_text(CAPTIONS))
    assert "<" not in vtt_text(CAPTIONS)


def test_the_files_start_and_end_as_they_must() -> None:
    assert vtt_text(CAPTIONS).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n")
    assert srt_text(CAPTIONS).startswith("1\n00:00:00,000 --> 00:00:01,500\n")
    assert "99:00:00,000 --> 99:00:01,000" in srt_text(CAPTIONS)
    assert (srt_text(()), vtt_text(())) == ("", "WEBVTT\n")
