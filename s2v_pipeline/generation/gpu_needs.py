"""What chunks have taken of GPUs, memory and time, noted where all workers of a project find it.

Belongs here: the notes, their files, which of them count for a GPU; what a generator that uses GPUs promises.
Does not belong here: asking a GPU (wan_s2v.device_memory), what is chosen by it (wan_s2v.memory), hosts
(cluster.gpu_nodes).

On disk: `<folder>/<key>/<GPU and way>.json`, one small file for each kind of GPU and way of loading. Two workers that
write at once may lose what one of them said; the next chunk says it again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from s2v_pipeline.artifacts import atomic_path
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import ArtifactError

_log = logging.getLogger(__name__)

NEEDS_FOLDER = "gpu_needs"
"""In the artifacts, which all hosts see. Without it everything is estimated again; nothing else is lost."""
GIB = 2**30
_KEY_LETTERS = 32
_FASTER = 0.98  # of the seconds noted; less of a difference is not worth a write for each chunk
SHORT_STEP_BYTES = GIB
"""What is asked for beyond the memory that did not suffice: more than two cards of one kind differ by."""


@dataclass(frozen=True)
class GpuNote:
    """What is known of one way to load on one kind of GPU.

    Attributes:
        gpu: its name.
        way: how models were loaded, such as "text_encoder" or "layers, tiled VAE".
        held_bytes: most that a process' allocator held; 0 where no chunk was made yet.
        took_bytes: that, with what CUDA took beside it.
        total_bytes: least memory of such a GPU that was enough; 0 as above.
        short_bytes: most memory that was not enough, `SHORT_STEP_BYTES` added; 0 where none ran out.
        s_per_frame: least seconds of a chunk for each of its frames, loading not included. The least: the first chunk
            compiles.
        estimated_bytes: what was expected before anything was measured.
    """

    gpu: str
    way: str
    held_bytes: int = 0
    took_bytes: int = 0
    total_bytes: int = 0
    short_bytes: int = 0
    s_per_frame: float | None = None
    estimated_bytes: int = 0

    def __post_init__(self) -> None:
        counts = (self.held_bytes, self.took_bytes, self.total_bytes, self.short_bytes, self.estimated_bytes)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"bytes must be whole and not negative; got {counts}")
        if self.s_per_frame is not None and not 0 < self.s_per_frame < float("inf"):
            raise ValueError(f"seconds must be positive; got {self.s_per_frame}")

    def with_news(self, news: GpuNote) -> GpuNote:
        """Both together: the most memory, the least card that was enough, the least time."""
        totals = [total for total in (self.total_bytes, news.total_bytes) if total]
        s_per_frame = self.s_per_frame
        if news.s_per_frame is not None and (s_per_frame is None or news.s_per_frame < _FASTER * s_per_frame):
            s_per_frame = news.s_per_frame
        return GpuNote(
            self.gpu,
            self.way,
            max(self.held_bytes, news.held_bytes),
            max(self.took_bytes, news.took_bytes),
            min(totals, default=0),
            max(self.short_bytes, news.short_bytes),
            s_per_frame,
            news.estimated_bytes,
        )


@dataclass(frozen=True)
class NotedNeed:
    """What a way to load needs of one kind of GPU, by notes.

    Attributes:
        n_bytes: memory that it must have; 0 where no chunk was made so and none ran out.
        held_bytes: of them by the process' allocator.
        short_bytes: most memory that was not enough, a step added.
    """

    n_bytes: int
    held_bytes: int
    short_bytes: int


def needs_on(gpu: str, notes: Sequence[GpuNote]) -> Mapping[str, NotedNeed]:
    """Way -> need, by notes of the same kind of GPU where there are any, else by the highest of the others."""
    found = {}
    for way in dict.fromkeys(note.way for note in notes):
        of_way = [note for note in notes if note.way == way]
        made = [note for note in of_way if note.took_bytes]
        made = [note for note in made if note.gpu == gpu] or made
        # An allocator holds on to what nobody asks back: a card on which a chunk was made is enough in any case.
        took = max((min(note.took_bytes, note.total_bytes) for note in made), default=0)
        short = max(note.short_bytes for note in of_way)
        found[way] = NotedNeed(max(took, short), max((note.held_bytes for note in made), default=0), short)
    return found


@dataclass(frozen=True)
class GpuNotes:
    """Notes in a folder that all workers of a project share. Nothing depends on them but where models are loaded."""

    folder: Path
    _warned: set[str] = field(default_factory=set, compare=False, repr=False)

    def of(self, key: str) -> tuple[GpuNote, ...]:
        """All notes on what a key stands for; one that cannot be read is said, and counts as not there."""
        found = []
        for path in sorted(self._folder(key).glob("*.json")):
            if not path.name.startswith("."):
                note = self._read(path)
                found += [note] if note is not None else []
        return tuple(found)

    def add(self, key: str, news: GpuNote) -> None:
        """Add what is new; a disk that does not take it is said, and costs no chunk."""
        path = self._folder(key) / f"{re.sub('[^A-Za-z0-9]+', '-', f'{news.gpu} {news.way}')}.json"
        try:
            before = self._read(path) if path.is_file() else None
            note = news if before is None else before.with_news(news)
            if note != before:
                with atomic_path(path) as temporary:
                    temporary.write_text(json.dumps(asdict(note), indent=1), encoding="utf-8")
        except (ArtifactError, OSError) as error:
            self._warn(f"what a chunk took of its GPU is not noted: {error}")

    def _read(self, path: Path) -> GpuNote | None:
        try:
            return GpuNote(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self._warn(f"{path} is not read, what it says is estimated or measured again: {error}")
            return None

    def _folder(self, key: str) -> Path:
        return self.folder / key[:_KEY_LETTERS]

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)


@dataclass(frozen=True)
class GpuFit:
    """How a generator would work on a GPU.

    Attributes:
        level: 0 is as it should be; each one more is slower or changes pixels. Hosts of one level are alike.
        way: how models are loaded, in words.
        n_bytes: of memory that this takes.
        is_measured: whether that was measured; estimated otherwise.
        s_per_frame: measured there; None where it was not.
    """

    level: int
    way: str
    n_bytes: int
    is_measured: bool
    s_per_frame: float | None


@runtime_checkable
class UsesGpu(Protocol):
    """What a generator promises besides `Generator` if it loads a model onto a GPU."""

    def keep_needs_in(self, folder: Path) -> None:
        """Where it finds what chunks took of GPUs, and notes it."""
        ...

    def fit(self, requests: Sequence[ChunkRequest], n_ranks: int, gpu: str, total_bytes: int) -> GpuFit | None:
        """How so many processes would make chunks, each on a GPU of this name and memory; None if not at all."""
        ...
