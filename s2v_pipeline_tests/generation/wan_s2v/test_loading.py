"""From settings and a folder to models: devices, LoRAs as text, both layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from s2v_pipeline.errors import SettingsError, WeightsError
from s2v_pipeline.generation.wan_s2v import loading
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
from s2v_pipeline.generation.wan_s2v.convert import convert_checkpoint
from s2v_pipeline.generation.wan_s2v.loading import (
    LoraFile,
    choose_device,
    load_pipeline,
    load_transformer,
    parse_loras,
    weights_folder,
)
from s2v_pipeline.generation.wan_s2v.sampling import Sampling
from s2v_pipeline.generation.wan_s2v.transformer import keeps_float32
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import speech, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


def test_loras_as_text() -> None:
    assert parse_loras(()) == ()
    assert parse_loras(("a.safetensors", "b/c.safetensors@0.5", "d@e.safetensors@-1", "f.safetensors@1e-1")) == (
        LoraFile(Path("a.safetensors"), 1.0),
        LoraFile(Path("b/c.safetensors"), 0.5),
        LoraFile(Path("d@e.safetensors"), -1.0),
        LoraFile(Path("f.safetensors"), 0.1),
    )
    for text in ("a.safetensors@loud", "a.safetensors@", "a@b.safetensors"):
        with pytest.raises(SettingsError, match=r"Write it as lora\.safetensors@0\.8"):
            parse_loras((text,))
    for text in ("a.safetensors@nan", "a.safetensors@inf"):
        with pytest.raises(SettingsError, match="must be finite"):
            parse_loras((text,))


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("auto", "cuda"):
        with pytest.raises(SettingsError, match=r"needs a CUDA device.*'portrait'.*wan\.device = 'cpu'"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)


def test_no_weights_named() -> None:
    with pytest.raises(WeightsError, match=r"`s2v weights fetch data/weights/Wan2\.2-S2V-14B`"):
        weights_folder(WanSettings())
    assert weights_folder(WanSettings(weights=Path("here"))) == Path("here")


def test_what_cannot_work_is_refused_before_weights_are_read(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(loading, "load_transformer_state", read)
    checkpoint = find_checkpoint(weights)
    config = read_transformer_config(checkpoint.transformer_config)
    settings = tiny_settings(weights)
    with pytest.raises(SettingsError, match=r"'layers' needs a CUDA device; got cpu\. Set wan\.offload = 'none'"):
        load_transformer(checkpoint, config, settings, CPU, offload="layers")
    lora = settings.model_copy(update={"loras": (str(tmp_path / "none.safetensors"),)})
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        load_transformer(checkpoint, config, lora, CPU)


def test_precision_and_progress(weights: Path) -> None:
    checkpoint = find_checkpoint(weights)
    config = read_transformer_config(checkpoint.transformer_config)
    seen: list[tuple[int, int]] = []
    settings = tiny_settings(weights).model_copy(update={"precision": "bfloat16"})
    model = load_transformer(checkpoint, config, settings, CPU, on_bytes=lambda *what: seen.append(what))
    types = {name: value.dtype for name, value in model.named_parameters()}
    assert types == {name: torch.float32 if keeps_float32(name) else torch.bfloat16 for name in types}
    assert set(types.values()) == {torch.float32, torch.bfloat16}
    assert not any(value.requires_grad or value.is_meta for value in model.parameters())
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_both_layouts_make_the_same_video(weights: Path, tmp_path: Path) -> None:
    """Bit for bit: the same numbers under other names, prompt, portrait and speech included."""
    converted = convert_checkpoint(weights, tmp_path / "diffusers", to="diffusers").folder
    picture = np.random.default_rng(6).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    made = []
    for folder in (weights, converted):
        pipeline = load_pipeline(folder, settings=tiny_settings(folder))
        sampling = Sampling(steps=2, guidance=2.0)
        made.append(pipeline(picture, speech(1.0), "a person talks", size_px=(64, 64), sampling=sampling))
    assert made[0].shape == (16, 64, 64, 3)
    assert made[0].std() > 1
    assert np.array_equal(*made)
