"""Captions from words with times: which words stand together, on which lines, and how long.

Belongs here: cutting into captions and lines, their times. Does not belong here: file formats (caption_files).

Limits are those of Netflix' English Timed Text Style Guide (42 signs a line, 2 lines, 7 s, 20 signs a second), with a
least time of 1 s instead of its 5/6 s. Where captions are cut is the cheapest of all ways to cut, by dynamic
programming over words: a cut costs most within a clause and nothing behind a sentence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from s2v_pipeline.alignment.written_words import Closes, WrittenWord

LINE_SIGNS = 42
"""Signs on a line at most."""

MOST_LINES = 2
"""Lines of a caption at most."""

MOST_MS, LEAST_MS = 7000, 1000
"""A caption's longest time, and the shortest where the neighbours leave room for it."""

SIGNS_PER_S = 20
"""Reading speed that is kept where there is time for it."""

_GAP_MS = 40  # between two captions, a frame at 25 a second: the change is seen
_MOST_LEAD_MS = 500  # a caption that is too short comes at most this much before its first word
_LONG_PAUSE_MS = 2000  # never within a caption
_PAUSE_MS = 300  # heard as a pause
# Costs, in captions: one more caption costs 1.
_CUT_COST = {Closes.SENTENCE: 0.0, Closes.CLAUSE: 0.25, Closes.NOTHING: 1.5}
_CUT_AT_PAUSE_COST = 0.4
_SENTENCE_WITHIN_COST = 1.3  # more than another caption: two sentences share one only where time is short
_PAUSE_WITHIN_COST = 0.8
_LEANING_COST = 0.5  # a cut or line end behind a word that leans on the next
_SHORT_COST = 3.0  # times the part of a second that is missing
_FAST_COST = 2.0  # times the part by which it is too fast
_FULL_COST = 0.3  # of a full caption, squared as it empties: halves are made equal
_LINE_CUT_SIGNS = {
    Closes.SENTENCE: 0,
    Closes.CLAUSE: 0,
    Closes.NOTHING: 10,
}  # unevenness that a better line end is worth
_LEANING_SIGNS = 8
_LEANING = frozenset(
    {
        *("a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "from", "with", "and", "or", "but", "nor", "as"),
        *("if", "that", "than", "my", "your", "his", "her", "its", "our", "their", "this", "these", "those", "no"),
        *("not", "is", "are", "was", "were", "be", "i", "you", "he", "she", "we", "they", "mr.", "mrs.", "ms.", "dr."),
    }
)
_CUT_SIGN = "\u2026"


@dataclass(frozen=True)
class Caption:
    """Lines of text for the time [start_ms, end_ms).

    Raises:
        ValueError: no time or no lines, or a line that is empty or holds a line break.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        broken = not self.lines or any(len(line.splitlines()) != 1 or not line.strip() for line in self.lines)
        if not 0 <= self.start_ms < self.end_ms or broken:
            raise ValueError(f"a caption needs time and whole lines; got {self.start_ms}, {self.end_ms}, {self.lines}")


def phrase_captions(words: Sequence[WrittenWord], duration_s: Fraction) -> tuple[Caption, ...]:
    """Sentences, or parts of them, within the limits above: sorted, apart from each other, within the audio.

    Every word is in one caption, whole. One exception: a word that is longer than a line alone is broken, and what does
    not fit two lines is cut with an ellipsis.
    """
    timeline = _Timeline.of(words, duration_s)
    spans = [span for start, stop in timeline.blocks() for span in _cheapest(timeline, start, stop)]
    captions: list[Caption] = []
    for number, (start, stop) in enumerate(spans):
        next_ms = (
            timeline.starts_ms[spans[number + 1][0]] if number + 1 < len(spans) else timeline.duration_ms + _GAP_MS
        )
        before_ms = captions[-1].end_ms + _GAP_MS if captions else 0
        captions.append(_timed(timeline, start, stop, before_ms, next_ms))
    return tuple(captions)


def word_captions(words: Sequence[WrittenWord], duration_s: Fraction) -> tuple[Caption, ...]:
    """One caption a written word, for just as long as it is said."""
    timeline = _Timeline.of(words, duration_s)
    return tuple(
        Caption(start_ms, end_ms, _lines(words, number, number + 1))
        for number, (start_ms, end_ms) in enumerate(zip(timeline.starts_ms, timeline.ends_ms, strict=True))
    )


def n_cut_words(words: Sequence[WrittenWord]) -> int:
    """Words of which captions show the beginning alone."""
    return sum(_lines([word], 0, 1)[-1] != _broken(word.text)[-1] for word in words if len(word.text) > LINE_SIGNS)


@dataclass(frozen=True)
class _Timeline:
    """Words in whole milliseconds, and where each begins and ends in the running text."""

    words: Sequence[WrittenWord]
    duration_ms: int
    starts_ms: list[int]
    ends_ms: list[int]
    begins: list[int]
    stops: list[int]
    within: list[float]  # cost of keeping together what stands before word k and word k, summed up to k

    @classmethod
    def of(cls, words: Sequence[WrittenWord], duration_s: Fraction) -> _Timeline:
        duration_ms = int(duration_s * 1000)
        starts_ms, ends_ms = [], []
        time_ms = 0
        for number, word in enumerate(words):
            # Every word after this one needs a millisecond too.
            latest_ms = duration_ms - (len(words) - number)
            time_ms = max(time_ms, min(round(word.start_s * 1000), latest_ms))
            starts_ms.append(time_ms)
            time_ms = max(time_ms + 1, min(round(word.end_s * 1000), latest_ms + 1))
            ends_ms.append(time_ms)
        stops = list(accumulate(len(word.text) + len(word.joiner) for word in words))
        begins = [0, *stops[:-1]]
        stops = [stop - len(word.joiner) for stop, word in zip(stops, words, strict=True)]
        timeline = cls(words, duration_ms, starts_ms, ends_ms, begins, stops, [])
        timeline.within.extend(accumulate(timeline._together_cost(number) for number in range(len(words))))
        return timeline

    def pause_ms(self, number: int) -> int:
        """Silence before a word."""
        return self.starts_ms[number] - self.ends_ms[number - 1] if number else 0

    def blocks(self) -> list[tuple[int, int]]:
        """Words between long pauses."""
        cuts = [number for number in range(1, len(self.words)) if self.pause_ms(number) >= _LONG_PAUSE_MS]
        return list(zip([0, *cuts], [*cuts, len(self.words)], strict=True)) if self.words else []

    def fits(self, start: int, stop: int) -> bool:
        """Whether words [start, stop) fit two lines, broken between words, and the time."""
        if self.ends_ms[stop - 1] - self.starts_ms[start] > MOST_MS:
            return False
        second = bisect_right(self.stops, self.begins[start] + LINE_SIGNS, start, stop)
        return second == stop or (second > start and self.stops[stop - 1] - self.begins[second] <= LINE_SIGNS)

    def cut_cost(self, stop: int) -> float:
        """Of ending a caption before word `stop`."""
        last = self.words[stop - 1]
        if stop == len(self.words) or last.closes is not Closes.NOTHING:
            return _CUT_COST[last.closes]
        leaning = _LEANING_COST if last.text.lower() in _LEANING else 0.0
        paused = self.pause_ms(stop) >= _PAUSE_MS
        return leaning + (_CUT_AT_PAUSE_COST if paused else _CUT_COST[Closes.NOTHING])

    def _together_cost(self, number: int) -> float:
        if not number:
            return 0.0
        sentence = _SENTENCE_WITHIN_COST if self.words[number - 1].closes is Closes.SENTENCE else 0.0
        return sentence + _PAUSE_WITHIN_COST * max(0, self.pause_ms(number) - _PAUSE_MS) / 1000


def _cheapest(timeline: _Timeline, first: int, end: int) -> list[tuple[int, int]]:
    """Captions [start, stop) of words [first, end) with the lowest cost."""
    best, came_from = [0.0], [first]
    for stop in range(first + 1, end + 1):
        lowest, chosen = float("inf"), stop - 1
        cut = timeline.cut_cost(stop) if stop < end else 0.0
        for start in range(stop - 1, first - 1, -1):
            if start < stop - 1 and not timeline.fits(start, stop):
                break
            cost = best[start - first] + cut + _caption_cost(timeline, start, stop)
            if cost < lowest:
                lowest, chosen = cost, start
        best.append(lowest)
        came_from.append(chosen)
    spans: list[tuple[int, int]] = []
    stop = end
    while stop > first:
        spans.append((came_from[stop - first], stop))
        stop = came_from[stop - first]
    return spans[::-1]


def _caption_cost(timeline: _Timeline, start: int, stop: int) -> float:
    start_ms = timeline.starts_ms[start]
    next_ms = timeline.starts_ms[stop] if stop < len(timeline.words) else timeline.duration_ms
    room_ms = min(MOST_MS, max(1, next_ms - start_ms))
    signs = timeline.stops[stop - 1] - timeline.begins[start]
    short = max(0.0, 1 - room_ms / LEAST_MS)
    fast = max(0.0, signs * 1000 / (SIGNS_PER_S * room_ms) - 1)
    full = (signs / (MOST_LINES * LINE_SIGNS)) ** 2
    together = timeline.within[stop - 1] - timeline.within[start]
    return 1 + together + _SHORT_COST * short + _FAST_COST * fast + _FULL_COST * full


def _timed(timeline: _Timeline, start: int, stop: int, before_ms: int, next_ms: int) -> Caption:
    """The caption of words [start, stop), from `before_ms` at the earliest to the next one's start at the latest."""
    start_ms, end_ms = timeline.starts_ms[start], timeline.ends_ms[stop - 1]
    lines = _lines(timeline.words, start, stop)
    needed_ms = min(MOST_MS, max(LEAST_MS, -(-1000 * sum(map(len, lines)) // SIGNS_PER_S)))
    gap_ms = min(_GAP_MS, (next_ms - start_ms) // 2)
    latest_ms = min(next_ms - gap_ms, timeline.duration_ms, start_ms + MOST_MS)
    end_ms = min(max(end_ms, start_ms + needed_ms), latest_ms)
    if end_ms - start_ms < needed_ms:
        start_ms = min(start_ms, max(before_ms, start_ms - _MOST_LEAD_MS, end_ms - needed_ms))
    return Caption(start_ms, end_ms, lines)


def _lines(words: Sequence[WrittenWord], start: int, stop: int) -> tuple[str, ...]:
    """Words [start, stop) on one line or two, of which the second is rather the longer."""
    text = _joined(words, start, stop)
    if len(text) <= LINE_SIGNS:
        return (text,)
    if stop - start == 1:
        pieces = _broken(text)
        if len(pieces) > MOST_LINES:
            pieces = [*pieces[: MOST_LINES - 1], pieces[MOST_LINES - 1][: LINE_SIGNS - 1] + _CUT_SIGN]
        return tuple(pieces)
    ways = []
    for cut in range(start + 1, stop):
        above, below = _joined(words, start, cut), _joined(words, cut, stop)
        if max(len(above), len(below)) <= LINE_SIGNS:
            last = words[cut - 1]
            uneven = abs(len(above) - len(below)) + (len(above) > len(below))
            leaning = _LEANING_SIGNS if last.text.lower() in _LEANING else 0
            ways.append((uneven + leaning + _LINE_CUT_SIGNS[last.closes], cut, (above, below)))
    return min(ways)[2]


def _joined(words: Sequence[WrittenWord], start: int, stop: int) -> str:
    return "".join(word.text + word.joiner for word in words[start : stop - 1]) + words[stop - 1].text


def _broken(text: str) -> list[str]:
    """A text that no word end breaks: at spaces where it has any, else where the line is full."""
    lines = [""]
    for part in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(part) <= LINE_SIGNS:
            lines[-1] += f" {part}"
            continue
        pieces = [part[at : at + LINE_SIGNS] for at in range(0, len(part), LINE_SIGNS)]
        lines = [*lines, *pieces] if lines[-1] else pieces
    return lines
