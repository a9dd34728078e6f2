"""A measure beside its limit, and the checks that measures belong to.

Belongs here: the names and the value. Does not belong here: which measure has which limit (gate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHECKS = (
    "container_is_as_ordered",
    "length_is_exact",
    "frames_are_whole",
    "picture_moves",
    "picture_is_clean",
    "colours_are_kept",
    "sound_is_the_speech",
    "lips_follow_speech",
    "lips_rest_in_silence",
    "face_is_kept",
    "captions_fit",
)
"""Names of the gate's checks, in the order of a report."""


@dataclass(frozen=True)
class Measured:
    """One measure against its limit.

    Attributes:
        check: one of CHECKS.
        measure: what was measured, in words.
        value: None where it could not be taken.
        limit: of the value.
        at_least: the limit is the least, else the most.
        unit: of both; "" for a count or a share.
        at_s: where in the video it is worst, where that is known.
        note: why there is no value, or what was found.
    """

    check: str
    measure: str
    value: float | None
    limit: float
    at_least: bool
    unit: str = ""
    at_s: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within the limit, or not to be measured."""
        if self.value is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def line(self) -> str:
        """For people, one line."""
        if self.value is None:
            return f"{self.measure}: not measured, {self.note}"
        bound = "at least" if self.at_least else "at most"
        place = "" if self.at_s is None else f" at {self.at_s:.2f} s"
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.measure}: {_figure(self.value)}{self.unit}, {bound} {_figure(self.limit)}{self.unit}{place}{note}"
        )


def passed(measured: Sequence[Measured], check: str) -> bool:
    """All measures of a check."""
    return all(measure.passed for measure in measured if measure.check == check)


def _figure(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
