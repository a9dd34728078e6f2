"""Chunks that took far longer than the others of their video are found, and no others."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction

import pytest

from s2v_pipeline.chunks.manifest import ChunkFile, ChunkManifest, GpuUse
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.generation_stats import RunTimes, generation_stats
from s2v_pipeline.video.stragglers import stragglers

H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"


def chunk(
    index: int,
    seconds_s: float,
    gpus: tuple[str, ...] = (),
    *,
    n_frames: int = 80,
    load_s: float = 0,
    made: bool = True,
) -> ChunkFile:
    frames = FrameSpan(index * 80, index * 80 + n_frames)
    timings_s = (("load", load_s), ("generate", seconds_s - load_s), ("generate.denoise", 1.0))
    return ChunkFile(index, frames, f"{index}", "key", made, seconds_s, f"host:{index}", timings_s=timings_s, gpus=gpus)


def found(*chunks: ChunkFile) -> list[int]:
    return [straggler.chunk for straggler in stragglers(chunks)]


def test_one_that_took_more_than_twice_the_median_is_found_with_figures() -> None:
    (straggler,) = stragglers([chunk(0, 10), chunk(1, 10.5), chunk(2, 31.5), chunk(3, 10.5), chunk(4, 11)])
    assert str(straggler) == "chunk 2 took 31.5 s, 3.0 times as long as usual on CPU (10.5 s), by host:2"


@pytest.mark.parametrize("seconds_s", [4.0, 10.0, 19.9])
def test_less_than_twice_is_none(seconds_s: float) -> None:
    assert found(chunk(0, 10), chunk(1, 10), chunk(2, seconds_s), chunk(3, 10)) == []


def test_each_is_compared_with_its_own_kind_of_gpu() -> None:
    slow = [chunk(index, 60, (f"{index % 2} {H100}",)) for index in range(4)]
    fast = [chunk(index, 20, (f"{index % 2} {H200}",)) for index in range(4, 8)]
    assert found(*slow, *fast) == []
    assert found(*slow, *fast[:3], chunk(7, 60, (f"1 {H200}",))) == [7]


def test_loading_a_model_and_a_short_last_chunk_are_no_reason() -> None:
    alike = [chunk(index, 10) for index in range(1, 4)]
    assert found(chunk(0, 70, load_s=60), *alike) == []
    assert found(*[chunk(index, 10) for index in range(4)], chunk(4, 2.6, n_frames=20)) == []
    # 20 frames as slow as 80 are one.
    assert found(*[chunk(index, 10) for index in range(4)], chunk(4, 10, n_frames=20)) == [4]


def test_what_was_found_or_says_too_little_is_none() -> None:
    assert found(chunk(0, 10), chunk(1, 10), chunk(2, 40)) == []
    assert found(*[chunk(index, 0.1) for index in range(4)], chunk(4, 0.9)) == []
    assert found(*[chunk(index, 0.1, made=False) for index in range(4)], chunk(4, 10)) == []


def test_they_are_in_the_statistics() -> None:
    use = GpuUse("NVIDIA L40", "text_encoder", 48, 40, None, 39)
    chunks = (replace(chunk(0, 10), gpu_use=use), chunk(1, 10), chunk(2, 25), chunk(3, 10))
    manifest = ChunkManifest("sample", "chunk_latents", "slow", "print", Fraction(16), 64, 64, (), (), chunks)
    times = RunTimes("run", 0, 1, 60, {"chunk_latents": 55})
    document = json.loads(json.dumps(generation_stats(times, [manifest], video_s=Fraction(20))))
    assert document["chunk_stages"]["chunk_latents"]["stragglers"] == [
        {"chunk": 2, "worker": "host:2", "device": "CPU", "seconds": 25.0, "usual_seconds": 10.0, "times": 2.5}
    ]
    memory = [each["gpu_memory"] for each in document["chunk_stages"]["chunk_latents"]["chunks"]]
    assert memory == [asdict(use), None, None, None]
