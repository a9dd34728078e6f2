"""Keeping a cache within its size and whole: what is in it, what goes, what is damaged.

Belongs here: listing, eviction, verification. Does not belong here: fetching and keeping one entry (chunk_cache).

Sizes come from one listing. When entries were last read stands in small records, which are read only when something
must go. Eviction goes down to 90 % of the limit, so that a full cache is not emptied a little after every chunk.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s2v_pipeline.cache.chunk_cache import ChunkCache, fault_of
from s2v_pipeline.cache.layout import (
    LAST_PRUNE,
    READ_SUFFIX,
    RECORD_SUFFIX,
    VERSION,
    CacheEntry,
    Reads,
    entry_from_json,
    reads_from_json,
)
from s2v_pipeline.errors import CacheError

DOWN_TO = 0.9
PRUNE_INTERVAL_S = 60.0
"""Writers evict at most once in so long, whoever they are: a listing of a large cache takes seconds."""
_ORPHAN_AGE_S = 3600.0
"""Bytes without a record may be those of a writer at work; an upload does not take an hour."""

_log = logging.getLogger(__name__)
_looked_at: dict[str, float] = {}  # url -> monotonic time at which this process last thought of pruning


@dataclass(frozen=True)
class Listed:
    """An entry as a listing shows it.

    Attributes:
        kind, key: which one.
        size_bytes: all of its objects.
        names: of its objects, the record first.
    """

    kind: str
    key: str
    size_bytes: int
    names: tuple[str, ...]

    @property
    def read_name(self) -> str:
        """Name of the record of its reads."""
        return self.names[0].removesuffix(RECORD_SUFFIX) + READ_SUFFIX


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        n_entries: kind -> number.
        size_bytes: of everything, orphans included.
        oldest_read_s: seconds since the least recently read entry was read; 0 without entries.
        n_hits: times that entries which are still there were read.
    """

    n_entries: dict[str, int]
    size_bytes: int
    oldest_read_s: float
    n_hits: int


@dataclass(frozen=True)
class Pruned:
    """What an eviction removed, and what is left."""

    n_removed: int
    removed_bytes: int
    left_bytes: int


def size_of(cache: ChunkCache) -> tuple[int, int]:
    """Entries and bytes, from one listing.

    Raises:
        CacheError: the store does not answer.
    """
    entries, orphans = _listed(cache)
    return len(entries), sum(each.size_bytes for each in entries) + sum(orphans.values())


def info_of(cache: ChunkCache) -> CacheInfo:
    """What a cache holds.

    Raises:
        CacheError: the store does not answer.
    """
    entries, orphans = _listed(cache)
    reads = _reads(cache, entries)
    kinds = {each.kind for each in entries}
    return CacheInfo(
        n_entries={kind: sum(each.kind == kind for each in entries) for kind in sorted(kinds)},
        size_bytes=sum(each.size_bytes for each in entries) + sum(orphans.values()),
        oldest_read_s=time.time() - min(last_at_s for last_at_s, _ in reads.values()) if reads else 0.0,
        n_hits=sum(n_hits for _, n_hits in reads.values()),
    )


def prune(cache: ChunkCache, *, max_bytes: int | None = None, older_than_s: float | None = None) -> Pruned:
    """Remove entries that were not read for so long, then the least recently read until the rest fits.

    Args:
        cache: which one.
        max_bytes: what must not be exceeded; none means the cache's own limit, 0 any size.
        older_than_s: age of the last read from which entries go.

    Raises:
        CacheError: the store does not answer or may not be written.
    """
    entries, orphans = _listed(cache)
    limit = cache.max_bytes if max_bytes is None else max_bytes
    size_bytes = sum(each.size_bytes for each in entries) + sum(orphans.values())
    going: list[Listed] = []
    old_orphans = [name for name in orphans if _is_old(cache, name)]
    size_bytes -= sum(orphans[name] for name in old_orphans)
    removed_bytes = sum(orphans[name] for name in old_orphans)
    if older_than_s is not None or (limit and size_bytes > limit):
        reads = _reads(cache, entries)
        now, is_full = time.time(), bool(limit) and size_bytes > limit
        for each in sorted(entries, key=lambda each: reads[each.key, each.kind]):
            is_old = older_than_s is not None and now - reads[each.key, each.kind][0] > older_than_s
            if is_old or (is_full and size_bytes > DOWN_TO * limit):
                going.append(each)
                size_bytes -= each.size_bytes
                removed_bytes += each.size_bytes
    cache.objects.remove([each.names[0] for each in going])  # first what readers begin with
    cache.objects.remove([*old_orphans, *(name for each in going for name in each.names[1:])])
    return Pruned(len(going), removed_bytes, size_bytes)


