"""How far a step that works chunk by chunk is, as events in Dagster's log: seen in the UI, there after a crash.

Belongs here: observations of the asset, few enough for the database. Does not belong here: progress bars (running).
"""

from __future__ import annotations

import dagster as dg

from s2v_pipeline.chunks.manifest import ChunkFile

MOST_EVENTS = 100
"""Observations of a step; beyond as many chunks, several share one. A row takes about 2 kB and 10 ms in SQLite."""


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

    def add(self, chunk: ChunkFile) -> None:
        """A chunk has ended; an event for each one, or for each group."""
        self._n_done += 1
        self._waiting.append(chunk)
        if len(self._waiting) >= self._group or self._n_done == self._n_chunks:
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
