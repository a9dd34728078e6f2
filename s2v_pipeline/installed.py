"""Which distributions this Python environment holds, and whether they are the versions that the package asks for.

Belongs here: reading installation metadata; nothing is imported.
Does not belong here: what to do about a wrong one (doctor).
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)([^;]*)(;.*)?")
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")  # the only operators that pyproject.toml uses


@dataclass(frozen=True)
class Requirement:
    """One dependency: its bounds, such as ">=1.13,<2", and the version found (None: not installed)."""

    name: str
    bounds: str
    version: str | None

    @property
    def is_met(self) -> bool:
        """Whether it is installed in a version within the bounds."""
        return self.version is not None and within(self.version, self.bounds)


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(distribution: str) -> tuple[Requirement, ...]:
    """What an installed distribution depends on everywhere: without its extras and what only some platforms have; ()
    where it is not installed."""
    try:
        lines = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    matches = [match for line in lines if (match := _REQUIREMENT.match(line)) and not match[3]]
    return tuple(Requirement(match[1], match[2].strip(), installed_version(match[1])) for match in matches)


def within(version: str, bounds: str) -> bool:
    """Whether a version fits bounds such as ">=1.13,<2"; of the version only its leading numbers count."""
    at_least = {">=": True, "<": False}
    return all(
        (_numbers(version) >= _numbers(bound)) == at_least[operator] for operator, bound in _BOUND.findall(bounds)
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers, without zeros at the end, so that 2.0 and 2 are the same."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
