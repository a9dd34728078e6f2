"""Figures for Prometheus, from facts that are on disk: finished chunks and videos, the queue, the cache, the GPUs.

Belongs here: names, help texts and kinds of the figures; the text that a scrape gets.
Does not belong here: where the facts come from (defs.run_facts), HTTP (fileserver).

Runs are processes of their own and end, so counting in memory would count nothing. The facts are those of the event
log: what is counted stays counted when the server starts anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from s2v_pipeline.gpus import GpuState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper ends: a preview's chunk takes seconds, one of `wan_s2v` half a minute to many."""

_Labels = tuple[str, ...]


@dataclass
class Totals:
    """What was counted up to a place in the event log; keys are label values in the order of the metric's labels."""

    chunks: Counter[_Labels] = field(default_factory=Counter)
    retries: Counter[_Labels] = field(default_factory=Counter)
    part_s: Counter[_Labels] = field(default_factory=Counter)
    buckets: dict[_Labels, list[int]] = field(default_factory=dict)
    chunk_s: Counter[_Labels] = field(default_factory=Counter)
    stage_s: Counter[_Labels] = field(default_factory=Counter)
    videos: Counter[_Labels] = field(default_factory=Counter)
    video_s: Counter[_Labels] = field(default_factory=Counter)
    factor_sum: Counter[_Labels] = field(default_factory=Counter)
    last_factor: dict[_Labels, float] = field(default_factory=dict)

    def add_chunks(self, facts: Mapping[str, Any]) -> None:
        """Count the chunks of one step."""
        of = (str(facts["stage"]), str(facts["generator"]))
        for origin, number in facts["chunks"].items():
            self.chunks[(*of, origin)] += number
        self.retries[of] += facts["retries"]
        for part, seconds in facts["parts_s"].items():
            self.part_s[(*of, part)] += seconds
        counts = self.buckets.setdefault(of, [0] * (len(BUCKETS_S) + 1))
        for position, number in enumerate(facts["buckets"]):
            counts[position] += number
        self.chunk_s[of] += facts["seconds"]

    def add_video(self, facts: Mapping[str, Any]) -> None:
        """Count a finished video."""
        of = (str(facts["generator"]),)
        self.videos[of] += 1
        self.video_s[of] += facts["video_s"]
        self.factor_sum[of] += facts["real_time_factor"]
        self.last_factor[of] = facts["real_time_factor"]
        for stage, seconds in facts["stages_s"].items():
            self.stage_s[(stage, *of)] += seconds


def bucket_counts(seconds: Iterable[float]) -> list[int]:
    """How many fall between one of `BUCKETS_S` and the next, the last of the list beyond all."""
    counts = [0] * (len(BUCKETS_S) + 1)
    for each in seconds:
        counts[bisect_left(BUCKETS_S, each)] += 1
    return counts


def exposition(
    totals: Totals,
    *,
    runs: Mapping[str, int],
    cache: tuple[int, int] | None,
    gpus: Iterable[GpuState],
) -> bytes:
    """What a scrape gets.

    Args:
        totals: what was counted.
        runs: status -> number of runs.
        cache: entries and bytes of the chunk cache; None where it is off or did not answer.
        gpus: of this host, as they are now.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures([*_counted(totals), *_states(runs, cache, gpus)]))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _counted(totals: Totals) -> Iterator[Metric]:
    by_stage = ("stage", "generator")
    yield _counter("s2v_chunks", "Chunks that steps made or found", (*by_stage, "origin"), totals.chunks)
    yield _counter("s2v_chunk_retries", "Tries of chunks that came to nothing", by_stage, totals.retries)
    parts = (*by_stage, "part")
    yield _counter("s2v_chunk_part_seconds", "Seconds of workers by what they did", parts, totals.part_s)
    histogram = HistogramMetricFamily("s2v_chunk_seconds", "Seconds of a worker for a chunk made", labels=by_stage)
    for of, counts in totals.buckets.items():
        rows, n_so_far = [], 0
        for end, number in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
            n_so_far += number
            rows.append((end, float(n_so_far)))
        histogram.add_metric(of, rows, totals.chunk_s[of])
    yield histogram
    of_stage = ("stage", "generator")
    yield _counter("s2v_stage_seconds", "Wall seconds of the stages of finished videos", of_stage, totals.stage_s)
    yield _counter("s2v_videos", "Finished videos", ("generator",), totals.videos)
    yield _counter("s2v_video_seconds", "Length of finished videos", ("generator",), totals.video_s)
    factor = SummaryMetricFamily(
        "s2v_real_time_factor", "Seconds of a run for a second of its video", labels=("generator",)
    )
    for of, number in totals.videos.items():
        factor.add_metric(of, number, totals.factor_sum[of])
    yield factor
    last = GaugeMetricFamily("s2v_last_real_time_factor", "Of the video finished last", labels=("generator",))
    for of, value in totals.last_factor.items():
        last.add_metric(of, value)
    yield last


def _states(runs: Mapping[str, int], cache: tuple[int, int] | None, gpus: Iterable[GpuState]) -> Iterator[Metric]:
    queue = GaugeMetricFamily("s2v_runs", "Runs in Dagster's history by status", labels=("status",))
    for status, number in runs.items():
        queue.add_metric((status,), number)
    yield queue
    if cache is not None:
        n_entries, size_bytes = cache
        yield GaugeMetricFamily("s2v_cache_entries", "Files in the chunk cache", value=n_entries)
        yield GaugeMetricFamily("s2v_cache_bytes", "Size of the chunk cache", value=size_bytes)
    states = list(gpus)
    if states:
        labels = ("gpu", "name")
        busy = GaugeMetricFamily("s2v_gpu_busy_ratio", "Share of time that the GPU computed", labels=labels)
        used = GaugeMetricFamily("s2v_gpu_memory_used_bytes", "Memory in use", labels=labels)
        total = GaugeMetricFamily("s2v_gpu_memory_bytes", "Memory that there is", labels=labels)
        for gpu in states:
            of = (str(gpu.index), gpu.name)
            busy.add_metric(of, gpu.busy)
            used.add_metric(of, gpu.used_bytes)
            total.add_metric(of, gpu.total_bytes)
        yield from (busy, used, total)


def _counter(name: str, text: str, labels: _Labels, values: Mapping[_Labels, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family
