"""Weights that cannot be used, as a run meets them: rule, what came, cure; and nothing is written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from s2v_pipeline.errors import GenerationError, S2VError, SettingsError, WeightsError
from s2v_pipeline.generation.registry import load_generator
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import generator, portrait, request, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def weights(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "weights"))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("diffusion_pytorch_model-*.safetensors"))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = shards(folder)[0]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def drop_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors.pop(sorted(tensors)[0])


def add_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors["blocks.0.surprise.weight"] = torch.zeros(3, dtype=torch.bfloat16)


def reshape_one(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(3, 5, dtype=torch.bfloat16)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


class _Code:
    """A pickle that writes a file when it is loaded without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.target, "run"))


def other_model(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "t2v", "enable_adain": False}))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (lambda folder: shards(folder)[1].unlink(), "00002-of-00003"),
    "truncated shard": (lambda folder: cut(shards(folder)[1]), "00002-of-00003"),
    "missing key": (lambda folder: change_tensors(folder, drop_one), "missing"),
    "extra key": (lambda folder: change_tensors(folder, add_one), "blocks.0.surprise.weight"),
    "wrong shape": (lambda folder: change_tensors(folder, reshape_one), r"\[3, 5\]|\(3, 5\)"),
    "truncated VAE": (lambda folder: cut(folder / "Wan2.1_VAE.pth"), "Wan2.1_VAE.pth"),
    "truncated text encoder": (lambda folder: cut(folder / "models_t5_umt5-xxl-enc-bf16.pth"), "models_t5"),
    "another model": (other_model, "another model"),
    "no tokenizer": (lambda folder: (folder / "google/umt5-xxl/tokenizer.json").unlink(), "tokenizer.json"),
    "truncated speech encoder": (
        lambda folder: cut(folder / "wav2vec2-large-xlsr-53-english/model.safetensors"),
        "wav2vec2",
    ),
}


def generate(settings: WanSettings, tmp_path: Path) -> None:
    made = load_generator(GeneratorSpec("wan_s2v", wan=settings))
    made.generate(request(portrait(tmp_path), FrameSpan(0, 5), 0, is_last=True), None)


def refusal(settings: WanSettings, tmp_path: Path, match: str) -> S2VError:
    portrait(tmp_path)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises((WeightsError, SettingsError), match=match) as raised:
        generate(settings, tmp_path)
    assert raised.value.rule
    assert raised.value.got
    assert raised.value.cure.endswith((".", "FOLDER")) or "s2v weights" in raised.value.cure
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    return raised.value


def test_good_weights_work(good: Path, tmp_path: Path) -> None:
    generate(tiny_settings(good), tmp_path)


@pytest.mark.parametrize("what", BAD)
def test_damaged_weights(what: str, weights: Path, tmp_path: Path) -> None:
    damage, match = BAD[what]
    damage(weights)
    refusal(tiny_settings(weights), tmp_path, match)


@pytest.mark.parametrize("what", ["truncated shard", "truncated VAE", "no tokenizer"])
def test_mended_weights_work_in_the_same_process(what: str, good: Path, weights: Path, tmp_path: Path) -> None:
    damage, match = BAD[what]
    damage(weights)
    refusal(tiny_settings(weights), tmp_path, match)
    shutil.copytree(good, weights, dirs_exist_ok=True)
    generate(tiny_settings(weights), tmp_path)


@pytest.mark.parametrize("name", ["Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"])
def test_a_pickle_with_code_is_not_run(name: str, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "written_by_the_pickle"
    torch.save({"conv1.weight": _Code(target)}, weights / name)
    refusal(tiny_settings(weights), tmp_path, "code in it")
    assert not target.exists()
    (weights / name).write_bytes(pickle.dumps(_Code(target)))
    refusal(tiny_settings(weights), tmp_path, name)
    assert not target.exists()


def test_a_lora_of_another_model(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    down, up = torch.zeros(4, 640), torch.zeros(640, 4)
    save_file({"blocks.0.self_attn.q.lora_A.weight": down, "blocks.0.self_attn.q.lora_B.weight": up}, path)
    refusal(tiny_settings(weights).model_copy(update={"loras": (str(path),)}), tmp_path, "another model")
    refusal(tiny_settings(weights).model_copy(update={"loras": (f"{path}@loud",)}), tmp_path, "@strength")
    refusal(
        tiny_settings(weights).model_copy(update={"loras": (str(tmp_path / "none.safetensors"),)}), tmp_path, "none"
    )


def test_no_weights_no_gpu_no_folder(good: Path, tmp_path: Path) -> None:
    assert "s2v weights fetch" in refusal(WanSettings(device="cpu"), tmp_path, "no wan.weights").cure
    assert "s2v weights fetch" in refusal(tiny_settings(tmp_path / "nowhere"), tmp_path, "no folder").cure
    if not torch.cuda.is_available():
        said = refusal(tiny_settings(good).model_copy(update={"device": "auto"}), tmp_path, "needs a CUDA device")
        assert "portrait" in said.cure


def test_too_little_memory(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1 << 30))
    refusal(tiny_settings(good), tmp_path, "GiB free")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(total=1 << 30))
    refusal(tiny_settings(good), tmp_path, "must fit")


def test_streaming_needs_a_gpu(good: Path, tmp_path: Path) -> None:
    refusal(tiny_settings(good).model_copy(update={"offload": "layers"}), tmp_path, "needs a CUDA device")


def test_a_damaged_portrait(good: Path, tmp_path: Path) -> None:
    picture = portrait(tmp_path)
    cut(picture.path)
    with pytest.raises(GenerationError, match="framed portrait"):
        generator(tiny_settings(good)).generate(request(picture, FrameSpan(0, 5), 0, is_last=True), None)
