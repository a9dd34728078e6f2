"""Numbers as English speakers say them.

Belongs here: integers, ordinals, years, decades, decimals to lower-case words.
Does not belong here: finding numbers in a text and what stands around them (transcript).

American reading: "one hundred twenty three", without "and".
"""

from __future__ import annotations

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

LARGEST = 10**15 - 1
"""Larger integers are read digit by digit."""


def cardinal(number: int) -> str:
    """123 -> "one hundred twenty three"; digit by digit above `LARGEST`.

    Raises:
        ValueError: negative.
    """
    if number < 0:
        raise ValueError(f"a number to spell must not be negative; got {number}")
    if number > LARGEST:
        return digit_by_digit(str(number))
    if number < len(_SMALL):
        return _SMALL[number]
    for scale, name in _SCALES:
        if number >= scale:
            return _joined(f"{cardinal(number // scale)} {name}", number % scale)
    return _joined(_TENS[number // 10], number % 10)


def ordinal(number: int) -> str:
    """21 -> "twenty first"."""
    head, _, last = cardinal(number).rpartition(" ")
    if last in _ORDINALS:
        spoken = _ORDINALS[last]
    elif last.endswith("y"):
        spoken = f"{last[:-1]}ieth"
    else:
        spoken = f"{last}th"
    return f"{head} {spoken}".strip()


def year(number: int) -> str:
    """1984 -> "nineteen eighty four", 1905 -> "nineteen oh five", 2007 -> "two thousand seven"."""
    century, rest = divmod(number, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def is_year_like(number: int) -> bool:
    """Whether four digits without a comma are read in pairs; "fifteen hundred people" is said so too."""
    return 1100 <= number <= 1999 or 2010 <= number <= 2099


def decade(number: int) -> str:
    """1990 -> "nineteen nineties", 90 -> "nineties", 2000 -> "two thousands"."""
    spoken = year(number) if is_year_like(number) else cardinal(number)
    return f"{spoken[:-1]}ies" if spoken.endswith("y") else f"{spoken}s"


def decimal(whole: int, fraction_digits: str) -> str:
    """(3, "14") -> "three point one four"."""
    return f"{cardinal(whole)} point {digit_by_digit(fraction_digits)}"


def digit_by_digit(digits: str) -> str:
    """ "007" -> "zero zero seven"."""
    return " ".join(_SMALL[int(digit)] for digit in digits)


def _joined(head: str, rest: int) -> str:
    return f"{head} {cardinal(rest)}" if rest else head
