"""Figures for Prometheus: what a scrape reads is what was counted; and what is known of GPUs."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from s2v_pipeline.fileserver import FileServer
from s2v_pipeline.gpus import GpuState, gpu_states, gpus_of_this_process
from s2v_pipeline.metrics import BUCKETS_S, Totals, bucket_counts, exposition

ANYONE = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def of(name: str, *labels: str) -> tuple[str, ...]:
    return (name, *sorted(labels))


def scraped(totals: Totals, gpus: list[GpuState] | None = None) -> dict[tuple[str, ...], float]:
    text = exposition(totals, runs={"queued": 2}, cache=(3, 4096), gpus=gpus or []).decode()
    return {
        of(sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def facts(seconds: list[float], *, generator: str = "portrait") -> dict[str, object]:
    return {
        "stage": "chunk_latents",
        "generator": generator,
        "chunks": {"made": len(seconds), "found": 1, "cache": 2},
        "retries": 1,
        "seconds": sum(seconds),
        "buckets": bucket_counts(seconds),
        "parts_s": {"generate": sum(seconds)},
    }


def test_steps_add_up_by_generator() -> None:
    totals = Totals()
    for each in (facts([0.05, 0.1, 3.0]), facts([2000.0]), facts([1.0], generator="wan_s2v")):
        totals.add_chunks(each)
    found = scraped(totals)
    step = ("chunk_latents", "portrait")
    assert found[of("s2v_chunks_total", *step, "made")] == 4
    assert found[of("s2v_chunks_total", *step, "cache")] == 4
    assert found[of("s2v_chunk_retries_total", *step)] == 2
    assert found[of("s2v_chunk_part_seconds_total", *step, "generate")] == pytest.approx(2003.15)
    buckets = [found[of("s2v_chunk_seconds_bucket", *step, end)] for end in ("0.1", "2.5", "5.0", "900.0", "+Inf")]
    assert buckets == [2, 2, 3, 3, 4]
    assert found[of("s2v_chunk_seconds_sum", *step)] == pytest.approx(2003.15)
    assert found[of("s2v_chunks_total", "chunk_latents", "wan_s2v", "made")] == 1
    assert (found[of("s2v_runs", "queued")], found[of("s2v_cache_bytes")]) == (2, 4096)


def test_a_value_on_the_end_of_a_bucket_is_in_it() -> None:
    assert bucket_counts([BUCKETS_S[0]])[0] == 1
    assert sum(bucket_counts([0.0, 1e9])) == 2


def test_gpus_are_figures_where_there_are_some() -> None:
    found = scraped(Totals(), [GpuState(0, "Card", 0.25, 10, 40), GpuState(1, "Card", 1.0, 40, 40)])
    assert found[of("s2v_gpu_busy_ratio", "0", "Card")] == 0.25
    assert found[of("s2v_gpu_memory_used_bytes", "1", "Card")] == 40
    assert not [name for name, *_ in scraped(Totals()) if name.startswith("s2v_gpu")]


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a machine with GPUs tells of them")
def test_without_a_driver_nothing_is_said_of_gpus() -> None:
    assert (gpu_states(), gpus_of_this_process()) == ([], ())


def test_a_page_that_cannot_be_made_is_an_error_and_the_server_goes_on(tmp_path: Path) -> None:
    def broken() -> tuple[str, bytes]:
        raise RuntimeError("no database")

    pages: dict[str, Callable[[], tuple[str, bytes]]] = {"/metrics": broken, "/well": lambda: ("text/plain", b"well")}
    with FileServer(tmp_path, 0, pages) as server:
        root = f"http://127.0.0.1:{server.port}"
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ANYONE.open(f"{root}/metrics", timeout=5)
        with ANYONE.open(f"{root}/well?x=1", timeout=5) as answer:
            assert (answer.headers["Content-Type"], answer.read()) == ("text/plain", b"well")
