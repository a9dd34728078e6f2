"""Facts of finished steps as they stand in the event log: written with each materialisation, read for the metrics.

Belongs here: what is written, and reading on from where the last reading ended.
Does not belong here: names of metrics (metrics), generation_stats.json (run_times).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from s2v_pipeline.cache.chunk_cache import ChunkCache, cache_of
from s2v_pipeline.cache.upkeep import size_of
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.tasks import CLIPS_ASSET, LATENTS_ASSET
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.errors import CacheError
from s2v_pipeline.gpus import gpu_states
from s2v_pipeline.metrics import CONTENT_TYPE, Totals, bucket_counts, exposition
from s2v_pipeline.video.generation_stats import parts_of

CHUNK_FACTS = "chunk_facts"
VIDEO_FACTS = "video_facts"
"""Names of the metadata that the metrics are counted from."""
_ASSETS = {LATENTS_ASSET: CHUNK_FACTS, CLIPS_ASSET: CHUNK_FACTS, "final_videos": VIDEO_FACTS}
_RECORDS_AT_ONCE = 500
_CACHE_INTERVAL_S = 60.0  # a listing of a large cache takes seconds; scrapes come every few
_STATUSES = ("QUEUED", "STARTING", "STARTED", "CANCELING", "SUCCESS", "FAILURE", "CANCELED")

_log = logging.getLogger(__name__)


def chunk_facts(value: ChunkManifest) -> dict[str, Any]:
    """What the metrics count of a step that works chunk by chunk."""
    made = [chunk for chunk in value.chunks if chunk.made]
    return {
        "stage": value.asset,
        "generator": value.generator,
        "chunks": {
            "made": value.n_made,
            "found": len(value.chunks) - value.n_made - value.n_cached,
            "cache": value.n_cached,
        },
        "retries": sum(chunk.retries for chunk in value.chunks),
        "seconds": round(sum(chunk.seconds_s for chunk in made), 3),
        "buckets": bucket_counts(chunk.seconds_s for chunk in made),
        "parts_s": {name: round(seconds, 3) for name, seconds in parts_of(value.chunks).items()},
    }


def video_facts(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What the metrics count of a finished video."""
    generators = [stage["generator"] for stage in stats["chunk_stages"].values()]
    return {
        "generator": generators[-1],
        "video_s": stats["video_s"],
        "real_time_factor": stats["real_time_factor"],
        "stages_s": {stage["stage"]: stage["seconds"] for stage in stats["stages"]},
    }


METRICS_PATH = "/metrics"


def metrics_page(instance: dg.DagsterInstance, pipeline: PipelineResource) -> Callable[[], tuple[str, bytes]]:
    """What serves the metrics of a project; the instance stays open as long as it is used."""
    facts = RunFacts(instance, cache_of(pipeline.settings().cache, pipeline.folder().absolute()))
    return lambda: (CONTENT_TYPE, facts.exposition())


class RunFacts:
    """Reads an instance's event log on from where it was, and gives what a scrape asks for; one call at a time.

    Args:
        instance: stays open as long as this object is used.
        cache: the chunk cache; None where it is off.
    """

    def __init__(self, instance: dg.DagsterInstance, cache: ChunkCache | None) -> None:
        self._instance = instance
        self._cache = cache
        self._cursors: dict[str, str | None] = dict.fromkeys(_ASSETS)
        self._totals = Totals()
        self._lock = threading.Lock()
        self._cache_size: tuple[int, int] | None = None
        self._cache_asked_at: float | None = None

    def exposition(self) -> bytes:
        """The figures as Prometheus reads them."""
        with self._lock:
            for asset in _ASSETS:
                self._read_on(asset)
            return exposition(self._totals, runs=self._runs(), cache=self._size_of_cache(), gpus=gpu_states())

    def _read_on(self, asset: str) -> None:
        name = _ASSETS[asset]
        has_more = True
        while has_more:
            found = self._instance.fetch_materializations(
                dg.AssetKey(asset), limit=_RECORDS_AT_ONCE, cursor=self._cursors[asset], ascending=True
            )
            for record in found.records:
                materialization = record.asset_materialization
                facts = None if materialization is None else materialization.metadata.get(name)
                if facts is None:
                    continue  # of a version that wrote none
                document: Any = facts.value
                if name == CHUNK_FACTS:
                    self._totals.add_chunks(document)
                else:
                    self._totals.add_video(document)
            self._cursors[asset] = found.cursor
            has_more = found.has_more

    def _runs(self) -> dict[str, int]:
        return {
            status.lower(): self._instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus(status)]))
            for status in _STATUSES
        }

    def _size_of_cache(self) -> tuple[int, int] | None:
        if self._cache is None:
            return None
        now = time.monotonic()
        if self._cache_asked_at is None or now - self._cache_asked_at > _CACHE_INTERVAL_S:
            self._cache_asked_at = now
            try:
                self._cache_size = size_of(self._cache)
            except CacheError as error:
                _log.warning("no size of the chunk cache among the metrics: %s", error)
                self._cache_size = None
        return self._cache_size
