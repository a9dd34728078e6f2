"""Long speech in cells: what is heard between two pauses, or between a pause and a cut.

Belongs here: cutting recognised pieces at their pauses, and which recognised phones lie where.
Does not belong here: where pieces end (pieces), recognising (recogniser_aligner), words of a transcript (matching).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from s2v_pipeline.alignment.recogniser_aligner import RECOGNISER_LATE_S, HeardWord
from s2v_pipeline.audio.voice_activity import Segments

SURE_PAUSE_S = 0.25
"""A pause of this length lies between words: closures of stop consonants last 0.1 s, slow ones 0.15 s."""


@dataclass(frozen=True)
class Cell:
    """A stretch of one piece, whose ends lie in pauses or where the piece was cut.

    Attributes:
        start_s, end_s: on the whole speech's clock.
        piece: number of the piece.
        opens_at_pause: no word reaches into the cell from the one before.
        heard: words heard in it, with times on the whole speech's clock; a word over a pause comes in two parts.
    """

    start_s: float
    end_s: float
    piece: int
    opens_at_pause: bool
    heard: tuple[HeardWord, ...]

    @property
    def phones(self) -> tuple[str, ...]:
        """What is heard, without times."""
        return tuple(phone for word in self.heard for phone, _, _ in word.phones)


def cells_of_piece(
    piece: int,
    span_s: tuple[float, float],
    heard: Sequence[HeardWord],
    segments: Segments,
    *,
    late_s: float = RECOGNISER_LATE_S,
) -> list[Cell]:
    """Cells of one piece; `heard` has times from the piece's start, which come `late_s` after the sound."""
    start_s, end_s = span_s
    pauses = [
        (before[1], after[0])
        for before, after in pairwise(segments)
        if after[0] - before[1] >= SURE_PAUSE_S and before[1] < end_s and after[0] >= start_s
    ]
    opens_at_pause = piece == 0 or any(from_s <= start_s <= until_s for from_s, until_s in pauses)
    cuts_s = [(from_s + until_s) / 2 for from_s, until_s in pauses if from_s > start_s and until_s < end_s]
    edges_s = [start_s, *cuts_s, end_s]
    return [
        Cell(
            edges_s[index],
            edges_s[index + 1],
            piece,
            opens_at_pause or index > 0,
            _words_between(
                heard,
                offset_s=start_s,
                from_s=edges_s[index] if index else float("-inf"),
                until_s=edges_s[index + 1] if index < len(cuts_s) else float("inf"),
                late_s=late_s,
            ),
        )
        for index in range(len(edges_s) - 1)
    ]


def _words_between(
    heard: Sequence[HeardWord], *, offset_s: float, from_s: float, until_s: float, late_s: float
) -> tuple[HeardWord, ...]:
    words = []
    for word in heard:
        shifted = [(phone, start_s + offset_s, end_s + offset_s) for phone, start_s, end_s in word.phones]
        inside = tuple(phone for phone in shifted if from_s <= phone[1] - late_s < until_s)
        if inside:
            words.append(HeardWord(word.ipa, inside))
    return tuple(words)
