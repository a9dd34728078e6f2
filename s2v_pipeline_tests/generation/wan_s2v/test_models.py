"""What is loaded when, what stays, and what goes; on the CPU, with the device's plan stated by the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v import models
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
from s2v_pipeline.generation.wan_s2v.convert import convert_checkpoint
from s2v_pipeline.generation.wan_s2v.memory import Demand, MemoryPlan, Offload
from s2v_pipeline.generation.wan_s2v.models import LoadedModels
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

PICTURE = np.random.default_rng(6).integers(0, 255, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


def loaded(weights: Path, **change: object) -> LoadedModels:
    checkpoint = find_checkpoint(weights)
    settings = tiny_settings(weights).model_copy(update=change)
    return LoadedModels(settings, checkpoint, read_transformer_config(checkpoint.transformer_config))


class Plans:
    """Stands for the plan of a card: every demand is noted and gets what the test says."""

    def __init__(self) -> None:
        self.offload: Offload = "none"
        self.is_tiled = False
        self.demands: list[Demand] = []

    def __call__(self, demand: Demand, available_bytes: int, **_: Any) -> MemoryPlan:
        self.demands.append(demand)
        return MemoryPlan(self.offload, self.is_tiled, 0, available_bytes, ())


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    found = Plans()
    monkeypatch.setattr(models, "plan_memory", found)
    return found


def terms(held: LoadedModels, prompt: str, sha256: str = "a") -> Any:
    return held.video_terms(held.pipeline_for(64, 64, 20), PICTURE, sha256, prompt, None)


def test_models_and_terms_are_kept(weights: Path) -> None:
    held = loaded(weights)
    first = terms(held, "a person talks")
    transformer = held.pipeline_for(64, 64, 20).transformer
    assert held.pipeline_for(64, 64, 3).transformer is transformer
    assert held.speech_encoder() is held.speech_encoder()
    assert terms(held, "a person talks") is first
    assert terms(held, "a person sings") is not first
    assert terms(held, "a person talks", "b") is not first
    assert held.pipeline_for(64, 64, 20).transformer is transformer


@pytest.mark.parametrize(("offload", "stays"), [("none", True), ("text_encoder", False)])
def test_the_text_encoder_goes_where_room_is_short(
    weights: Path, plans: Plans, monkeypatch: pytest.MonkeyPatch, offload: Offload, stays: bool
) -> None:
    encoders = []
    load = models.load_text_encoder

    def noted(*arguments: Any) -> Any:
        encoders.append(load(*arguments))
        return encoders[-1]

    monkeypatch.setattr(models, "load_text_encoder", noted)
    plans.offload = offload
    held = loaded(weights)
    terms(held, "a person talks")
    assert [each.released for each in encoders] == [not stays]
    terms(held, "a person talks", "another portrait")  # known words need no encoder
    assert len(encoders) == 1
    terms(held, "a person sings")
    assert [each.released for each in encoders] == ([False] if stays else [True, True])


def test_prompts_are_kept_up_to_a_number(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_KEPT_EMBEDDINGS", 2)
    held = loaded(weights)
    for prompt in ("one", "two", "one", "three"):
        terms(held, prompt)
    assert list(held._embeddings) == ["one", "three"]


def test_another_plan_leaves_nothing_of_the_old_one(weights: Path, plans: Plans) -> None:
    held = loaded(weights)
    before = terms(held, "a person talks")
    transformer, speech = held.pipeline_for(64, 64, 20).transformer, held.speech_encoder()
    assert held._text is not None
    plans.offload = "text_encoder"
    pipeline = held.pipeline_for(64, 64, 20)
    assert pipeline.transformer is not transformer
    assert held._text is None
    assert held.speech_encoder() is not speech
    after = terms(held, "a person talks")
    assert after is not before
    assert torch.equal(after.reference, before.reference)


def test_tiles_for_want_of_memory_are_said(weights: Path, plans: Plans) -> None:
    held = loaded(weights)
    held.pipeline_for(64, 64, 20)
    assert held.notes == ()
    plans.is_tiled = True
    held.pipeline_for(64, 64, 20)
    assert len(held.notes) == 1
    assert "approximation" in held.notes[0]
    asked_for = loaded(weights, vae_tiling="on")
    asked_for.pipeline_for(64, 64, 20)
    assert asked_for.notes == ()  # the settings' own note says it


def test_the_plan_is_that_of_a_whole_clip(weights: Path, plans: Plans) -> None:
    held = loaded(weights)
    for n_latents in (1, 20, 30):
        held.vae_for(64, 64, n_latents)
    assert [demand.latent_frames for demand in plans.demands] == [20, 20, 30]
    plans.demands.clear()
    held.pipeline_for(64, 64, 30)
    held.vae_for(64, 64, 30)
    assert plans.demands[0] == plans.demands[1]


def test_the_text_encoder_counts_in_the_type_it_runs_in(weights: Path, plans: Plans, tmp_path: Path) -> None:
    folders = [weights, convert_checkpoint(weights, tmp_path / "diffusers", to="diffusers").folder]
    for folder in folders:
        for precision in ("bfloat16", "float32"):
            loaded(folder, precision=precision).vae_for(64, 64, 20)
    official_16, official_32, diffusers_16, diffusers_32 = (each.text_encoder_bytes for each in plans.demands)
    assert official_32 == 2 * official_16
    assert diffusers_32 == 2 * diffusers_16
    # A .pth has a pickle and padding besides its tensors; at 14B these are nothing.
    assert diffusers_16 <= official_16 <= diffusers_16 + 20_000
    assert replace(plans.demands[0], text_encoder_bytes=0) == replace(plans.demands[2], text_encoder_bytes=0)


def test_a_failed_load_can_be_tried_again(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = loaded(weights)
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1 << 30))
    with pytest.raises(WeightsError, match=r"cpu device must have .* GiB free.*End the other processes"):
        held.pipeline_for(64, 64, 20)
    monkeypatch.undo()
    assert held.pipeline_for(64, 64, 20).transformer is not None
