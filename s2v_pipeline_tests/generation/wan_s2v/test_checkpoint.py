"""Which files a checkpoint must have, what its config.json may say, and which tensors follow from it."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import (
    TransformerConfig,
    expected_tensors,
    find_checkpoint,
    read_index,
    read_json,
    read_transformer_config,
    transformer_config,
)
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.wan_checkpoint import FULL, TINY, write_tiny_checkpoint

SWITCHES: dict[str, Any] = {
    "enable_adain": True,
    "zero_timestep": True,
    "enable_framepack": True,
    "framepack_drop_mode": "padd",
    "enable_motioner": False,
}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("official"))


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(official, tmp_path / "checkpoint")


def full_config() -> TransformerConfig:
    return transformer_config({**FULL.transformer, **SWITCHES}, source=Path("config.json"))


def test_the_official_layout_is_found_with_all_its_parts(official: Path) -> None:
    found = find_checkpoint(official)
    assert found.layout == "official"
    assert found.transformer_config == official / "config.json"
    assert [path.name for path in found.shards] == [
        f"diffusion_pytorch_model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    ]
    assert found.text_encoder == official / "models_t5_umt5-xxl-enc-bf16.pth"
    assert found.vae == official / "Wan2.1_VAE.pth"
    assert found.tokenizer == official / "google/umt5-xxl"
    assert found.speech_processor == found.speech_encoder == official / "wav2vec2-large-xlsr-53-english"


def test_the_diffusers_layout_is_found(official: Path, tmp_path: Path) -> None:
    folder = tmp_path / "diffusers"
    for part in ("transformer", "vae", "text_encoder"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
    for path in official.glob("diffusion_pytorch_model*"):
        shutil.copy(path, folder / "transformer")
    shutil.copytree(official / "google/umt5-xxl", folder / "tokenizer")
    shutil.copytree(official / "wav2vec2-large-xlsr-53-english", folder / "audio_encoder")
    (folder / "audio_processor").mkdir()
    (folder / "audio_encoder/preprocessor_config.json").rename(folder / "audio_processor/preprocessor_config.json")
    (folder / "model_index.json").write_text("{}")
    found = find_checkpoint(folder)
    assert found.layout == "diffusers"
    assert found.transformer_config == folder / "transformer/config.json"
    assert found.speech_processor == folder / "audio_processor"
    assert len(found.shards) == 3


def test_no_folder_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=re.escape(f"s2v weights fetch {tmp_path / 'none'}")):
        find_checkpoint(tmp_path / "none")


def test_everything_missing_is_named_at_once(folder: Path) -> None:
    (folder / "Wan2.1_VAE.pth").unlink()
    (folder / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    shutil.rmtree(folder / "google")
    with pytest.raises(WeightsError) as caught:
        find_checkpoint(folder)
    assert caught.value.got == (
        "3 missing: diffusion_pytorch_model-00002-of-00003.safetensors, Wan2.1_VAE.pth, google/umt5-xxl/tokenizer.json"
    )
    assert f"s2v weights fetch {folder}" in caught.value.cure


def test_shards_without_their_index_are_not_taken(folder: Path) -> None:
    (folder / "diffusion_pytorch_model.safetensors.index.json").unlink()
    with pytest.raises(WeightsError, match=r"1 missing: diffusion_pytorch_model\.safetensors\.index\.json"):
        find_checkpoint(folder)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "x.bin", 7])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, name: object) -> None:
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match="of its own folder only"):
        read_index(index)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b" " * ((16 << 20) + 1)])
def test_json_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_json(path)


def test_the_official_config_reads(official: Path) -> None:
    config = read_transformer_config(official / "config.json")
    assert (config.dim, config.num_layers, config.audio_inject_layers) == (64, 3, (0, 2))
    assert config.eps == 1e-6


def test_what_the_official_config_leaves_out_has_its_known_value() -> None:
    config = full_config()
    assert (config.text_dim, config.text_len, config.patch_size, config.window_size) == (4096, 512, (1, 2, 2), (-1, -1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "t2v"}, "model_type"),
        ({"enable_motioner": True}, "enable_motioner"),
        ({"adain_mode": "add"}, "adain_mode"),
        ({"framepack_drop_mode": "drop"}, "framepack_drop_mode"),
        ({"zero_timestep": False}, "zero_timestep"),
        ({"in_dim": 36}, "in_dim"),
        ({"dim": "64"}, "dim"),
        ({"dim": 10**12}, "dim"),
        ({"dim": 66}, "twice num_heads"),
        ({"audio_inject_layers": [0, 3]}, "within num_layers"),
        ({"audio_inject_layers": [2, 0]}, "must rise"),
        ({"vace_layers": [0]}, "vace_layers"),
        ({"eps": float("nan")}, "eps"),
    ],
)
def test_the_config_of_another_model_is_refused(folder: Path, change: dict[str, Any], named: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=f"another model.*{named}"):
        read_transformer_config(path)


@pytest.mark.parametrize("switch", [*SWITCHES, "dim"])
def test_a_switch_whose_default_is_another_network_must_be_there(switch: str) -> None:
    values = {**TINY.transformer, **SWITCHES}
    del values[switch]
    with pytest.raises(WeightsError, match=f"{switch}: Field required"):
        transformer_config(values, source=Path("config.json"))


def test_the_14b_model_has_1260_tensors() -> None:
    tensors = expected_tensors(full_config())
    assert len(tensors) == 1260
    assert Counter(name.split(".")[0] for name in tensors) == {
        "blocks": 1080,
        "patch_embedding": 2,
        "text_embedding": 4,
        "time_embedding": 4,
        "time_projection": 2,
        "head": 3,
        "audio_injector": 144,
        "casual_audio_encoder": 12,
        "cond_encoder": 2,
        "frame_packer": 6,
        "trainable_cond_mask": 1,
    }
    assert sum(math.prod(shape) for shape in tensors.values()) == pytest.approx(16.3e9, rel=0.003)


def test_the_s2v_part_weighs_what_others_measured() -> None:
    """165 tensors and 4.01 GB in bf16, as drozbay/Wan2.2-S2V-14B-module states."""
    parts = ("audio_injector", "casual_audio_encoder", "cond_encoder", "frame_packer", "trainable_cond_mask")
    shapes = [shape for name, shape in expected_tensors(full_config()).items() if name.startswith(parts)]
    assert len(shapes) == 165
    assert 2 * sum(math.prod(shape) for shape in shapes) == pytest.approx(4.01e9, abs=0.005e9)


def test_shapes_of_the_14b_model_by_example() -> None:
    tensors = expected_tensors(full_config())
    assert tensors["blocks.39.ffn.0.weight"] == (13824, 5120)
    assert tensors["blocks.0.cross_attn.k.weight"] == (5120, 5120)
    assert tensors["text_embedding.0.weight"] == (5120, 4096)
    assert tensors["casual_audio_encoder.encoder.conv1_local.conv.weight"] == (5120, 1024, 3)
    assert tensors["casual_audio_encoder.encoder.conv2.conv.weight"] == (2560, 1280, 3)
    assert tensors["audio_injector.injector_adain_layers.11.linear.weight"] == (10240, 5120)


def test_names_and_shapes_are_those_of_the_reference_vectors() -> None:
    metadata, tensors = load_golden("transformer")
    config = transformer_config(metadata["config"], source=Path("golden"))
    found = {
        name.removeprefix("weights."): tuple(t.shape) for name, t in tensors.items() if name.startswith("weights.")
    }
    assert found == expected_tensors(config)
