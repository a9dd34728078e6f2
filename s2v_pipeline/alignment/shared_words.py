"""Which words two lists share, in order: a longest common subsequence.

Belongs here: the search. Does not belong here: what the lists are (written_words).

Bit-parallel, one bit a word of the shorter list, as in H. Hyyro, "Bit-parallel LCS-length computation revisited",
AWOCA 2004. Only every so many rows are kept and the ones between made again on the way back: an hour of words beside a
transcript of a million takes a few seconds and a few MB, where a whole table would take GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt


def shared_words(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """(place in first, place in second) of as many equal words as there can be, both places rising."""
    shorter = min(len(first), len(second))
    head = next((at for at in range(shorter) if first[at] != second[at]), shorter)
    rest = shorter - head
    tail = next((at for at in range(rest) if first[-1 - at] != second[-1 - at]), rest)
    first_middle, second_middle = first[head : len(first) - tail], second[head : len(second) - tail]
    if len(first_middle) <= len(second_middle):
        middle = _search(second_middle, first_middle)
    else:
        middle = [(column, row) for row, column in _search(first_middle, second_middle)]
    return [
        *((at, at) for at in range(head)),
        *((head + column, head + row) for column, row in middle),
        *((len(first) - at, len(second) - at) for at in range(tail, 0, -1)),
    ]


def _search(rows: Sequence[str], columns: Sequence[str]) -> list[tuple[int, int]]:
    """(column, row) of shared words. Bit c is 0 after row r where column c adds to the longest so far."""
    places: dict[str, int] = {}
    for column, word in enumerate(columns):
        places[word] = places.get(word, 0) | 1 << column
    all_columns = (1 << len(columns)) - 1
    shared = [row for row, word in enumerate(rows) if word in places]
    block = isqrt(len(shared)) + 1
    kept: list[int] = []
    bits = all_columns
    for number, row in enumerate(shared):
        if number % block == 0:
            kept.append(bits)
        bits = _after(bits, places[rows[row]], all_columns)

    found: list[tuple[int, int]] = []
    column = len(columns)
    for start in reversed(range(0, len(shared), block)):
        states = [kept.pop()]
        for row in shared[start : start + block]:
            states.append(_after(states[-1], places[rows[row]], all_columns))
        at = len(states) - 1
        while at and column:
            if states[at] >> (column - 1) & 1:
                column -= 1
            elif states[at - 1] >> (column - 1) & 1:
                at, column = at - 1, column - 1
                found.append((column, shared[start + at]))
            else:
                at -= 1
    return found[::-1]


def _after(bits: int, places: int, all_columns: int) -> int:
    hit = bits & places
    return (bits + hit | bits - hit) & all_columns
