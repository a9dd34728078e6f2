"""The words that a reader of a transcript says.

Belongs here: text as people write it to lower-case words of letters and apostrophes, each with its place in the text.
Does not belong here: how a word sounds (pronunciation), how a number is spelled (numbers_in_words), times.

English only. Rules cover common writing, not all of it: an odd reading costs a badly placed word, never an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import NamedTuple

from s2v_pipeline.alignment import numbers_in_words as numbers
from s2v_pipeline.alignment.traced_text import TracedText

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*'?|'[a-z]+")
_STAGE_DIRECTION = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|\*[^*\n]*\*")  # [applause], <unk>, *laughs*: not said
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u02bb": "'", "\u2032": "'", "`": "'"})
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ODD = re.compile(r"(?:[^\x00-\x7f]|`)+")
_FRACTION_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")

_ABBREVIATIONS: Mapping[str, str] = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor", "rev": "reverend",
    "gen": "general", "sgt": "sergeant", "capt": "captain", "lt": "lieutenant", "col": "colonel", "hon": "honorable",
    "gov": "governor", "sen": "senator", "rep": "representative", "jr": "junior", "sr": "senior", "vs": "versus",
    "etc": "et cetera", "approx": "approximately", "dept": "department", "inc": "incorporated", "ltd": "limited",
    "co": "company", "corp": "corporation", "ave": "avenue", "blvd": "boulevard", "rd": "road", "mt": "mount",
    "jan": "january", "feb": "february", "aug": "august", "sept": "september", "oct": "october", "nov": "november",
    "dec": "december",
}  # fmt: skip
_TITLES = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "rev", "gen", "sgt", "capt", "lt", "col", "hon", "gov", "sen", "rep", "mt", "st"}
)
# Written without their full stop these are words or names of their own.
_NEED_FULL_STOP = frozenset({"rev", "gen", "col", "hon", "gov", "sen", "rep", "inc", "co", "jan", "dec", "capt", "ave"})
_UNITS: Mapping[str, str] = {
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "mg": "milligram", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "ft": "foot", "mph": "mile per hour", "hz": "hertz", "khz": "kilohertz",
    "mb": "megabyte", "gb": "gigabyte", "hr": "hour", "hrs": "hour", "min": "minute", "sec": "second",
}  # fmt: skip
_PLURALS: Mapping[str, str] = {
    "foot": "feet",
    "mile per hour": "miles per hour",
    "hertz": "hertz",
    "kilohertz": "kilohertz",
}
_CURRENCIES: Mapping[str, tuple[str, str, str]] = {
    "$": ("dollar", "dollars", "cent"),
    "£": ("pound", "pounds", "penny"),
    "€": ("euro", "euros", "cent"),
    "¥": ("yen", "yen", "sen"),
}
_MAGNITUDES: Mapping[str, str] = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion"}
_FRACTIONS: Mapping[str, str] = {
    "1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters",
}  # fmt: skip
_SYMBOLS: Mapping[str, str] = {"&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "°": "degrees"}
_SYMBOL = re.compile(f"[{''.join(_SYMBOLS)}]")
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
_MAX_ACRONYM = 5  # longer runs of capitals are shouted words or read as words
_CAPITALS = re.compile(rf"\b(?P<capitals>[A-Z]{{2,{_MAX_ACRONYM}}})(?P<plural>s?)\b")
_PLURAL_OF_LETTER = "'s"  # sounds like the possessive

_Replacement = Callable[[re.Match[str]], str]


class SpokenWord(NamedTuple):
    """A word that is said, and the characters [start, stop) of the transcript that it stands for.

    The words of "$5" have one span; that of an apostrophe that was dropped may be empty.
    """

    word: str
    start: int
    stop: int


def spoken_words(transcript: str, is_word: Callable[[str], bool]) -> tuple[str, ...]:
    """Words in the order in which they are said, each of a-z and apostrophes.

    Numbers, ordinals, years, money, percentages, times of day and common abbreviations are spoken out; bracketed
    stage directions are dropped; capitals that `is_word` (a dictionary) does not know are read letter by letter.
    """
    return tuple(spoken.word for spoken in spoken_places(transcript, is_word))


def spoken_places(transcript: str, is_word: Callable[[str], bool]) -> tuple[SpokenWord, ...]:
    """The words of `spoken_words`, each with its place in the transcript; places never go back."""
    text = _plain(transcript).substituted(_STAGE_DIRECTION, lambda _: " ")
    text = text.substituted(_DASHES, lambda _: "-").with_each(_NOT_ASCII, _without_marks)
    is_shouted = text.text == text.text.upper()
    for pattern, replacement in _RULES:
        text = text.substituted(pattern, replacement)
    text = text.substituted(_SYMBOL, lambda found: f" {_SYMBOLS[found[0]]} ")
    if not is_shouted:
        text = text.substituted(_CAPITALS, lambda found: _acronym(found, is_word))
    text = text.lowered()
    words = (
        SpokenWord(_without_quotes(found[0], is_word), *text.span(*found.span())) for found in _WORD.finditer(text.text)
    )
    return tuple(spoken for spoken in words if spoken.word)


def stage_directions(transcript: str) -> tuple[tuple[int, int], ...]:
    """Spans [start, stop) of what is written but not said: [applause], <unk>, {noise}, *laughs*."""
    text = _plain(transcript)
    return tuple(text.span(*found.span()) for found in _STAGE_DIRECTION.finditer(text.text))


def is_abbreviation(stem: str) -> bool:
    """Whether a full stop behind this may belong to it: "etc", "Dr", "km"."""
    return stem.lower() in _ABBREVIATIONS or stem.lower() in _UNITS or is_title(stem)


def is_title(stem: str) -> bool:
    """Whether a name follows: "Dr", "St"."""
    return stem.lower() in _TITLES


def without_stage_directions(transcript: str) -> str:
    """The text without what stands in brackets or asterisks, which nobody says."""
    return _STAGE_DIRECTION.sub(" ", transcript)


def _plain(transcript: str) -> TracedText:
    """Compatibility forms as the characters that they stand for, and one kind of quotation mark."""
    # NFKC turns one half into "1", a fraction slash and "2"; what stands before it must stay a number of its own.
    text = TracedText.of(transcript).substituted(_FRACTION_AFTER_DIGIT, lambda _: " and ")
    return text.with_each(_ODD, lambda character: unicodedata.normalize("NFKC", character).translate(_QUOTES))


def _without_marks(character: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", character) if unicodedata.category(c) != "Mn")


def _acronym(found: re.Match[str], is_word: Callable[[str], bool]) -> str:
    if is_word(found[0].lower()):
        return found[0]
    return f" {' '.join(found['capitals'])}{_PLURAL_OF_LETTER if found['plural'] else ''}"


def _without_quotes(word: str, is_word: Callable[[str], bool]) -> str:
    """'tis and dogs' keep an apostrophe that the dictionary knows; others were quotation marks."""
    if word[0] != "'" and word[-1] != "'":
        return word
    return word if is_word(word) else word.strip("'")


def _integer(digits: str) -> int:
    return int(digits.replace(",", ""))


def _number(digits: str, fraction: str | None = None) -> str:
    if fraction:
        return numbers.decimal(_integer(digits), fraction)
    if "," not in digits and (len(digits) >= 7 or (len(digits) > 1 and digits[0] == "0")):
        return numbers.digit_by_digit(digits)  # telephone numbers, agent 007
    value = _integer(digits)
    return numbers.year(value) if "," not in digits and numbers.is_year_like(value) else numbers.cardinal(value)


def _money(found: re.Match[str]) -> str:
    one, many, hundredth = _CURRENCIES[found["sign"]]
    digits, fraction, magnitude = found["whole"], found["fraction"], found["magnitude"]
    whole = _integer(digits)
    if magnitude:
        amount = numbers.decimal(whole, fraction) if fraction else numbers.cardinal(whole)
        return f" {amount} {_MAGNITUDES.get(magnitude.lower(), magnitude)} {many} "
    unit = one if whole == 1 else many
    if not fraction or len(fraction) != 2 or int(fraction) == 0:
        amount = numbers.decimal(whole, fraction) if fraction and int(fraction) else numbers.cardinal(whole)
        return f" {amount} {unit} "
    small = "pence" if hundredth == "penny" else f"{hundredth}{'' if int(fraction) == 1 else 's'}"
    cents = f"{numbers.cardinal(int(fraction))} {small}"
    return f" {cents} " if whole == 0 else f" {numbers.cardinal(whole)} {unit} {cents} "


def _time_of_day(found: re.Match[str]) -> str:
    hour, minute = numbers.cardinal(int(found["hour"])), int(found["minute"])
    half = found["half"]
    if minute == 0:
        o_clock = "" if half else " o'clock"
        return f" {hour}{o_clock}{half or ''} "
    return f" {hour} {'oh ' if minute < 10 else ''}{numbers.cardinal(minute)}{half or ''} "


def _measure(found: re.Match[str]) -> str:
    unit = _UNITS[found["unit"].lower()]
    if found["whole"] != "1" or found["fraction"]:
        unit = _PLURALS.get(unit, f"{unit}s")
    return f" {_number(found['whole'], found['fraction'])} {unit} "


def _slashed(found: re.Match[str]) -> str:
    return f" {_FRACTIONS.get(found[0]) or ' '.join(_number(part) for part in found[0].split('/'))} "


def _range(found: re.Match[str]) -> str:
    return f"{found[1]} to {found[2]}" if int(found[1]) < int(found[2]) else f"{found[1]} {found[2]}"


def _abbreviation(found: re.Match[str]) -> str:
    name = found["name"].lower()
    if name in _NEED_FULL_STOP and not found["stop"]:
        return found[0]
    return f"{_ABBREVIATIONS[name]} "


def _rules() -> tuple[tuple[re.Pattern[str], _Replacement], ...]:
    signs = "".join(map(re.escape, _CURRENCIES))
    names = "|".join(sorted(_ABBREVIATIONS, key=len, reverse=True))
    units = "|".join(sorted(_UNITS, key=len, reverse=True))
    whole = rf"(?P<whole>{_NUMBER})(?:\.(?P<fraction>\d+))?"
    magnitude = r"(?:\s?(?P<magnitude>thousand|million|billion|trillion|bn|[kmb])\b)?"
    rules: tuple[tuple[str, _Replacement], ...] = (
        (r"\be\.g\.,?", lambda _: "for example "),
        (r"\bi\.e\.,?", lambda _: "that is "),
        (r"\bSt\.?\s+(?=[A-Z])", lambda _: "Saint "),
        (r"\bSt\.?(?=\W|$)", lambda _: "Street "),
        (r"\bNo\.\s*(?=\d)", lambda _: "number "),
        (r"#\s*(?=\d)", lambda _: "number "),
        (rf"\b(?P<name>{names})\b(?P<stop>\.?)", _abbreviation),
        (rf"(?P<sign>[{signs}])\s?{whole}{magnitude}", _money),
        (r"(?<=\d)\s*([ap])\.?m\b\.?", lambda found: f" {found[1]} m "),
        (r"\b(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?P<half> [ap] m\b)?", _time_of_day),
        (r"\b(?:[A-Za-z]\.){2,}", lambda found: " ".join(found[0].replace(".", " ").split()) + " "),
        (r"(?<=\w)\.(?=(?:com|org|net|edu|gov|io)\b)", lambda _: " dot "),
        (r"\d+\u2044\d+|\b\d{1,4}(?:/\d{1,4})+", lambda found: _slashed(_with_slash(found))),
        (r"\b(\d{3})-(\d{4})\b", lambda found: numbers.digit_by_digit(found[1] + found[2])),
        (r"\b(\d{1,4})\s?-\s?(\d{1,4})\b", _range),
        (r"'?\b(\d{1,3}0)'?s\b", lambda found: f" {numbers.decade(int(found[1]))} "),
        (rf"({_NUMBER})(?:st|nd|rd|th)\b", lambda found: f" {numbers.ordinal(_integer(found[1]))} "),
        (rf"{whole}\s?(?P<unit>{units})\b\.?", _measure),
        (r"(?:(?<=\s)|^)-(?=\d)", lambda _: " minus "),
        (r"°\s?C\b", lambda _: " degrees celsius "),
        (r"°\s?F\b", lambda _: " degrees fahrenheit "),
        (whole, lambda found: f" {_number(found['whole'], found['fraction'])} "),
    )
    case_matters = (r"\bSt", r"\bNo")
    return tuple(
        (re.compile(pattern, 0 if pattern.startswith(case_matters) else re.IGNORECASE), replacement)
        for pattern, replacement in rules
    )


def _with_slash(found: re.Match[str]) -> re.Match[str]:
    plain = re.fullmatch(r"[\d/]+", found[0].replace("\u2044", "/"))
    return plain or found


_RULES = _rules()
