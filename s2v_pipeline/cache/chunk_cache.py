"""The cache itself: fetch a chunk's file by its key, keep one, throw out what is damaged.

Belongs here: what a reader trusts, what a writer writes in which order.
Does not belong here: names (layout), moving bytes (objects), size and order of eviction (upkeep), when it is asked
(cluster.chunk_place).

A reader believes a record alone, then checks the bytes against it before anybody uses them. A writer puts the bytes
first and the record last, so that what a killed writer leaves is not seen. Both need no lock: see `layout`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from s2v_pipeline.artifacts import Provenance, file_sha256
from s2v_pipeline.cache.layout import (
    READ_SUFFIX,
    RECORD_SUFFIX,
    CacheEntry,
    Reads,
    entry_from_json,
    reads_from_json,
    stem,
)
from s2v_pipeline.cache.objects import Objects
from s2v_pipeline.cache_settings import CacheSettings
from s2v_pipeline.errors import CacheError, SettingsError

BYTES_PER_GB = 1_000_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChunkCache:
    """One cache; a small value that travels to workers and opens the store where it is used.

    Attributes:
        url: what fsspec opens, or the path of a local folder.
        max_bytes: up to which it may grow; 0 is any size.
        patience_s: how long a store that does not answer is asked again.
    """

    url: str
    max_bytes: int = 0
    patience_s: float = 30.0

    @cached_property
    def objects(self) -> Objects:
        """What it holds, as objects."""
        return Objects(self.url, self.patience_s)

    def fetch(self, kind: str, key: str, destination: Path) -> CacheEntry | None:
        """Copy the file of a key to a new local path and check it; None where there is none that is whole.

        A damaged entry is logged and removed.

        Raises:
            CacheError: the store does not answer.
        """
        name = stem(kind, key)
        content = self.objects.read(name + RECORD_SUFFIX)
        if content is None:
            return None
        try:
            entry = entry_from_json(content, kind, key)
        except CacheError as error:
            self._throw_out(kind, key, error.got)
            return None
        try:
            self.objects.download(entry.content_name, destination, n_bytes=entry.size_bytes)
        except FileNotFoundError:
            self._throw_out(kind, key, "a record without its bytes", entry)
            return None
        fault = fault_of(destination, entry)
        if fault:
            destination.unlink()
            self._throw_out(kind, key, fault, entry)
            return None
        self._note_read(name)
        return entry

    def keep(self, kind: str, path: Path, record: Provenance) -> None:
        """Put a file and its record into the cache; an entry of the same key is replaced.

        Raises:
            CacheError: the store does not answer or may not be written.
        """
        entry = CacheEntry(
            kind, record.key, record.sha256, record.size_bytes, record.made_by, record.made_at, dict(record.sources)
        )
        name = stem(kind, record.key)
        self.objects.upload(path, entry.content_name)
        self.objects.write(name + READ_SUFFIX, Reads(time.time(), 0).to_json())
        self.objects.write(name + RECORD_SUFFIX, entry.to_json())

    def _note_read(self, name: str) -> None:
        """The newest read decides what is evicted last. Where it may not be written, as in a shared cache that is only
        read, nothing but that order is lost."""
        try:
            n_hits = reads_from_json(self.objects.read(name + READ_SUFFIX)).n_hits
            self.objects.write(name + READ_SUFFIX, Reads(time.time(), n_hits + 1).to_json())
        except CacheError as error:
            _log.warning("chunk cache: a read could not be noted: %s", error)

    def _throw_out(self, kind: str, key: str, fault: str, entry: CacheEntry | None = None) -> None:
        _log.warning("chunk cache: %s %s… is damaged (%s); it is removed and made again", kind, key[:12], fault)
        try:
            self.remove(kind, key, entry)
        except CacheError as error:
            _log.warning("chunk cache: it could not be removed: %s", error)

    def remove(self, kind: str, key: str, entry: CacheEntry | None = None) -> None:
        """Let an entry be gone: its record first, so that nobody begins to read what is going.

        Raises:
            CacheError: the store does not answer or may not be written.
        """
        name = stem(kind, key)
        content = [] if entry is None else [entry.content_name]
        self.objects.remove([name + RECORD_SUFFIX])
        self.objects.remove([name + READ_SUFFIX, *content])


def fault_of(path: Path, entry: CacheEntry) -> str:
    """What is wrong with a copy of an entry's bytes; '' where nothing is."""
    size_bytes = path.stat().st_size
    if size_bytes != entry.size_bytes:
        return f"{size_bytes} bytes instead of {entry.size_bytes}"
    sha256 = file_sha256(path)
    return "" if sha256 == entry.sha256 else f"SHA-256 {sha256[:12]}… instead of {entry.sha256[:12]}…"


def cache_of(settings: CacheSettings, folder: Path) -> ChunkCache | None:
    """The cache that the settings name; None where it is off. A path without a scheme starts at `folder`.

    Raises:
        SettingsError: nothing that is installed opens its URL.
    """
    if settings.url is None:
        return None
    import fsspec

    url = settings.url if "://" in settings.url else str((folder / settings.url).absolute())
    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
    except (ValueError, ImportError) as error:
        raise SettingsError(
            "setting cache.url must be a folder, or a URL that fsspec opens",
            got=f"{settings.url!r} ({error})",
            cure="Install what opens it (s3fs for s3://, gcsfs for gs://, adlfs for az://), or give another.",
        ) from error
    return ChunkCache(url, round(settings.max_gb * BYTES_PER_GB), settings.patience_s)
