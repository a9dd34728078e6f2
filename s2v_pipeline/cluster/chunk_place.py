"""Where one chunk's file is looked for and kept: the artifacts first, then the chunk cache.

Belongs here: the order of looking, copying between the two, tries that came to nothing, going on without a cache.
Does not belong here: making a file (tasks), how the cache keeps it (cache).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from s2v_pipeline.artifacts import ArtifactStore, disk_errors
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.cache.upkeep import prune_now_and_then
from s2v_pipeline.chunks.manifest import ChunkFile, GpuUse
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.cluster.timings import Timings
from s2v_pipeline.errors import CacheError
from s2v_pipeline.gpus import gpus_of_this_process

CACHE_SOURCE = "chunk_cache"
"""Name under which a file's record says that it came from the cache, with the hash of what was kept there."""
NOT_READ = "the chunk cache did not answer for some of the chunks: they were made without it"
NOT_WRITTEN = "the chunk cache did not take some of the chunks: they are not in it"

_KEY_LETTERS_IN_NAME = 16  # 64 bits: enough that two keys of one input never share a file name

_CHUNK_FILE = TypeAdapter(ChunkFile)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChunkPlace:
    """One chunk's file.

    Attributes:
        store: the artifacts.
        cache: None where it is off.
        asset, input_id, part: where it lies in the artifacts.
        key: hash of everything that it depends on.
        timings: told how long looking and keeping took.
        notes: grows by what people should know.
    """

    store: ArtifactStore
    cache: ChunkCache | None
    asset: str
    input_id: str
    part: str
    key: str
    timings: Timings
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the file lies in the artifacts."""
        return self.store.path(self.asset, self.input_id, self.part)

    def holds(self) -> bool:
        """Whether the artifacts have it, whole."""
        with self.timings.part("look_up"):
            found = self.store.holds(self.asset, self.input_id, self.part, key=self.key)
        if found:
            self._tries.unlink(missing_ok=True)
        return found

    def fetch(self) -> bool:
        """Whether it came from the cache; it is then in the artifacts, checked, with a record that says so.

        Raises:
            ArtifactError: the artifacts' disk is full or may not be written.
        """
        if self.cache is None:
            return False
        with self.timings.part("cache"):
            with disk_errors(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            copy = self.path.with_name(f".{uuid.uuid4().hex}.cached")
            try:
                entry = self.cache.fetch(self.asset, self.key, copy)
                if entry is None:
                    return False
                self.store.write(
                    self.asset,
                    self.input_id,
                    self.part,
                    lambda path: _moved(copy, path),
                    key=self.key,
                    made_by=entry.made_by,
                    sources={**entry.sources, CACHE_SOURCE: entry.sha256},
                )
            except CacheError as error:
                self._go_on_without(NOT_READ, error)
                return False
            finally:
                copy.unlink(missing_ok=True)
        self._tries.unlink(missing_ok=True)
        return True

    def begin(self) -> int:
        """Say that the file is about to be made; how often that was said before without an end.

        Raises:
            ArtifactError: the artifacts' disk is full or may not be written.
        """
        with disk_errors(self.path.parent):
            self._tries.parent.mkdir(parents=True, exist_ok=True)
            with self._tries.open("ab") as file:
                file.write(b"\0")
            return self._tries.stat().st_size - 1

    def keep(self, writer: Callable[[Path], None], *, made_by: str, sources: Mapping[str, str]) -> None:
        """Let `writer` make the file in the artifacts, and put it into the cache.

        Raises:
            ArtifactError: the artifacts' disk is full or may not be written.
        """
        with self.timings.part("write"):
            path = self.store.write(
                self.asset, self.input_id, self.part, writer, key=self.key, made_by=made_by, sources=sources
            )
        self._tries.unlink(missing_ok=True)
        if self.cache is None:
            return
        with self.timings.part("cache"):
            record = self.store.provenance(self.asset, self.input_id, self.part)
            if record is None:
                return  # somebody removed it at once; the cache is not the place to complain
            try:
                self.cache.keep(self.asset, path, record)
                prune_now_and_then(self.cache)
            except CacheError as error:
                self._go_on_without(NOT_WRITTEN, error)

    def tell(self, file: ChunkFile, run_id: str) -> None:
        """Say that a run made the file, or fetched it, ahead of the step that is to have it."""
        document = {"run": run_id, "file": _CHUNK_FILE.dump_python(file, mode="json")}
        self._told.write_text(json.dumps(document), encoding="utf-8")

    def told(self, run_id: str) -> ChunkFile | None:
        """What this run said of the file, once; None where it said nothing."""
        try:
            document = json.loads(self._told.read_text(encoding="utf-8"))
            self._told.unlink(missing_ok=True)
            return _CHUNK_FILE.validate_python(document["file"]) if document["run"] == run_id else None
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:  # pydantic's error is a ValueError
            _log.warning("%s %s counts as found: who made it cannot be read (%s)", self.asset, self.part, error)
            return None

    def _go_on_without(self, note: str, error: CacheError) -> None:
        _log.warning("%s %s: %s: %s", self.asset, self.part, note, error)
        if note not in self.notes:
            self.notes.append(note)

    @property
    def _tries(self) -> Path:
        """Grows by a byte a try; gone once the file is there. Readers and the file server skip such names."""
        return self.path.with_name(f".{self.part}.tries")

    @property
    def _told(self) -> Path:
        """There from the end of work that was done ahead until its step has seen it."""
        return self.path.with_name(f".{self.part}.ahead")


def part_name(index: int, key: str, suffix: str) -> str:
    """Name of a chunk's file."""
    return f"{index:05d}-{key[:_KEY_LETTERS_IN_NAME]}{suffix}"


@dataclass(frozen=True)
class Found:
    """Whether a chunk's file must be made or came from the cache, and tries before this one."""

    made: bool
    cached: bool = False
    retries: int = 0


def look(place: ChunkPlace) -> Found | None:
    """Look in the artifacts, then in the cache; None where neither has it."""
    if place.holds():
        return Found(made=False)
    return Found(made=False, cached=True) if place.fetch() else None


def find(place: ChunkPlace) -> Found:
    """`look`; where nothing is found, say that it is about to be made."""
    return look(place) or Found(made=True, retries=place.begin())


def chunk_file(
    request: ChunkRequest, place: ChunkPlace, found: Found, notes: tuple[str, ...], gpu_use: GpuUse | None = None
) -> ChunkFile:
    """What the manifest says of it."""
    return ChunkFile(
        index=request.index,
        frames=request.frames,
        part=place.part,
        key=place.key,
        made=found.made,
        seconds_s=round(place.timings.total_s, 3),
        notes=(*notes, *(note for note in place.notes if note not in notes)),
        worker=f"{socket.gethostname()}:{os.getpid()}",
        cached=found.cached,
        retries=found.retries,
        timings_s=place.timings.values(),
        gpus=gpus_of_this_process() if found.made else (),
        gpu_use=gpu_use,
    )


def _moved(source: Path, destination: Path) -> None:
    source.replace(destination)
