"""LoRAs of every spelling merge to the same sum; foreign, damaged and dangerous ones are refused by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors.torch import save_file

from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import expected_tensors, transformer_config
from s2v_pipeline.generation.wan_s2v.lora import Lora, load_lora, merge_loras
from s2v_pipeline.generation.wan_s2v.lora_keys import layer_names
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline_tests.wan_checkpoint import TINY

SWITCHES = {
    "enable_adain": True,
    "zero_timestep": True,
    "enable_framepack": True,
    "framepack_drop_mode": "padd",
    "enable_motioner": False,
}
CONFIG = transformer_config({**TINY.transformer, **SWITCHES}, source=Path("config.json"))
SHAPES = expected_tensors(CONFIG)
RANK, ALPHA = 4, 2.0

DIFFUSERS = {
    "blocks.0.self_attn.q": "blocks.0.attn1.to_q",
    "blocks.2.cross_attn.o": "blocks.2.attn2.to_out.0",
    "blocks.1.ffn.0": "blocks.1.ffn.net.0.proj",
    "blocks.1.ffn.2": "blocks.1.ffn.net.2",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
}
LAYERS = tuple(DIFFUSERS)
Spelling = Callable[[str], tuple[str, str, str | None]]
SPELLINGS: dict[str, Spelling] = {
    "native": lambda at: (f"{at}.lora_A.weight", f"{at}.lora_B.weight", f"{at}.alpha"),
    "native without alpha": lambda at: (f"{at}.lora_A.weight", f"{at}.lora_B.weight", None),
    "comfyui": lambda at: (
        f"diffusion_model.{at}.lora_down.weight",
        f"diffusion_model.{at}.lora_up.weight",
        f"diffusion_model.{at}.alpha",
    ),
    "model.diffusion_model": lambda at: (
        f"model.diffusion_model.{at}.lora.down.weight",
        f"model.diffusion_model.{at}.lora.up.weight",
        f"model.diffusion_model.{at}.alpha",
    ),
    "diffusers": lambda at: (
        f"transformer.{DIFFUSERS[at]}.lora_A.weight",
        f"transformer.{DIFFUSERS[at]}.lora_B.weight",
        None,
    ),
    "peft": lambda at: (
        f"base_model.model.{at}.lora_A.default.weight",
        f"base_model.model.{at}.lora_B.default.weight",
        None,
    ),
    "kohya": lambda at: (
        f"lora_unet_{at.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{at.replace('.', '_')}.lora_up.weight",
        f"lora_unet_{at.replace('.', '_')}.alpha",
    ),
}


def transformer(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The real transformer, tiny, with the same random weights each time."""
    torch.manual_seed(0)
    module: torch.nn.Module = WanS2VTransformer3DModel(**TINY.transformer)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    module.to(dtype)
    return module


def factors(seed: int = 1) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> (down, up)."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    for layer in LAYERS:
        n_out, n_in = SHAPES[f"{layer}.weight"]
        down, up = torch.randn(RANK, n_in, generator=random), torch.randn(n_out, RANK, generator=random)
        found[layer] = (down, up)
    return found


def write(
    path: Path,
    spelling: str = "native",
    more: Mapping[str, torch.Tensor] | None = None,
    *,
    seed: int = 1,
    metadata: dict[str, str] | None = None,
) -> Path:
    tensors = dict(more or {})
    for layer, (down, up) in factors(seed).items():
        down_key, up_key, alpha_key = SPELLINGS[spelling](layer)
        tensors |= {down_key: down, up_key: up}
        if alpha_key is not None:
            tensors[alpha_key] = torch.tensor(ALPHA)
    save_file(tensors, path, metadata=metadata)
    return path


def merged(*loras: tuple[Lora, float], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    module = transformer(dtype)
    merge_loras(module, loras)
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_merges_to_the_same_sum(tmp_path: Path, spelling: str) -> None:
    lora = load_lora(write(tmp_path / "x.safetensors", spelling), CONFIG, alpha=ALPHA)
    before, after = dict(transformer().named_parameters()), merged((lora, 0.7))
    for layer, (down, up) in factors().items():
        wanted = before[f"{layer}.weight"].detach() + 0.7 * ALPHA / RANK * (up @ down)
        torch.testing.assert_close(after[f"{layer}.weight"], wanted, rtol=0, atol=1e-5)
    untouched = before.keys() - {f"{layer}.weight" for layer in LAYERS}
    assert all(torch.equal(before[name], after[name]) for name in untouched)
    assert (lora.left_out, len(lora.changes)) == ((), len(LAYERS))
    assert lora.sha256 == file_sha256(lora.path)


def test_without_any_alpha_the_scale_is_one(tmp_path: Path) -> None:
    lora = load_lora(write(tmp_path / "x.safetensors", "native without alpha"), CONFIG)
    assert {change.scale for change in lora.changes.values()} == {1.0}


def test_alpha_in_diffusers_metadata_counts(tmp_path: Path) -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8, "transformer.r": RANK})}
    lora = load_lora(write(tmp_path / "x.safetensors", "diffusers", metadata=metadata), CONFIG)
    assert {change.scale for change in lora.changes.values()} == {8 / RANK}


