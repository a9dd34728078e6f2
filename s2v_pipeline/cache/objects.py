"""Objects below one root, on a local folder or in any store that fsspec opens.

Belongs here: reading, writing whole, listing, removing; each call waits as `patience` says.
Does not belong here: what the objects mean (layout).

A local file appears under its name by a rename, so that a reader never sees half of one; object stores give that by
themselves. fsspec takes most of a second to import: only who has a cache waits for it.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from s2v_pipeline.cache.patience import Patience

TEMPORARY_PREFIX = ".tmp-"
_REMOVED_AT_ONCE = 200  # one request where the store can; few enough to be done while it is waited for


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing: its name below the root and its length."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Objects:
    """What lies below `url`.

    Every method raises CacheError where the store does not answer.
    """

    url: str
    patience_s: float

    @cached_property
    def _patience(self) -> Patience:
        return Patience(shown_url(self.url), self.patience_s)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        filesystem, root = fsspec.core.url_to_fs(self.url)
        return filesystem, root.rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._opened[1]}/{name}"

    @property
    def _is_local(self) -> bool:
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self._opened[0], LocalFileSystem)

    def read(self, name: str) -> bytes | None:
        """Content of a small object; None where there is none."""
        try:
            content: bytes = self._patience.ask(name, lambda: self._opened[0].cat_file(self._path(name)))
        except FileNotFoundError:
            return None
        return content

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Name -> content of small objects, at once where the store can; those that are not there are left out."""
        if not names:
            return {}

        def cat() -> dict[str, bytes]:
            paths = {self._path(name): name for name in names}
            found = self._opened[0].cat(list(paths), on_error="omit")
            return {paths[path]: content for path, content in found.items() if path in paths}

        return self._patience.ask(f"{len(names)} records", cat)

    def write(self, name: str, content: bytes) -> None:
        """Put a small object in its place, whole."""

        def put() -> None:
            filesystem, path = self._opened[0], self._path(name)
            if not self._is_local:
                filesystem.pipe_file(path, content)
                return
            temporary = _temporary(path)
            try:
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

        self._patience.ask(name, put)

    def upload(self, source: Path, name: str) -> None:
        """Put a file in an object's place, whole."""

        def put() -> None:
            filesystem, path = self._opened[0], self._path(name)
            if not self._is_local:
                filesystem.put_file(str(source), path)
                return
            temporary = _temporary(path)
            try:
                filesystem.put_file(str(source), str(temporary))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

        self._patience.ask(name, put, n_bytes=source.stat().st_size)

    def download(self, name: str, destination: Path, *, n_bytes: int) -> None:
        """Copy an object to a local file.

        Raises:
            FileNotFoundError: there is no such object.
        """
        self._patience.ask(name, lambda: self._opened[0].get_file(self._path(name), str(destination)), n_bytes=n_bytes)

    def list(self, below: str) -> list[StoredObject]:
        """All objects whose names start with a folder's."""

        def find() -> list[StoredObject]:
            filesystem, root = self._opened
            filesystem.invalidate_cache()  # other processes write, too
            found = filesystem.find(self._path(below), detail=True)
            return [StoredObject(path[len(root) + 1 :], int(about["size"])) for path, about in found.items()]

        try:
            return self._patience.ask(f"list of {below}", find)
        except FileNotFoundError:
            return []

    def remove(self, names: Sequence[str]) -> None:
        """Let objects be gone, in any order; those that are not there are gone already."""

        def remove_these(paths: Sequence[str]) -> None:
            try:
                self._opened[0].rm(list(paths))
            except FileNotFoundError:  # one of them is gone: which of the others went with it is the store's secret
                for path in paths:
                    with suppress(FileNotFoundError):
                        self._opened[0].rm_file(path)

        for start in range(0, len(names), _REMOVED_AT_ONCE):
            paths = [self._path(name) for name in names[start : start + _REMOVED_AT_ONCE]]
            self._patience.ask(f"removal of {len(paths)} objects", partial(remove_these, paths))

    def modified_at(self, name: str) -> datetime | None:
        """When an object was written; None where it is gone or the store does not say."""
        try:
            when = self._patience.ask(name, lambda: self._opened[0].modified(self._path(name)))
        except (FileNotFoundError, NotImplementedError):
            return None
        if not isinstance(when, datetime):
            return None
        return when if when.tzinfo else when.replace(tzinfo=UTC)


def shown_url(url: str) -> str:
    """A URL as it may stand in logs: without the user and password that some have in front of the host."""
    return re.sub(r"//[^/@]*@", "//…@", url)


def _temporary(path: str) -> Path:
    """A name in the folder of a local path, which is made."""
    folder = Path(os.path.dirname(path))  # noqa: PTH120 (fsspec gives a string)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
