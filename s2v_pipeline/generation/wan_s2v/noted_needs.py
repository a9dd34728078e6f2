"""What chunks of this generator took of GPUs before, and what they take now.

Belongs here: what such notes depend on, from a reading to a note. Does not belong here: the notes' files
(generation.gpu_needs), reading a GPU (device_memory), choosing (memory).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.chunks.manifest import GpuUse
from s2v_pipeline.generation.gpu_needs import GIB, SHORT_STEP_BYTES, GpuNote, GpuNotes, NotedNeed, needs_on
from s2v_pipeline.generation.wan_s2v.device_memory import DeviceMemory
from s2v_pipeline.generation.wan_s2v.memory import Demand, MemoryPlan

_log = logging.getLogger(__name__)


class NotedNeeds:
    """Notes of one generator. They are read once a demand: what a process has loaded stays as it is.

    Args:
        depends_on: whatever memory and time depend on besides the demand; plain JSON values.
    """

    def __init__(self, depends_on: Mapping[str, object]) -> None:
        self._depends_on = depends_on
        self._notes: GpuNotes | None = None
        self._read: dict[str, tuple[GpuNote, ...]] = {}

    def keep_in(self, folder: Path) -> None:
        """Where notes lie; nowhere until this is said."""
        if self._notes is None or self._notes.folder != folder:
            self._notes, self._read = GpuNotes(folder), {}

    def on(self, demand: Demand, n_ranks: int, gpu: str) -> Mapping[str, NotedNeed]:
        """Way -> what it needs of such a GPU, for those of which something is known."""
        return needs_on(gpu, self._of(demand, n_ranks))

    def s_per_frame(self, demand: Demand, n_ranks: int, gpu: str, way: str) -> float | None:
        """Seconds of a chunk for each of its frames on such a GPU; None where none was made."""
        notes = [note for note in self._of(demand, n_ranks) if (note.gpu, note.way) == (gpu, way)]
        return notes[0].s_per_frame if notes else None

    def took(self, demand: Demand, n_ranks: int, plan: MemoryPlan, memory: DeviceMemory, s_per_frame: float) -> GpuUse:
        """A chunk was made by a plan: note what it took."""
        self._add(
            demand,
            n_ranks,
            GpuNote(
                memory.gpu,
                plan.way,
                memory.peak_bytes,
                memory.took_bytes,
                plan.available_bytes,
                s_per_frame=s_per_frame,
                estimated_bytes=plan.estimated_bytes,
            ),
        )
        return GpuUse(
            memory.gpu,
            plan.way,
            plan.available_bytes,
            plan.estimated_bytes,
            plan.measured_bytes,
            memory.took_bytes,
        )

    def ran_out(self, demand: Demand, n_ranks: int, plan: MemoryPlan, memory: DeviceMemory) -> None:
        """Memory was not enough for a plan: the next one expects more, in this process, too."""
        had = min(memory.had_bytes, plan.available_bytes)
        note = GpuNote(memory.gpu, plan.way, short_bytes=had + SHORT_STEP_BYTES, estimated_bytes=plan.estimated_bytes)
        _log.warning(
            "memory: %.1f GiB of %s were not enough (offload %s); the next load expects more",
            had / GIB,
            memory.gpu,
            plan.way,
        )
        self._add(demand, n_ranks, note)
        self._read.clear()

    def _of(self, demand: Demand, n_ranks: int) -> tuple[GpuNote, ...]:
        if self._notes is None:
            return ()
        key = self._key(demand, n_ranks)
        if key not in self._read:
            self._read[key] = self._notes.of(key)
        return self._read[key]

    def _add(self, demand: Demand, n_ranks: int, note: GpuNote) -> None:
        if self._notes is not None:
            self._notes.add(self._key(demand, n_ranks), note)

    def _key(self, demand: Demand, n_ranks: int) -> str:
        return content_key({**self._depends_on, "demand": repr(demand), "ranks": n_ranks})
