"""The record of which partition key means which files: one JSON file an input.

Belongs here: adding, finding and listing what is known, refusing a key that means other files already.
Does not belong here: finding inputs on disk (scan, manifest), Dagster's own list of partitions (defs).

A damaged record counts as absent, with a warning in the log: the next scan of the same input writes it anew.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2v_pipeline.artifacts import atomic_path, disk_errors, file_sha256
from s2v_pipeline.errors import ArtifactError, ManifestError, SettingsError
from s2v_pipeline.inputs.slug import is_slug
from s2v_pipeline.inputs.source import InputSource

_LOG = logging.getLogger(__name__)
_SUFFIX = ".json"


@dataclass(frozen=True)
class InputCatalogue:
    """Records under one folder; any number of processes may read and write at once.

    A writer replaces a whole record, so that a reader sees the old one or the new one; of two writers of the same input
    the later one wins.
    """

    root: Path

    def add(self, source: InputSource) -> bool:
        """Remember an input; True when it is new or what it says changed since it was added.

        Raises:
            ManifestError: one of its files is gone.
            ArtifactError: the catalogue's folder is full or may not be written.
        """
        record = {"fingerprint": source.fingerprint(), "source": source.to_json()}
        known = self._read(source.input_id)
        if known != record:  # also where only the folder changed, which is no new content
            with atomic_path(self._path(source.input_id)) as temporary:
                temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        return known is None or known["fingerprint"] != record["fingerprint"]

    def check_free(self, source: InputSource) -> None:
        """See that no input that came another way has the source's key, unless it is one of the same files.

        Raises:
            ManifestError: it is taken.
        """
        record = self._read(source.input_id)
        if record is None:
            return
        try:
            present = InputSource.from_json(record["source"])
        except (ManifestError, SettingsError) as error:
            _LOG.warning("the record of input %s cannot be used and is replaced: %s", source.input_id, error)
            return
        if _way(present) != _way(source) and not _same_files(present, source):
            raise ManifestError(
                f"an input's name must be its own; {source.input_id!r} is taken",
                got=f"{source.name!r} by {_way(source)}, while {present.name!r} came by {_way(present)}",
                cure="Give it another name (--name, the id column, or the name of the folder or files).",
            )

    def get(self, input_id: str) -> InputSource:
        """The input of a partition key.

        Raises:
            ManifestError: unknown, or its record is damaged.
            SettingsError: its settings are not valid any more.
            ArtifactError: there is no catalogue, as where a disk is not mounted just now.
        """
        record = self._read(input_id) if is_slug(input_id) else None
        if record is None and not self.root.is_dir():
            raise ArtifactError(
                "the catalogue of inputs must be there before one is used",
                got=f"no folder {self.root}",
                cure="Where the artifacts are on a disk of their own, see that it is mounted (paths.artifacts); "
                "in a new project add the input first: `s2v inputs add`.",
            )
        if record is None:
            raise ManifestError(
                "an input must be known before it is used",
                got=f"the unknown id {input_id!r}",
                cure="`s2v inputs list` shows what is known; put the files into the watched folder to add them.",
            )
        return InputSource.from_json(record["source"])

    def fingerprints(self) -> dict[str, str]:
        """Partition key -> fingerprint at the time the input was added, for all that is known."""
        return {input_id: record["fingerprint"] for input_id, record in self._records()}

    def list(self) -> tuple[InputSource, ...]:
        """All known inputs by their keys; one whose record is not valid any more is left out with a warning."""
        sources = []
        for input_id, record in self._records():
            try:
                sources.append(InputSource.from_json(record["source"]))
            except (ManifestError, SettingsError) as error:
                _LOG.warning("the record of input %s is left out: %s", input_id, error)
        return tuple(sources)

    def _path(self, input_id: str) -> Path:
        return self.root / f"{input_id}{_SUFFIX}"

    def _records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self.root.is_dir():
            return
        with disk_errors(self.root), os.scandir(self.root) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(_SUFFIX))
        for name in names:
            input_id = name.removesuffix(_SUFFIX)
            # Temporary files of writers start with a dot, so their names are no keys.
            if is_slug(input_id) and (record := self._read(input_id)) is not None:
                yield input_id, record

    def _read(self, input_id: str) -> dict[str, Any] | None:
        path = self._path(input_id)
        with disk_errors(self.root):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            record: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            _LOG.warning("the record %s is damaged and counts as absent: %s", path, error)
            return None
        if (
            isinstance(record, dict)
            and isinstance(record.get("fingerprint"), str)
            and isinstance(record.get("source"), dict)
            and record["source"].get("input_id") == input_id
        ):
            return record
        _LOG.warning("the record %s is not one of this version and counts as absent", path)
        return None


def _way(source: InputSource) -> str:
    return "the watched folder" if source.origin in ("folder", "pair") else f"a {source.origin}"


def _same_files(one: InputSource, other: InputSource) -> bool:
    pairs = ((one.image, other.image), (one.audio, other.audio))
    try:
        sizes_fit = all(mine.stat().st_size == theirs.stat().st_size for mine, theirs in pairs)
        return sizes_fit and all(file_sha256(mine) == file_sha256(theirs) for mine, theirs in pairs)
    except OSError as error:
        _LOG.warning("input %s cannot be compared with its namesake: %s", one.input_id, error)
        return False
