"""From readings of a GPU to notes and to the next load; readings are stated by the test, all else is real."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2v_pipeline.chunks.manifest import GpuUse
from s2v_pipeline.errors import ClusterError, WeightsError
from s2v_pipeline.generation.gpu_needs import GIB, UsesGpu
from s2v_pipeline.generation.wan_s2v import models
from s2v_pipeline.generation.wan_s2v.device_memory import (
    DeviceMemory,
    memory_suffices,
    read_memory,
    start_peak,
    usable_memory,
)
from s2v_pipeline.generation.wan_s2v.generator import WanGenerator
from s2v_pipeline.generation.wan_s2v.memory import MemoryPlan, plan_memory
from s2v_pipeline.generation.wan_s2v.noted_needs import NotedNeeds
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.wan_s2v.test_memory import DEMAND, LARGE
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import portrait, request, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

L40 = "NVIDIA L40"


def reading(*, total: float = 48, free: float, held: float, peak: float, gpu: str = L40) -> DeviceMemory:
    return DeviceMemory(gpu, int(total * GIB), int(free * GIB), int(held * GIB), int(peak * GIB))


def noted(folder: Path) -> NotedNeeds:
    """A process of its own: nothing is known but what lies in the folder."""
    needs = NotedNeeds({"steps": 40})
    needs.keep_in(folder)
    return needs


def plan(needs: NotedNeeds, gib: float = 48, gpu: str = L40, n_ranks: int = 1) -> MemoryPlan:
    return plan_memory(DEMAND, int(gib * GIB), noted=needs.on(DEMAND, n_ranks, gpu))


def test_cuda_counts_to_the_process_and_others_do_not() -> None:
    alone = reading(free=2, held=45, peak=45.5)
    assert alone.took_bytes == int(46.5 * GIB)
    assert alone.had_bytes == 48 * GIB
    beside_others = reading(free=2, held=25, peak=25)
    assert beside_others.took_bytes == int(26.5 * GIB)
    assert beside_others.had_bytes == int(28.5 * GIB)


def test_the_next_load_goes_by_what_was_measured(tmp_path: Path) -> None:
    first = noted(tmp_path)
    chosen = plan(first)
    assert (chosen.offload, chosen.measured_bytes) == ("text_encoder", None)
    use = first.took(DEMAND, 1, chosen, reading(free=9, held=37, peak=37.5), 0.5)
    assert use == GpuUse(L40, "text_encoder", 48 * GIB, chosen.estimated_bytes, None, int(37.5 * GIB) + int(1.5 * GIB))
    # The process that measured stays as it is loaded; the next one knows. Other sizes and numbers of ranks do not.
    assert plan(first).measured_bytes is None
    second = noted(tmp_path)
    again = plan(second)
    assert (again.way, again.measured_bytes, again.held_bytes) == ("text_encoder", 39 * GIB, int(37.5 * GIB))
    assert again.estimated_bytes == chosen.estimated_bytes != again.n_bytes
    assert again.n_bytes == again.measured_bytes
    assert plan(second, n_ranks=2).measured_bytes is None
    assert second.on(LARGE, 1, L40) == {}
    assert second.s_per_frame(DEMAND, 1, L40, "text_encoder") == 0.5
    assert second.s_per_frame(DEMAND, 1, "NVIDIA H100", "text_encoder") is None
    # A larger card measured everything: on the small one, it fits after all.
    h100 = plan_memory(DEMAND, 80 * GIB)
    second.took(DEMAND, 1, h100, reading(total=80, free=33, held=46, peak=46, gpu="NVIDIA H100"), 0.1)
    assert plan(noted(tmp_path)).offload == "none"


def test_memory_that_runs_out_is_not_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    needs = noted(tmp_path)
    failed = plan(needs)
    needs.ran_out(DEMAND, 1, failed, reading(free=0.1, held=47.4, peak=47.4))
    assert "48.0 GiB of NVIDIA L40 were not enough (offload text_encoder)" in caplog.text
    assert plan(needs).offload == "layers", "at once, in this process, too"
    assert plan(noted(tmp_path)).offload == "layers"
    # Another process had most of it: this says nothing about a card that is free.
    crowded = noted(tmp_path / "crowded")
    crowded.ran_out(DEMAND, 1, plan(crowded), reading(free=0.1, held=20, peak=20))
    assert plan(noted(tmp_path / "crowded")).offload == "text_encoder"


def test_without_a_folder_nothing_is_kept() -> None:
    needs = NotedNeeds({})
    needs.took(DEMAND, 1, plan(needs), reading(free=9, held=37, peak=37.5), 0.5)
    assert plan(needs).measured_bytes is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore words"),
        torch.AcceleratorError("CUDA error: out of memory\nmore words"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch's allocator", "CUDA", "cuBLAS"],
)
def test_memory_that_runs_out_becomes_an_error_that_executors_answer_with_new_processes(error: RuntimeError) -> None:
    told: list[str] = []
    with (
        pytest.raises(ClusterError, match=r"must be enough.*CUDA ") as raised,
        memory_suffices(lambda: told.append("")),
    ):
        raise error
    assert told == [""]
    assert "more words" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ZeroDivisionError()], ids=["torch", "another"])
def test_what_is_no_want_of_memory_passes(error: Exception) -> None:
    told: list[str] = []
    with pytest.raises(type(error)) as raised, memory_suffices(lambda: told.append("")):
        raise error
    assert raised.value is error
    assert told == []


def test_a_generator_says_how_it_fits_a_gpu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = tiny_settings(write_tiny_checkpoint(tmp_path / "weights"))
    generator = WanGenerator(settings)
    assert isinstance(generator, UsesGpu)
    generator.keep_needs_in(tmp_path / "needs")
    requests = [request(portrait(tmp_path), FrameSpan(0, 77), 0), request(portrait(tmp_path), FrameSpan(77, 87), 1)]
    fit = generator.fit(requests, 1, L40, 48 * GIB)
    assert fit is not None
    assert (fit.level, fit.way, fit.is_measured, fit.s_per_frame) == (0, "none", False, None)
    assert generator.fit(requests, 1, L40, GIB) is None
    # What a worker notes of such chunks is what the other side finds.
    demand = generator._models.demand(64, 64, 20, "cuda")
    memory = reading(free=40, held=7, peak=7)
    worker = WanGenerator(settings)
    worker.keep_needs_in(tmp_path / "needs")
    worker._needs.took(demand, 1, worker._models.plan_on(L40, 48 * GIB, 1, demand), memory, 0.25)
    fit = WanGenerator(settings).fit(requests, 1, L40, 48 * GIB)
    assert fit is not None
    assert not fit.is_measured
    generator = WanGenerator(settings)
    generator.keep_needs_in(tmp_path / "needs")
    fit = generator.fit(requests, 1, L40, 48 * GIB)
    assert fit is not None
    assert (fit.is_measured, fit.n_bytes, fit.s_per_frame) == (True, 8 * GIB, 0.25)
    with pytest.raises(WeightsError):
        generator._models.plan_on(L40, GIB, 1, replace(demand, width_px=4096))


def test_models_plan_watch_and_note_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the card itself, which answers what the test states."""
    calls: list[bool] = []
    monkeypatch.setattr(models, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(models, "usable_memory", lambda device: (L40, 48 * GIB))
    monkeypatch.setattr(models, "read_memory", lambda device: reading(free=38, held=9, peak=9))
    monkeypatch.setattr(models, "start_peak", lambda device, lets_go: calls.append(lets_go))
    settings = tiny_settings(write_tiny_checkpoint(tmp_path / "weights"))

    def generator() -> WanGenerator:
        made = WanGenerator(settings)
        made.keep_needs_in(tmp_path / "needs")
        return made

    first = generator()._models
    assert first.took(1.0) is None, "nothing was planned"
    for side_px in (64, 64, 128):
        first._plan_and_watch(side_px, 64, 20)
    assert calls == [False, False, True], "what the allocator holds on to of another size does not count"
    use = first.took(0.5)
    assert use is not None
    assert (use.way, use.measured_bytes, use.took_bytes) == ("none", None, 10 * GIB)
    again = generator()._models._plan_and_watch(128, 64, 20)
    assert (again.way, again.measured_bytes, again.estimated_bytes) == ("none", 10 * GIB, use.estimated_bytes)
    assert generator()._models._plan_and_watch(64, 64, 20).measured_bytes is None
    first.ran_out()
    assert generator()._models._plan_and_watch(128, 64, 20).way == "text_encoder"


@pytest.mark.gpu
def test_a_card_says_what_was_taken() -> None:
    device = torch.device("cuda", 0)
    name, usable = usable_memory(device)
    start_peak(device, lets_go=True)
    before = read_memory(device)
    assert (before.gpu, before.total_bytes) == (name, usable)
    block = torch.empty(GIB, dtype=torch.uint8, device=device)
    del block
    after = read_memory(device)
    assert after.peak_bytes >= before.held_bytes + GIB
    assert GIB < after.took_bytes < after.had_bytes <= after.total_bytes
    start_peak(device, lets_go=True)
    assert read_memory(device).peak_bytes < after.peak_bytes
    with pytest.raises(ClusterError, match=r"must be enough"), memory_suffices(lambda: None):
        torch.empty(2 * usable, dtype=torch.uint8, device=device)
