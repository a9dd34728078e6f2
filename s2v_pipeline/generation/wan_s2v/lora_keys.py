"""Names inside LoRA files: which layer of the transformer a key speaks of, and what it holds.

Belongs here: the ways in which trainers and converters spell keys. Does not belong here: tensors (lora).

Spellings, all seen in files for Wan models:
    blocks.0.self_attn.q.lora_A.weight                      native names; PEFT: lora_A.default.weight
    diffusion_model.blocks.0.self_attn.q.lora_down.weight   ComfyUI, lightx2v; with .alpha, .diff, .diff_b, .diff_m
    transformer.blocks.0.attn1.to_q.lora_A.weight           diffusers' names of Wan's layers
    base_model.model.blocks.0.self_attn.q.lora_A.weight     PEFT's own saving
    lora_unet_blocks_0_self_attn_q.lora_down.weight         kohya (musubi-tuner)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Part = Literal["down", "up", "alpha", "diff", "diff_bias", "diff_modulation"]
"""down, up: the factors; diff, diff_bias, diff_modulation: what is added to the weight, bias, modulation itself."""

_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "model.")
_KOHYA = "lora_unet_"
_ENDINGS: tuple[tuple[re.Pattern[str], Part], ...] = (
    (re.compile(r"\.(lora_A(\.\w+)?|lora_down|lora\.down)\.weight$"), "down"),
    (re.compile(r"\.(lora_B(\.\w+)?|lora_up|lora\.up)\.weight$"), "up"),
    (re.compile(r"\.diff_b$"), "diff_bias"),
    (re.compile(r"\.alpha$"), "alpha"),
    (re.compile(r"\.diff$"), "diff"),
    (re.compile(r"\.diff_m$"), "diff_modulation"),
)
# Native part of a name -> diffusers' name for it, as its conversion of Wan transformers has them
# (diffusers, loaders/single_file_utils.py). Order matters: longer names first.
_DIFFUSERS = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.head", "proj_out"),
    (".self_attn.", ".attn1."),
    (".cross_attn.", ".attn2."),
    (".norm3", ".norm2"),
    (".ffn.0", ".ffn.net.0.proj"),
    (".ffn.2", ".ffn.net.2"),
)
_DIFFUSERS_ENDS = {".q": ".to_q", ".k": ".to_k", ".v": ".to_v", ".o": ".to_out.0"}


def split_key(key: str) -> tuple[str, Part] | None:
    """(layer as the file spells it, without prefix; what the key holds); None for a key of no known kind."""
    for pattern, part in _ENDINGS:
        if found := pattern.search(key):
            return _without_prefix(key[: found.start()]), part
    return None


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return _without_prefix(name.removeprefix(prefix))
    return name.removeprefix(_KOHYA).lstrip("_") if name.startswith(_KOHYA) else name


def layer_names(layers: Iterable[str]) -> dict[str, str]:
    """Every spelling of a layer's name, the native one included -> its native name."""
    spellings: dict[str, str] = {}
    for layer in layers:
        for name in (layer, _diffusers_name(layer)):
            spellings[name] = layer
            spellings[name.replace(".", "_")] = layer
    return spellings


def _diffusers_name(layer: str) -> str:
    if not layer.startswith(("blocks.", "time_", "text_", "head.")):
        return layer  # parts that diffusers' Wan model does not have
    name = layer
    for native, other in _DIFFUSERS:
        name = name.replace(native, other)
    for end, other in _DIFFUSERS_ENDS.items():
        if name.endswith(end) and (".attn1." in name or ".attn2." in name):
            return name.removesuffix(end) + other
    return name