def test_alpha_in_pefts_file_counts(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16, "r": RANK}))
    lora = load_lora(write(tmp_path / "adapter_model.safetensors", "peft"), CONFIG)
    assert {change.scale for change in lora.changes.values()} == {16 / RANK}


@pytest.mark.parametrize("switch", ["use_dora", "use_rslora"])
def test_other_kinds_in_the_metadata_are_refused(tmp_path: Path, switch: str) -> None:
    metadata = {"lora_adapter_metadata": json.dumps({switch: True})}
    with pytest.raises(WeightsError, match=switch):
        load_lora(write(tmp_path / "x.safetensors", metadata=metadata), CONFIG)


def test_differences_of_weights_biases_and_modulation_are_added(tmp_path: Path) -> None:
    more = {
        "blocks.0.norm3.diff": torch.randn(64),
        "blocks.0.norm3.diff_b": torch.randn(64),
        "blocks.0.self_attn.norm_k.diff": torch.randn(64),
        "blocks.0.self_attn.q.diff_b": torch.randn(64),
        "blocks.1.diff_m": torch.randn(1, 6, 64),
        "head.diff_m": torch.randn(1, 2, 64),
        "patch_embedding.diff": torch.randn(64, 16, 1, 2, 2),
        "patch_embedding.diff_b": torch.randn(64),
    }
    path = write(tmp_path / "x.safetensors", "comfyui", {f"diffusion_model.{name}": t for name, t in more.items()})
    before, after = dict(transformer().named_parameters()), merged((load_lora(path, CONFIG), 0.5))
    endings = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}
    for name, difference in more.items():
        layer, _, ending = name.rpartition(".")
        wanted = before[f"{layer}.{endings[ending]}"].detach() + 0.5 * difference
        torch.testing.assert_close(after[f"{layer}.{endings[ending]}"], wanted, rtol=0, atol=1e-6)


def test_a_convolution_merges(tmp_path: Path) -> None:
    down, up = torch.randn(RANK, 16, 1, 2, 2), torch.randn(64, RANK, 1, 1, 1)
    path = tmp_path / "x.safetensors"
    save_file({"patch_embedding.lora_down.weight": down, "patch_embedding.lora_up.weight": up}, path)
    before, after = dict(transformer().named_parameters()), merged((load_lora(path, CONFIG), 1.0))
    wanted = torch.einsum("or,rcthw->octhw", up[:, :, 0, 0, 0], down)
    added = after["patch_embedding.weight"] - before["patch_embedding.weight"].detach()
    torch.testing.assert_close(added, wanted, rtol=0, atol=1e-5)


def test_bf16_weights_are_rounded_once(tmp_path: Path) -> None:
    first = load_lora(write(tmp_path / "1.safetensors"), CONFIG)
    second = load_lora(write(tmp_path / "2.safetensors", seed=2), CONFIG)
    before, after = (
        dict(transformer(torch.bfloat16).named_parameters()),
        merged((first, 0.3), (second, -0.6), dtype=torch.bfloat16),
    )
    for layer in LAYERS:
        total = before[f"{layer}.weight"].detach().float()
        for (down, up), strength in ((factors()[layer], 0.3), (factors(2)[layer], -0.6)):
            total += strength * (ALPHA / RANK * (up @ down))
        assert torch.equal(after[f"{layer}.weight"], total.to(torch.bfloat16))


