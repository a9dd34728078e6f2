"""How far a step that works chunk by chunk is, as events in Dagster's log: seen in the UI, there after a crash.

Belongs here: observations of the asset, few enough for the database. Does not belong here: progress bars (running).
"""

from __future__ import annotations

import time

import dagster as dg

from s2v_pipeline.chunks.manifest import ChunkFile

MOST_EVENTS = 100
"""Observations of a step; beyond as many chunks, several share one."""
LEAST_INTERVAL_S = 0.5
"""Between two of them. One takes 20 ms and 5 kB in SQLite: so at most a twenty-fifth of the time, also where chunks are
found by the dozen."""


class ChunkEvents:
    """Tells of the chunks of one step as they end.

    Args:
        context: the step's.
        n_chunks: of the whole step.
    """

    def __init__(self, context: dg.AssetExecutionContext, n_chunks: int) -> None:
        self._context = context
        self._n_chunks = n_chunks
        self._group = -(-n_chunks // MOST_EVENTS)
        self._n_done = 0
        self._waiting: list[ChunkFile] = []
        self._told_at = -LEAST_INTERVAL_S

    def add(self, chunk: ChunkFile) -> None:
        """A chunk has ended: an event, unless one was just written; then with the next ones."""
        self._n_done += 1
        self._waiting.append(chunk)
        now = time.monotonic()
        is_due = len(self._waiting) >= self._group and now - self._told_at >= LEAST_INTERVAL_S
        if is_due or self._n_done == self._n_chunks:
            self._told_at = now
            self._tell()

    def _tell(self) -> None:
        chunks, self._waiting = self._waiting, []
        names = ", ".join(str(chunk.index) for chunk in chunks)
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key,
                partition=self._context.partition_key,
                description=f"chunk {names}: {self._n_done} of {self._n_chunks} done",
                metadata={
                    "chunk": names,
                    "frames": ", ".join(f"{each.frames.start_frame}-{each.frames.stop_frame}" for each in chunks),
                    "seconds": round(sum(chunk.seconds_s for chunk in chunks), 3),
                    "worker": ", ".join(dict.fromkeys(chunk.worker for chunk in chunks)),
                    "made": sum(chunk.made for chunk in chunks),
                    "found": sum(not chunk.made and not chunk.cached for chunk in chunks),
                    "found_in_cache": sum(chunk.cached for chunk in chunks),
                    "retries": sum(chunk.retries for chunk in chunks),
                    "chunks_done": self._n_done,
                    "chunks": self._n_chunks,
                },
            )
        )