def prune_now_and_then(cache: ChunkCache) -> Pruned | None:
    """What a writer calls after it has kept something: prune, unless that was done within the last minute.

    Raises:
        CacheError: the store does not answer or may not be written.
    """
    now = time.monotonic()
    if not cache.max_bytes or now - _looked_at.get(cache.url, -PRUNE_INTERVAL_S) < PRUNE_INTERVAL_S:
        return None
    _looked_at[cache.url] = now
    content = cache.objects.read(LAST_PRUNE)
    if time.time() - reads_from_json(content).last_at_s < PRUNE_INTERVAL_S:
        return None
    cache.objects.write(LAST_PRUNE, Reads(time.time(), 0).to_json())
    pruned = prune(cache)
    if pruned.n_removed:
        _log.info("chunk cache: %d entries (%d bytes) made room", pruned.n_removed, pruned.removed_bytes)
    return pruned


def verify(cache: ChunkCache) -> Iterator[tuple[str, str, str]]:
    """(kind, key, fault) of every entry, '' where it is whole; damaged ones are removed.

    Raises:
        CacheError: the store does not answer or may not be written.
    """
    entries, _ = _listed(cache)
    with tempfile.TemporaryDirectory(prefix="s2v-verify-") as folder:
        copy = Path(folder) / "copy"
        for each in entries:
            content = cache.objects.read(each.names[0])
            if content is None:
                continue  # evicted since the listing
            fault = _fault(cache, each, content, copy)
            copy.unlink(missing_ok=True)
            if fault:
                cache.objects.remove(each.names[:1])
                cache.objects.remove(each.names[1:])
            yield each.kind, each.key, fault


def _fault(cache: ChunkCache, listed: Listed, content: bytes, copy: Path) -> str:
    try:
        entry: CacheEntry = entry_from_json(content, listed.kind, listed.key)
    except CacheError as error:
        return error.got
    try:
        cache.objects.download(entry.content_name, copy, n_bytes=entry.size_bytes)
    except FileNotFoundError:
        return "a record without its bytes"
    return fault_of(copy, entry)


def _listed(cache: ChunkCache) -> tuple[list[Listed], dict[str, int]]:
    """Entries, and name -> bytes of objects that belong to none."""
    objects = {each.name: each.size_bytes for each in cache.objects.list(VERSION)}
    groups: dict[str, list[str]] = {}
    for name in objects:
        folder, _, last = name.rpartition("/")
        groups.setdefault(f"{folder}/{last.partition('.')[0]}", []).append(name)
    entries, orphans = [], {}
    for base, names in groups.items():
        record = base + RECORD_SUFFIX
        parts = base.split("/")
        if record in names and len(parts) == 4:
            ordered = (record, *sorted(name for name in names if name != record))
            entries.append(Listed(parts[1], parts[3], sum(objects[name] for name in names), ordered))
        elif base != LAST_PRUNE:
            orphans.update({name: objects[name] for name in names})
    return entries, orphans


def _reads(cache: ChunkCache, entries: list[Listed]) -> dict[tuple[str, str], tuple[float, int]]:
    """(key, kind) -> when the entry was last read, and how often."""
    contents = cache.objects.read_many([each.read_name for each in entries])
    reads = {(each.key, each.kind): reads_from_json(contents.get(each.read_name)) for each in entries}
    return {name: (found.last_at_s, found.n_hits) for name, found in reads.items()}


def _is_old(cache: ChunkCache, name: str) -> bool:
    written_at = cache.objects.modified_at(name)
    return written_at is not None and (datetime.now(UTC) - written_at).total_seconds() > _ORPHAN_AGE_S