FOREIGN: dict[str, dict[str, torch.Tensor]] = {
    "a layer of I2V": {
        "blocks.0.cross_attn.k_img.lora_A.weight": torch.zeros(RANK, 64),
        "blocks.0.cross_attn.k_img.lora_B.weight": torch.zeros(64, RANK),
    },
    "a block too many": {
        "blocks.40.self_attn.q.lora_A.weight": torch.zeros(RANK, 64),
        "blocks.40.self_attn.q.lora_B.weight": torch.zeros(64, RANK),
    },
    "another width": {
        "blocks.0.self_attn.k.lora_A.weight": torch.zeros(RANK, 32),
        "blocks.0.self_attn.k.lora_B.weight": torch.zeros(32, RANK),
    },
    "36 input channels": {"patch_embedding.diff": torch.zeros(64, 36, 1, 2, 2)},
    "the text encoder": {"text_encoder.block.0.lora_A.weight": torch.zeros(RANK, 8)},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_lora_of_another_model_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "x.safetensors", more=FOREIGN[kind])
    with pytest.raises(WeightsError, match="a LoRA of another model") as caught:
        load_lora(path, CONFIG)
    assert next(iter(FOREIGN[kind])) in caught.value.got


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_partial_merge_says_what_it_leaves_out(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    lora = load_lora(write(tmp_path / "x.safetensors", more=FOREIGN[kind]), CONFIG, allow_partial=True)
    assert set(lora.left_out) == set(FOREIGN[kind])
    with caplog.at_level(logging.WARNING):
        report = merge_loras(transformer(), [(lora, 1.0)])
    assert report.n_parameters == len(LAYERS)
    (note,) = report.notes
    assert f"{len(lora.left_out)} keys left out" in note
    assert note in caplog.text


def test_a_lora_that_fits_nowhere_is_refused_even_in_part(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(FOREIGN["a layer of I2V"], path)
    with pytest.raises(WeightsError, match="2 of 2 keys do not fit"):
        load_lora(path, CONFIG, allow_partial=True)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"blocks.0.ffn.0.lora_A.weight": torch.zeros(RANK, 64)}, "both factors"),
        ({"blocks.0.ffn.0.alpha": torch.tensor(1.0)}, "both factors"),
        ({"blocks.0.ffn.0.dora_scale": torch.zeros(128)}, "DoRA"),
        ({"blocks.0.ffn.0.lokr_w1": torch.zeros(2, 2)}, "DoRA"),
        ({"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(RANK, 64)}, "name each layer once"),
        ({"blocks.0.norm3.diff": torch.full((64,), float("nan"))}, "finite"),
        ({"blocks.0.norm3.diff": torch.zeros(64, dtype=torch.int64)}, "I64"),
    ],
)
def test_damaged_and_other_kinds_are_refused_even_in_part(
    tmp_path: Path, more: dict[str, torch.Tensor], named: str
) -> None:
    path = write(tmp_path / "x.safetensors", more=more)
    with pytest.raises(WeightsError, match=named):
        load_lora(path, CONFIG, allow_partial=True)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match=r"must be a safetensors file; got x\.pt"):
        load_lora(path, CONFIG)


def test_a_truncated_lora_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="truncated"):
        load_lora(path, CONFIG)


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(tmp_path: Path, strength: float) -> None:
    lora = load_lora(write(tmp_path / "x.safetensors"), CONFIG)
    with pytest.raises(WeightsError, match="strength must be finite"):
        merge_loras(transformer(), [(lora, strength)])


@pytest.mark.parametrize("change", ["quantised", "meta", "gone"])
def test_a_transformer_that_cannot_be_merged_into_is_left_as_it_is(tmp_path: Path, change: str) -> None:
    lora, module = load_lora(write(tmp_path / "x.safetensors"), CONFIG), transformer()
    owner: Any = module.get_submodule("head.head")
    if change == "gone":
        del owner.weight
    elif change == "meta":
        owner.weight = torch.nn.Parameter(owner.weight.to("meta"))
    else:
        owner.weight = torch.nn.Parameter(owner.weight.to(torch.float8_e4m3fn), requires_grad=False)
    before = module.get_parameter("blocks.0.self_attn.q.weight").clone()
    with pytest.raises(WeightsError, match=r"head\.head\.weight must hold plain weights"):
        merge_loras(module, [(lora, 1.0)])
    assert torch.equal(before, module.get_parameter("blocks.0.self_attn.q.weight"))


def test_no_two_layers_share_a_spelling() -> None:
    layers = {name.rpartition(".")[0] for name in SHAPES}
    for layer in layers:
        others = layer_names(layers - {layer})
        assert not layer_names([layer]).keys() & others.keys()


def test_diffusers_names_are_those_of_its_own_conversion() -> None:
    trunk = ("blocks.", "text_embedding", "time_embedding", "time_projection", "head.head", "patch_embedding")
    names = [name for name in SHAPES if name.startswith(trunk) and not name.endswith("modulation")]
    spellings = layer_names({name.rpartition(".")[0] for name in names})
    for name in names:
        (theirs,) = convert_wan_transformer_to_diffusers({name: torch.zeros(1)})
        assert spellings[theirs.rpartition(".")[0]] == name.rpartition(".")[0]
