"""What generation_stats.json says: where the time of a video went, stage by stage, chunk by chunk, GPU by GPU.

Belongs here: adding up and naming what took longest. Does not belong here: asking Dagster (defs.run_times), measuring
the parts of a chunk (cluster.tasks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from s2v_pipeline.chunks.manifest import ChunkFile, ChunkManifest
from s2v_pipeline.video.stragglers import stragglers

STATS_PART = "generation_stats.json"
WAIT = "wait"
"""The part of a chunk's time that it waited for a worker; it is not in the chunk's seconds."""


@dataclass(frozen=True)
class RunTimes:
    """When a run did what, up to a moment.

    Attributes:
        run_id: of the Dagster run.
        queue_s: from its request to the start of its process.
        start_up_s: from there to the start of its first step.
        total_s: from the start of its process to the moment.
        stages_s: wall seconds of each stage, in their order; the checks between them count as one.
    """

    run_id: str
    queue_s: float
    start_up_s: float
    total_s: float
    stages_s: Mapping[str, float]


def generation_stats(
    run: RunTimes, stages: Sequence[ChunkManifest], *, video_s: Fraction, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole document; `stages` are the manifests of those that work chunk by chunk."""
    return {
        "run_id": run.run_id,
        "video_s": float(video_s),
        "total_s": round(run.total_s, 3),
        "real_time_factor": round(run.total_s / float(video_s), 3),
        "bottleneck": bottleneck(run, stages),
        "queue_s": round(run.queue_s, 3),
        "start_up_s": round(run.start_up_s, 3),
        "stages": [
            {"stage": stage, "seconds": round(seconds, 3), "share": round(seconds / run.total_s, 4)}
            for stage, seconds in run.stages_s.items()
        ],
        "chunk_stages": {manifest.asset: _of_stage(manifest) for manifest in stages},
        "notes": [
            "Checks that run after this file was written are not in it; total_s ends with it.",
            "Seconds of chunks are those of the workers, who work side by side.",
            *notes,
        ],
    }


def bottleneck(run: RunTimes, stages: Sequence[ChunkManifest]) -> str:
    """The stage that took the largest share, and what in it did, in words."""
    if run.queue_s > run.total_s:
        return f"the queue: {run.queue_s:.1f} s of waiting before {run.total_s:.1f} s of work"
    if not run.stages_s:
        return "unknown: no stage of this run has ended"
    stage = max(run.stages_s, key=lambda name: run.stages_s[name])
    words = f"{stage}: {run.stages_s[stage] / run.total_s:.0%} of {run.total_s:.1f} s"
    for manifest in stages:
        parts_s = {
            name: seconds
            for name, seconds in parts_of(chunk for chunk in manifest.chunks if chunk.made).items()
            if "." not in name and name != WAIT
        }
        if manifest.asset == stage and sum(parts_s.values()) > 0:
            part = max(parts_s, key=lambda name: parts_s[name])
            words += f"; {parts_s[part] / sum(parts_s.values()):.0%} of its workers' time went into {part!r}"
    return words


def parts_of(chunks: Iterable[ChunkFile]) -> dict[str, float]:
    """Seconds by part over chunks, in the order in which parts come up."""
    parts_s: dict[str, float] = {}
    for chunk in chunks:
        for name, seconds in chunk.timings_s:
            parts_s[name] = parts_s.get(name, 0.0) + seconds
    return parts_s


def _of_stage(manifest: ChunkManifest) -> dict[str, Any]:
    return {
        "generator": manifest.generator,
        "made": manifest.n_made,
        "found": len(manifest.chunks) - manifest.n_made - manifest.n_cached,
        "found_in_cache": manifest.n_cached,
        "retries": sum(chunk.retries for chunk in manifest.chunks),
        "parts_s": {name: round(seconds, 3) for name, seconds in parts_of(manifest.chunks).items()},
        "workers": _by(manifest.chunks, lambda chunk: (chunk.worker,)),
        "gpus": _by(manifest.chunks, lambda chunk: chunk.gpus),
        "stragglers": [
            {
                "chunk": each.chunk,
                "worker": each.worker,
                "device": each.device,
                "seconds": round(each.seconds_s, 3),
                "usual_seconds": round(each.usual_s, 3),
                "times": round(each.times, 2),
            }
            for each in stragglers(manifest.chunks)
        ],
        "chunks": [
            {
                "chunk": chunk.index,
                "frames": [chunk.frames.start_frame, chunk.frames.stop_frame],
                "origin": chunk.origin,
                "seconds": chunk.seconds_s,
                "parts_s": {name: round(seconds, 3) for name, seconds in chunk.timings_s},
                "worker": chunk.worker,
                "gpus": list(chunk.gpus),
                "gpu_memory": None if chunk.gpu_use is None else asdict(chunk.gpu_use),
                "retries": chunk.retries,
            }
            for chunk in manifest.chunks
        ],
    }


def _by(chunks: Sequence[ChunkFile], names_of: Callable[[ChunkFile], Sequence[str]]) -> dict[str, dict[str, float]]:
    """Chunks and seconds of each worker or GPU."""
    found: dict[str, dict[str, float]] = {}
    for chunk in chunks:
        for name in names_of(chunk):
            entry = found.setdefault(name, {"chunks": 0, "seconds": 0.0})
            entry["chunks"] += 1
            entry["seconds"] = round(entry["seconds"] + chunk.seconds_s, 3)
    return found
