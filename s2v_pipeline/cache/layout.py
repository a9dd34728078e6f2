"""What lies where in a cache, and what its small records say.

Belongs here: names of objects, the record of an entry and of its reads, and reading both strictly.
Does not belong here: moving bytes (chunk_cache), choosing what goes (upkeep).

Below the cache's root, for a kind (an asset) and a key (64 hexadecimal digits):

    v1/<kind>/<first two digits>/<key>.<first 16 digits of the content's SHA-256>    the bytes
    v1/<kind>/<first two digits>/<key>.json                                          the entry's record, written last
    v1/<kind>/<first two digits>/<key>.read                                          when it was last read, how often

The content's hash is in the name, so that two writers of one key never write to the same object: whichever record comes
last, the bytes that it names are whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from s2v_pipeline.errors import CacheError

VERSION = "v1"
"""Raised when the layout changes: caches of two versions may share a place and do not see each other's entries."""
RECORD_SUFFIX = ".json"
READ_SUFFIX = ".read"
LAST_PRUNE = f"{VERSION}/last_prune"

_HASH = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z_]{0,39}")
_CONTENT_DIGITS = 16  # with the key in front: two contents of one key never share a name


@dataclass(frozen=True)
class CacheEntry:
    """One kept file.

    Attributes:
        kind: asset that it is of.
        key: hash of everything that its content depends on.
        sha256, size_bytes: of its bytes.
        made_by: what made it, as in its provenance record.
        made_at: UTC time, ISO 8601.
        sources: name -> hash or key of what it was made from.

    Raises:
        CacheError: a kind or hash that is none, or a size that is not positive.
    """

    kind: str
    key: str
    sha256: str
    size_bytes: int
    made_by: str
    made_at: str
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        texts = (self.kind, self.key, self.sha256, self.made_by, self.made_at)
        if not all(isinstance(text, str) for text in texts) or type(self.size_bytes) is not int:
            raise _unusable(f"values of other types in {self!r:.200}")
        if not _KIND.fullmatch(self.kind) or not _HASH.fullmatch(self.key) or not _HASH.fullmatch(self.sha256):
            raise _unusable(f"kind {self.kind!r:.60}, key {self.key!r:.80}, hash {self.sha256!r:.80}")
        if self.size_bytes <= 0 or not isinstance(self.sources, Mapping):
            raise _unusable(f"{self.size_bytes} bytes made from {self.sources!r:.100}")

    @property
    def content_name(self) -> str:
        """Name of the object with its bytes, below the cache's root."""
        return f"{stem(self.kind, self.key)}.{self.sha256[:_CONTENT_DIGITS]}"

    def to_json(self) -> bytes:
        """The record as it is stored."""
        return json.dumps(asdict(self), indent=1).encode()


@dataclass(frozen=True)
class Reads:
    """When an entry was last read (seconds since 1970), and how often; two reads at the same time may count as one."""

    last_at_s: float
    n_hits: int

    def to_json(self) -> bytes:
        """The record as it is stored."""
        return json.dumps(asdict(self)).encode()


def stem(kind: str, key: str) -> str:
    """What the names of all objects of an entry start with.

    Raises:
        CacheError: a kind or key that is none.
    """
    if not _KIND.fullmatch(kind) or not _HASH.fullmatch(key):
        raise _unusable(f"kind {kind!r:.60}, key {key!r:.80}")
    return f"{VERSION}/{kind}/{key[:2]}/{key}"


def entry_from_json(content: bytes, kind: str, key: str) -> CacheEntry:
    """The entry that a record names.

    Raises:
        CacheError: not a record of this version, or one of another entry.
    """
    try:
        entry = CacheEntry(**json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise _unusable(f"{type(error).__name__}: {error}") from error
    if (entry.kind, entry.key) != (kind, key):
        raise _unusable(f"the record of {entry.kind} {entry.key[:12]}…")
    return entry


def reads_from_json(content: bytes | None) -> Reads:
    """What is known of an entry's reads; never read where there is no usable record, so that it goes first."""
    try:
        document = json.loads(content or b"{}")
        return Reads(float(document["last_at_s"]), int(document["n_hits"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        return Reads(0.0, 0)


def _unusable(got: str) -> CacheError:
    return CacheError(
        "a cache's record must name a kind, a key, a hash and a size",
        got=got,
        cure="`s2v cache verify` removes what is damaged.",
    )
