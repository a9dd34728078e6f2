"""Kinds of values that settings take, and what all groups of settings share.

Belongs here: rates, lists that the environment can spell, the frozen base of a group.
Does not belong here: the settings themselves (setting_groups, video_settings).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

# No exponents: "1e999999999" would be computed to its last digit. Twelve digits hold every rate that exists.
_RATE_TEXT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?|[0-9]{1,12}/[0-9]{1,12}")


def _to_fraction(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
        raise ValueError("must be a number such as 25, '30000/1001' or 29.97")
    if isinstance(value, str) and not _RATE_TEXT.fullmatch(value.strip()):
        raise ValueError("must be a number such as 25, '30000/1001' or 29.97")
    try:
        # A float such as 29.97 stands for its shortest decimal form, not for its binary expansion.
        return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    except ZeroDivisionError as error:
        raise ValueError("must not divide by zero") from error


def _to_parts(value: object) -> object:
    """The environment has no lists: "a, b" stands for two."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Rate = Annotated[Fraction, BeforeValidator(_to_fraction), PlainSerializer(str, return_type=str)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_to_parts)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_to_parts)]


class Group(BaseModel):
    """Base of all groups: frozen, without unknown names, without numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
