"""The one place where an input's partition key is made from its name.

Belongs here: turning any text into a key that is safe as a folder's name, a URL part and a Dagster partition key.
Does not belong here: deciding what an input's name is (scan, manifest), refusing keys that clash (scan, manifest).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_SLUG_CHARS = 60
"""Leaves room for a part's name and a temporary suffix in a file name (255 bytes on common file systems)."""

_HASH_CHARS = (
    8  # 32 bits: two of 10,000 changed names clash with a chance of 1 in 86, if their readable parts are equal
)
_EMPTY_STEM = "input"
_CLEAN = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_SLUG_CHARS - 1}}}")
_OTHER_RUNS = re.compile(r"[^a-z0-9]+")


def is_slug(text: str) -> bool:
    """Whether `text` is a key as `input_slug` makes them."""
    return _CLEAN.fullmatch(text) is not None


def input_slug(name: str) -> str:
    """Partition key of an input: 1 to 60 characters of [a-z0-9-], the first a letter or a digit.

    A name that is such a key already is kept. Any other is simplified and gets '-' and 8 hex digits of the SHA-256 of
    the whole name, so that "Obama", "obama!" and "obama" stay three inputs.
    """
    if is_slug(name):
        return name
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    # Lone surrogates (file names that are not UTF-8) cannot be encoded strictly; this form keeps them distinct.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    stem = _OTHER_RUNS.sub("-", ascii_name).strip("-")[: MAX_SLUG_CHARS - _HASH_CHARS - 1].strip("-")
    return f"{stem or _EMPTY_STEM}-{digest}"
