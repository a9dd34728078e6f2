"""The estimate before the start: numbers of the 14B model, and what is chosen or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.gpu_needs import GIB, NotedNeed
from s2v_pipeline.generation.wan_s2v.checkpoint import transformer_config
from s2v_pipeline.generation.wan_s2v.memory import Demand, estimate_bytes, plan_memory, transformer_bytes
from s2v_pipeline_tests.wan_checkpoint import FULL, SWITCHES

DEMAND = Demand(
    config=transformer_config({**SWITCHES, **FULL.transformer}, source=Path("config.json")),
    width_px=832,
    height_px=448,
    latent_frames=20,
    fp8=False,
    float32=False,
    is_compiled=True,
    is_guided=True,
    text_encoder_bytes=11_400_000_000,
)
LARGE = replace(DEMAND, width_px=1024, height_px=704)


def test_tokens() -> None:
    sizes = [(832, 448), (832, 480), (1024, 704), (1280, 704)]
    found = [replace(DEMAND, width_px=width, height_px=height).n_tokens for width, height in sizes]
    assert found == [32_760, 35_074, 63_360, 79_200]


def test_weights_of_the_14b_model() -> None:
    resident, layers = transformer_bytes(DEMAND)
    assert len(layers) == 40
    # 16.3 billion parameters of two bytes, and a tenth of a billion of them in four.
    assert 32.6e9 < resident + sum(layers) < 33.8e9
    assert max(layers) == layers[0] > layers[1]  # the first block has an injector
    in_8_bits = sum(transformer_bytes(replace(DEMAND, fp8=True))[1])
    assert 0.45 < in_8_bits / sum(layers) < 0.65
    assert sum(transformer_bytes(replace(DEMAND, float32=True))[1]) == pytest.approx(2 * sum(layers), rel=0.01)


@pytest.mark.parametrize(
    ("offload", "measured_gib"),
    # Peaks of allocated memory on one H100, benchmarks/wan_load.py; the estimate adds 1.5 GiB for CUDA itself.
    [("none", 48.6), ("layers", 8.7)],
)
def test_the_estimate_covers_what_was_measured(offload: str, measured_gib: float) -> None:
    estimate_gib = estimate_bytes(DEMAND, offload=offload, is_tiled=False) / GIB  # type: ignore[arg-type]
    assert measured_gib < estimate_gib < measured_gib + 3.5


@pytest.mark.parametrize(
    ("available_gib", "demand", "expected"),
    [
        (80, DEMAND, ("none", False)),
        (80, LARGE, ("none", False)),
        (48, DEMAND, ("text_encoder", False)),
        (48, replace(DEMAND, fp8=True), ("none", False)),
        (32, replace(DEMAND, fp8=True), ("text_encoder", False)),
        (24, DEMAND, ("layers", False)),
        (24, LARGE, ("layers", False)),
        (16, DEMAND, ("layers", False)),
        (16, LARGE, ("layers", True)),
    ],
)
def test_the_fastest_way_that_fits(available_gib: float, demand: Demand, expected: tuple[str, bool]) -> None:
    plan = plan_memory(demand, int(available_gib * GIB))
    assert (plan.offload, plan.is_tiled) == expected
    assert plan.n_bytes <= available_gib * GIB


def test_what_changes_pixels_comes_last() -> None:
    exact = estimate_bytes(DEMAND, offload="text_encoder", is_tiled=False)
    tiled = estimate_bytes(LARGE, offload="none", is_tiled=True)
    assert plan_memory(DEMAND, exact).is_tiled is False
    # Whole frames with the text encoder on the CPU, though tiles would fit beside it.
    assert tiled < estimate_bytes(LARGE, offload="none", is_tiled=False)
    plan = plan_memory(LARGE, tiled)
    assert (plan.offload, plan.is_tiled) == ("text_encoder", False)


def test_what_cannot_fit_is_refused_with_numbers_and_cure() -> None:
    with pytest.raises(WeightsError, match=r"832x448 must fit.*8\.0 GiB available.*smaller") as refusal:
        plan_memory(DEMAND, 8 * GIB)
    assert "layers, tiled VAE" in refusal.value.got
    with pytest.raises(WeightsError, match=r"wan.offload = 'auto'"):
        plan_memory(DEMAND, 24 * GIB, offload="none")
    with pytest.raises(WeightsError, match=r"1024x704"):
        plan_memory(LARGE, 16 * GIB, tiling="off")


def needs(**gib: float) -> dict[str, NotedNeed]:
    return {way.replace("_", " "): NotedNeed(int(n * GIB), int(n * GIB), 0) for way, n in gib.items()}


def short(way: str, gib: float) -> dict[str, NotedNeed]:
    return {way: NotedNeed(int(gib * GIB), 0, int(gib * GIB))}


def test_what_was_measured_counts_instead_of_the_estimate() -> None:
    available = 48 * GIB
    estimated = plan_memory(DEMAND, available)
    assert (estimated.offload, estimated.measured_bytes) == ("text_encoder", None)
    assert estimated.n_bytes == estimated.estimated_bytes
    # Less than estimated: everything fits. More: what fits by the estimate does not.
    roomy = plan_memory(DEMAND, available, noted=needs(none=47.5))
    assert (roomy.offload, roomy.n_bytes, roomy.measured_bytes) == ("none", int(47.5 * GIB), int(47.5 * GIB))
    assert roomy.estimated_bytes > available
    tight = plan_memory(DEMAND, available, noted={"text_encoder": NotedNeed(49 * GIB, 48 * GIB, 0)})
    assert (tight.offload, tight.is_tiled) == ("layers", False)


def test_tiles_do_not_depend_on_what_was_measured_but_on_memory_that_ran_out() -> None:
    # Tiles by the estimate stay, though whole frames were measured to fit.
    assert plan_memory(LARGE, 16 * GIB, noted=needs(layers=12)).is_tiled
    # Whole frames by the estimate stay, though an allocator held more of a larger card.
    held = {way: NotedNeed(30 * GIB, 30 * GIB, 0) for way in ("none", "text_encoder", "layers")}
    plan = plan_memory(DEMAND, 24 * GIB, noted=held)
    assert (plan.offload, plan.is_tiled) == ("layers", False)
    # Memory that ran out is another matter: there is nothing else to try.
    tiled = plan_memory(DEMAND, 24 * GIB, noted=short("layers", 25))
    assert (tiled.offload, tiled.is_tiled) == ("layers", True)
    assert plan_memory(DEMAND, 26 * GIB, noted=short("layers", 25)).is_tiled is False


def test_each_time_that_memory_runs_out_a_smaller_way_comes_until_none_is_left() -> None:
    noted: dict[str, NotedNeed] = {}
    ways = []
    for _ in range(6):
        ways.append(plan_memory(DEMAND, 80 * GIB, noted=noted).way)
        noted |= short(ways[-1], 82)
    with pytest.raises(WeightsError, match=r"80\.0 GiB available.*82\.0 \(none\).*smaller generation.quality"):
        plan_memory(DEMAND, 80 * GIB, noted=noted)
    assert ways[:3] == ["none", "text_encoder", "layers"]
    assert ways[3:] == [f"{way}, tiled VAE" for way in ways[:3]]
    with pytest.raises(WeightsError, match="must fit"):
        plan_memory(DEMAND, 80 * GIB, offload="none", tiling="off", noted=short("none", 82))
    # What was asked for and does not fit by the estimate is tried where it was measured to.
    assert plan_memory(DEMAND, 48 * GIB, offload="none", tiling="off", noted=needs(none=47)).offload == "none"


def test_float32_doubles_everything() -> None:
    exact = replace(DEMAND, float32=True, text_encoder_bytes=2 * DEMAND.text_encoder_bytes)
    for is_tiled in (False, True):
        estimates = [estimate_bytes(each, offload="none", is_tiled=is_tiled) for each in (DEMAND, exact)]
        assert 1.85 < estimates[1] / estimates[0] < 2


def test_more_memory_never_makes_it_slower() -> None:
    order = ["layers", "text_encoder", "none"]
    for demand in (DEMAND, LARGE, replace(DEMAND, fp8=True), replace(LARGE, fp8=True)):
        plans = [plan_memory(demand, n_gib * GIB) for n_gib in (16, 24, 32, 48, 80, 141)]
        ranks = [order.index(plan.offload) for plan in plans]
        assert ranks == sorted(ranks)
        assert all(plan.n_bytes <= plan.available_bytes for plan in plans)
