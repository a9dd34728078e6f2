"""Text that is rewritten step by step and still knows where each character comes from.

Belongs here: substitution with offsets into the text that the rewriting started from.
Does not belong here: any rule of rewriting (transcript).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TracedText:
    """A text and, for each of its characters, the half-open span of the source that it stands for.

    Attributes:
        text: as it is now, n characters.
        starts, ends: (n,) int32, offsets into the source; both never fall.

    Raises:
        ValueError: other shapes.
    """

    text: str
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.starts.shape != (len(self.text),) or self.ends.shape != (len(self.text),):
            raise ValueError(f"{len(self.text)} characters need as many offsets; got {self.starts.shape}")

    @classmethod
    def of(cls, source: str) -> TracedText:
        """The source itself."""
        at = np.arange(len(source) + 1, dtype=np.int32)
        return cls(source, at[:-1], at[1:])

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """What the characters [start, stop) stand for; nothing, where none are between characters of two sources."""
        if start < stop:
            return int(self.starts[start]), int(self.ends[stop - 1])
        before = int(self.ends[start - 1]) if start else 0
        behind = int(self.starts[start]) if start < len(self.text) else before
        return behind, max(before, behind)

    def substituted(self, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> TracedText:
        """As `pattern.sub`; each character of a replacement stands for all that was replaced."""

        def replace(found: re.Match[str]) -> tuple[str, NDArray[np.int32], NDArray[np.int32]]:
            new = replacement(found)
            start, end = self.span(*found.span())
            return new, np.full(len(new), start, np.int32), np.full(len(new), end, np.int32)

        return self._rebuilt(pattern, replace)

    def with_each(self, pattern: re.Pattern[str], change: Callable[[str], str]) -> TracedText:
        """The characters of the runs that the pattern finds, each changed by itself to none, one or more."""

        def replace(found: re.Match[str]) -> tuple[str, NDArray[np.int32], NDArray[np.int32]]:
            changed = [change(character) for character in found[0]]
            lengths = np.fromiter(map(len, changed), np.int64, len(changed))
            run = slice(*found.span())
            return "".join(changed), np.repeat(self.starts[run], lengths), np.repeat(self.ends[run], lengths)

        return self._rebuilt(pattern, replace)

    def lowered(self) -> TracedText:
        """In lower case, for text whose length this leaves alone.

        Raises:
            ValueError: it does not.
        """
        return TracedText(self.text.lower(), self.starts, self.ends)

    def _rebuilt(
        self,
        pattern: re.Pattern[str],
        replace: Callable[[re.Match[str]], tuple[str, NDArray[np.int32], NDArray[np.int32]]],
    ) -> TracedText:
        texts: list[str] = []
        starts: list[NDArray[np.int32]] = []
        ends: list[NDArray[np.int32]] = []
        at = 0
        for found in pattern.finditer(self.text):
            new, new_starts, new_ends = replace(found)
            texts += [self.text[at : found.start()], new]
            starts += [self.starts[at : found.start()], new_starts]
            ends += [self.ends[at : found.start()], new_ends]
            at = found.end()
        if not texts:
            return self
        return TracedText(
            "".join([*texts, self.text[at:]]),
            np.concatenate([*starts, self.starts[at:]]),
            np.concatenate([*ends, self.ends[at:]]),
        )
