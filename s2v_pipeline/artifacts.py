"""Where every stage's files lie, how they get there whole, and what made them.

Belongs here: path per (asset, input, part), atomic writes, what a full or locked disk says, a provenance record beside
every file, refusal of what does not fit.
Does not belong here: what the files mean (each stage reads and writes its own formats), caching policy, Dagster.

On disk: `<root>/<asset>/<input>/<part>` with `<part>.provenance.json` beside it. A file without its record, or one
whose bytes are not those that the record names, does not exist as far as readers are concerned.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.temporaries import remove_left_over, temporary_prefix

PROVENANCE_SUFFIX = ".provenance.json"
_READ_BLOCK_BYTES = 1 << 20  # large enough that hashing is bound by the disk, small beside a frame buffer
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Provenance:
    """What made a file.

    Attributes:
        sha256: hash of the file's bytes.
        size_bytes: its length.
        key: hash of everything that the content depends on; equal keys mean interchangeable files.
        made_by: code that wrote it, e.g. "s2v_pipeline 0.1.0 portrait".
        made_at: UTC time, ISO 8601.
        sources: name -> sha256 or key of what it was made from.
    """

    sha256: str
    size_bytes: int
    key: str
    made_by: str
    made_at: str
    sources: Mapping[str, str]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def content_key(content: Mapping[str, Any]) -> str:
    """Hash of a mapping of plain JSON values; independent of the order of its keys.

    Raises:
        TypeError: a value that JSON cannot hold.
        ValueError: a number that is not finite.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say what is wrong with the disk of a folder that the pipeline reads and writes, and the cure.

    Files of the user are read elsewhere, with errors of their own; an OSError that is not about a disk passes as it is.

    Raises:
        ArtifactError: the disk is full, may not be written, or is not what it should be.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            rule, cure = "must have room", "Delete what is not needed, or choose a folder on another disk"
        elif error.errno in _NO_RIGHT:
            rule, cure = "must be writable and readable", "Change its permissions, or choose a folder of yours"
        elif error.errno in _NO_FOLDER or not folder.is_dir():
            rule, cure = "must take and give files", "Check the disk, or choose another folder"
        else:
            raise
        raise ArtifactError(
            f"the folder {_existing(folder)} {rule}",
            got=str(error),
            cure=f"{cure}: paths.artifacts and paths.dagster_home say where the pipeline writes.",
        ) from error


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there: the one that a reader can look at."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well, and vanishes when it does not.

    The temporary name keeps the suffix (encoders choose the container by it), starts with a dot (readers and the
    file server skip such files), and says who writes it (a killed process leaves it; see `remove_left_over`).

    Raises:
        ArtifactError: the folder is full, may not be written, or cannot be made; or what is in the file's place is a
            folder or a device.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # replacing a device such as /dev/null would break the machine
            raise ArtifactError(
                f"{path} must be the name of a file", got="a folder or a device", cure="Give another name."
            )
        temporary = path.parent / f"{temporary_prefix()}{uuid.uuid4().hex}{path.suffix}"
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class ArtifactStore:
    """Files of every stage under one root folder."""

    root: Path

    def path(self, asset: str, input_id: str, part: str) -> Path:
        """Where a part lies.

        Raises:
            ArtifactError: a name that is not one plain path component.
        """
        for name in (asset, input_id, part):
            if not _NAME.fullmatch(name) or name.endswith(PROVENANCE_SUFFIX):
                raise ArtifactError(
                    "names in the artifact store are letters, digits, '.', '_' and '-', do not start with a dot and do "
                    f"not end with {PROVENANCE_SUFFIX}",
                    got=repr(name),
                    cure="Use the slug that `s2v inputs list` shows.",
                )
        return self.root / asset / input_id / part

    def write(
        self,
        asset: str,
        input_id: str,
        part: str,
        writer: Callable[[Path], None],
        *,
        key: str,
        made_by: str,
        sources: Mapping[str, str] | None = None,
    ) -> Path:
        """Let `writer` make the file at a temporary path, then put it and its record in place.

        The file appears before its record; a crash between the two leaves a file that readers treat as absent.

        Raises:
            ArtifactError: a name that `path` refuses, or the disk is full or may not be written.
        """
        path = self.path(asset, input_id, part)
        record_path = path.with_name(path.name + PROVENANCE_SUFFIX)
        with atomic_path(path) as temporary:
            writer(temporary)
            record = Provenance(
                sha256=file_sha256(temporary),
                size_bytes=temporary.stat().st_size,
                key=key,
                made_by=made_by,
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                sources=dict(sources or {}),
            )
        with atomic_path(record_path) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=1))
        return path

    def remove(self, asset: str, input_id: str, part: str) -> None:
        """Let a part and its record be gone; it need not be there.

        Raises:
            ArtifactError: a name that `path` refuses, or the disk may not be written.
        """
        path = self.path(asset, input_id, part)
        with disk_errors(path.parent):
            path.unlink(missing_ok=True)
            path.with_name(path.name + PROVENANCE_SUFFIX).unlink(missing_ok=True)

    def remove_left_over(self, input_id: str) -> list[Path]:
        """Remove temporary files that killed processes of this host left of an input, and their temporary folders of
        any; their paths. Those of living processes stay.

        Raises:
            ArtifactError: a name that `path` refuses, or the disk may not be written.
        """
        with disk_errors(self.root):
            if not self.root.is_dir():
                return []
            assets = [path.name for path in self.root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
            folders = [self.path(asset, input_id, "any").parent for asset in assets]
            return [path for folder in (self.root, *folders) for path in remove_left_over(folder)]

    def provenance(self, asset: str, input_id: str, part: str) -> Provenance | None:
        """The record of a part, or None where there is no file or no readable record."""
        path = self.path(asset, input_id, part)
        record_path = path.with_name(path.name + PROVENANCE_SUFFIX)
        if not path.is_file() or not record_path.is_file():
            return None
        try:
            record = Provenance(**json.loads(record_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return record if isinstance(record.sha256, str) and isinstance(record.key, str) else None

    def holds(self, asset: str, input_id: str, part: str, *, key: str) -> bool:
        """Whether a part exists, was made for `key`, and its bytes are those that were written.

        Raises:
            ArtifactError: the disk does not let it be read.
        """
        path = self.path(asset, input_id, part)
        with disk_errors(path.parent):
            record = self.provenance(asset, input_id, part)
            if record is None or record.key != key:
                return False
            return path.stat().st_size == record.size_bytes and file_sha256(path) == record.sha256

    def read_path(self, asset: str, input_id: str, part: str) -> Path:
        """Path of a part whose bytes were checked against its record.

        Raises:
            ArtifactError: the part is missing, its bytes changed after it was written, or the disk does not let it be
                read.
        """
        path = self.path(asset, input_id, part)
        with disk_errors(path.parent):
            record = self.provenance(asset, input_id, part)
            found = file_sha256(path) if record is not None else ""
        if record is None:
            raise ArtifactError(
                f"{asset}/{input_id}/{part} must exist with its provenance record",
                got="no such file or no record",
                cure=f"Materialise {asset} for partition {input_id!r} again.",
            )
        if found != record.sha256:
            raise ArtifactError(
                f"{asset}/{input_id}/{part} must have the bytes that were written",
                got=f"SHA-256 {found[:12]}… instead of {record.sha256[:12]}…",
                cure=f"Materialise {asset} for partition {input_id!r} again; the damaged file is replaced.",
            )
        return path
