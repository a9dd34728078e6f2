"""Checkpoints of Wan2.2-S2V with random weights, in exactly the official layout: tiny for tests, full-size for timing.

Belongs here: every file that the official folder has, with the official tensor names, and random values in it.
Does not belong here: reading it (s2v_pipeline.generation.wan_s2v), the tokenizer (tiny_text).

Nothing is zero, not even what training starts at zero: a part that a reader forgets must change the result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2v_pipeline.generation.wan_s2v.checkpoint import (
    SPEECH_FOLDER,
    SPEECH_STATES,
    TEXT_ENCODER_FILE,
    TOKENIZER_FOLDER,
    TRANSFORMER_STEM,
    VAE_FILE,
    TransformerConfig,
    expected_tensors,
)

if TYPE_CHECKING:
    import torch

Shapes = dict[str, tuple[int, ...]]
SMALL_VALUES = 1 << 20  # tensors up to this many values get their own; larger ones repeat one block, for speed
_LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", "'", "-", *"abcdefghijklmnopqrstuvwxyz")
SWITCHES = {
    "adain_mode": "attn_norm",
    "add_last_motion": True,
    "enable_adain": True,
    "enable_framepack": True,
    "enable_motioner": False,
    "enable_tsm": False,
    "framepack_drop_mode": "padd",
    "model_type": "s2v",
    "motion_token_num": 1024,
    "trainable_token_pos_emb": False,
    "zero_init": True,
    "zero_timestep": True,
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of all parts; `transformer` holds the fields of its config.json that are not switches."""

    transformer: Mapping[str, Any]
    vae_dim: int
    text_dim: int
    text_ffn_dim: int
    text_heads: int
    text_layers: int
    text_vocabulary: int | None  # None: the tokenizer's own
    speech_dim: int
    speech_ffn_dim: int
    speech_heads: int
    speech_conv_dim: int
    speech_positions: tuple[int, int]  # kernel, groups
    n_shards: int


TINY = Sizes(
    transformer={
        "audio_dim": 32,
        "audio_inject_layers": [0, 2],
        "cond_dim": 16,
        "dim": 64,
        "eps": 1e-6,
        "ffn_dim": 128,
        "freq_dim": 32,
        "in_dim": 16,
        "num_audio_token": 4,
        "num_heads": 2,
        "num_layers": 3,
        "out_dim": 16,
        "text_dim": 48,
        "text_len": 512,
    },
    vae_dim=8,
    text_dim=48,
    text_ffn_dim=64,
    text_heads=4,
    text_layers=2,
    text_vocabulary=None,
    speech_dim=32,
    speech_ffn_dim=64,
    speech_heads=2,
    speech_conv_dim=16,
    speech_positions=(16, 2),
    n_shards=3,
)
FULL = Sizes(
    transformer={
        "audio_dim": 1024,
        "audio_inject_layers": [0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39],
        "cond_dim": 16,
        "dim": 5120,
        "eps": 1e-6,
        "ffn_dim": 13824,
        "freq_dim": 256,
        "in_dim": 16,
        "num_audio_token": 4,
        "num_heads": 40,
        "num_layers": 40,
        "out_dim": 16,
        "text_len": 512,
    },
    vae_dim=96,
    text_dim=4096,
    text_ffn_dim=10240,
    text_heads=64,
    text_layers=24,
    text_vocabulary=256384,
    speech_dim=1024,
    speech_ffn_dim=4096,
    speech_heads=16,
    speech_conv_dim=512,
    speech_positions=(128, 16),
    n_shards=10,
)


def write_tiny_checkpoint(folder: Path, *, seed: int = 0, config: Sizes = TINY) -> Path:
    """Write a whole checkpoint of 6 MB in the official layout; returns the folder, made where it is missing."""
    return write_checkpoint(folder, sizes=config, seed=seed)


def write_checkpoint(folder: Path, *, sizes: Sizes, seed: int = 0, transformer_only: bool = False) -> Path:
    """Write a checkpoint of the given sizes; the transformer and the text encoder in bfloat16, as the official ones."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    fill = _Random(seed)
    _write_transformer(folder, sizes, fill)
    if transformer_only:
        return folder
    vocabulary = _write_tokenizer(folder / TOKENIZER_FOLDER)
    text = text_encoder_shapes(sizes, vocabulary=sizes.text_vocabulary or vocabulary)
    torch.save({name: fill(name, shape, torch.bfloat16) for name, shape in text.items()}, folder / TEXT_ENCODER_FILE)
    vae = vae_shapes(sizes.vae_dim)
    torch.save({name: fill(name, shape, torch.float32) for name, shape in vae.items()}, folder / VAE_FILE)
    _write_speech_encoder(folder / SPEECH_FOLDER, sizes, fill)
    return folder


class _Random:
    """Random values by tensor name: small for weights and biases, around 1 for what scales."""

    def __init__(self, seed: int) -> None:
        import torch

        self._generator = torch.Generator().manual_seed(seed)
        self._block = torch.randn(SMALL_VALUES, generator=self._generator)

    def __call__(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        import torch

        n_values = math.prod(shape)
        spread, centre = _spread(name, shape)
        if n_values <= SMALL_VALUES:
            return (torch.randn(shape, generator=self._generator) * spread + centre).to(dtype)
        block, values = (self._block * spread + centre).to(dtype), torch.empty(n_values, dtype=dtype)
        for start in range(0, n_values, SMALL_VALUES):
            part = values[start : start + SMALL_VALUES]
            part.copy_(block[: len(part)])
        return values.view(shape)


def _spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Standard deviation and mean of a tensor's values."""
    scales = ("gamma", "norm.weight", "norm1.weight", "norm2.weight", "norm3.weight", "norm_q.weight", "norm_k.weight")
    if name.endswith((*scales, "weight_g", "casual_audio_encoder.weights")):
        return 0.1, 1.0
    if name.endswith("bias") or "modulation" in name or "pos_embedding" in name:
        return 0.1, 0.0
    if "embedding.weight" in name or len(shape) < 2 or "padding_tokens" in name:
        return 0.5, 0.0
    return 1 / math.sqrt(math.prod(shape[1:])), 0.0


def _write_transformer(folder: Path, sizes: Sizes, fill: _Random) -> None:
    import torch
    from safetensors.torch import save_file

    values = {**SWITCHES, **sizes.transformer}
    _write_json(folder / "config.json", {"_class_name": "WanModel_S2V", "_diffusers_version": "0.34.0", **values})
    shapes = expected_tensors(TransformerConfig.model_validate_json(json.dumps(values)))
    names, n_shards = sorted(shapes), sizes.n_shards
    weight_map: dict[str, str] = {}
    for number in range(n_shards):
        file = f"{TRANSFORMER_STEM}-{number + 1:05}-of-{n_shards:05}.safetensors"
        # Neighbours lie in different files: nothing may count on a block being in one.
        held = {name: fill(name, shapes[name], torch.bfloat16) for name in names[number::n_shards]}
        save_file(held, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    total = 2 * sum(math.prod(shape) for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    _write_json(folder / f"{TRANSFORMER_STEM}.safetensors.index.json", index)


def _write_tokenizer(folder: Path) -> int:
    from s2v_pipeline_tests.generation.wan_s2v.tiny_text import TINY_VOCABULARY_SIZE, write_tiny_tokenizer

    write_tiny_tokenizer(folder)
    return TINY_VOCABULARY_SIZE


def text_encoder_shapes(sizes: Sizes, *, vocabulary: int) -> Shapes:
    """Names and shapes of `models_t5_umt5-xxl-enc-bf16.pth` (wan/modules/t5.py)."""
    dim, ffn_dim, n_buckets = sizes.text_dim, sizes.text_ffn_dim, 32
    shapes: Shapes = {"token_embedding.weight": (vocabulary, dim)}
    for block in range(sizes.text_layers):
        at = f"blocks.{block}"
        shapes |= {f"{at}.norm1.weight": (dim,)}
        shapes |= {f"{at}.attn.{part}.weight": (dim, dim) for part in "qkvo"}
        shapes |= {f"{at}.norm2.weight": (dim,), f"{at}.ffn.gate.0.weight": (ffn_dim, dim)}
        shapes |= {f"{at}.ffn.fc1.weight": (ffn_dim, dim), f"{at}.ffn.fc2.weight": (dim, ffn_dim)}
        shapes |= {f"{at}.pos_embedding.embedding.weight": (n_buckets, sizes.text_heads)}
    return shapes | {"norm.weight": (dim,)}


def vae_shapes(dim: int) -> Shapes:
    """Names and shapes of `Wan2.1_VAE.pth` (wan/modules/vae2_1.py) for a base width."""
    z_dim, widths = 16, (dim, 2 * dim, 4 * dim, 4 * dim)
    narrow = widths[-1]
    parts = [_conv("encoder.conv1", 3, dim, 3, 3, 3), _vae_middle("encoder", narrow)]
    number, n_in = 0, dim
    for level, width in enumerate(widths):
        for _ in range(2):
            parts.append(_residual(f"encoder.downsamples.{number}", n_in, width))
            number, n_in = number + 1, width
        if level < 3:
            at, number = f"encoder.downsamples.{number}", number + 1
            parts.append(_conv(f"{at}.resample.1", width, width, 3, 3))
            parts += [_conv(f"{at}.time_conv", width, width, 3, 1, 1)] if level > 0 else []
    parts.append({"encoder.head.0.gamma": (narrow, 1, 1, 1)})
    parts.append(_conv("encoder.head.2", narrow, 2 * z_dim, 3, 3, 3))
    parts += [_conv("conv1", 2 * z_dim, 2 * z_dim, 1, 1, 1), _conv("conv2", z_dim, z_dim, 1, 1, 1)]

    parts += [_conv("decoder.conv1", z_dim, narrow, 3, 3, 3), _vae_middle("decoder", narrow)]
    number, n_in = 0, narrow
    for level, width in enumerate(reversed(widths)):
        for _ in range(3):
            parts.append(_residual(f"decoder.upsamples.{number}", n_in, width))
            number, n_in = number + 1, width
        if level < 3:
            at, number, n_in = f"decoder.upsamples.{number}", number + 1, width // 2
            parts.append(_conv(f"{at}.resample.1", width, n_in, 3, 3))
            parts += [_conv(f"{at}.time_conv", width, 2 * width, 3, 1, 1)] if level < 2 else []
    parts.append({"decoder.head.0.gamma": (dim, 1, 1, 1)})
    parts.append(_conv("decoder.head.2", dim, 3, 3, 3, 3))
    return {name: shape for part in parts for name, shape in part.items()}


def _vae_middle(side: str, width: int) -> Shapes:
    attention: Shapes = {f"{side}.middle.1.norm.gamma": (width, 1, 1)}
    attention |= _conv(f"{side}.middle.1.to_qkv", width, 3 * width, 1, 1)
    attention |= _conv(f"{side}.middle.1.proj", width, width, 1, 1)
    return _residual(f"{side}.middle.0", width, width) | attention | _residual(f"{side}.middle.2", width, width)


def _residual(at: str, n_in: int, n_out: int) -> Shapes:
    shapes: Shapes = {f"{at}.residual.0.gamma": (n_in, 1, 1, 1), f"{at}.residual.3.gamma": (n_out, 1, 1, 1)}
    shapes |= _conv(f"{at}.residual.2", n_in, n_out, 3, 3, 3) | _conv(f"{at}.residual.6", n_out, n_out, 3, 3, 3)
    return shapes | (_conv(f"{at}.shortcut", n_in, n_out, 1, 1, 1) if n_in != n_out else {})


def _conv(at: str, n_in: int, n_out: int, *kernel: int) -> Shapes:
    return {f"{at}.weight": (n_out, n_in, *kernel), f"{at}.bias": (n_out,)}


def _write_speech_encoder(folder: Path, sizes: Sizes, fill: _Random) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    kernel, groups = sizes.speech_positions
    config = {
        "architectures": ["Wav2Vec2ForCTC"],
        "model_type": "wav2vec2",
        "conv_bias": True,
        "conv_dim": [sizes.speech_conv_dim] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
        "hidden_size": sizes.speech_dim,
        "intermediate_size": sizes.speech_ffn_dim,
        "num_attention_heads": sizes.speech_heads,
        "num_conv_pos_embedding_groups": groups,
        "num_conv_pos_embeddings": kernel,
        "num_feat_extract_layers": 7,
        "num_hidden_layers": SPEECH_STATES - 1,
        "pad_token_id": 0,
        "vocab_size": len(_LETTERS),
    }
    _write_json(folder / "config.json", config)
    preprocessor = {
        "do_normalize": True,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 16000,
    }
    _write_json(folder / "preprocessor_config.json", preprocessor)
    _write_json(folder / "vocab.json", {letter: number for number, letter in enumerate(_LETTERS)})
    tensors = {name: fill(name, shape, torch.float32) for name, shape in _speech_shapes(sizes)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _speech_shapes(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names of the public wav2vec2-large-xlsr-53-english file: its weight norm is called weight_g and weight_v."""
    dim, ffn_dim, conv_dim, (kernel, groups) = (
        *(sizes.speech_dim, sizes.speech_ffn_dim, sizes.speech_conv_dim),
        sizes.speech_positions,
    )
    yield from _linear("lm_head", dim, len(_LETTERS))
    yield "wav2vec2.masked_spec_embed", (dim,)
    for number, taps in enumerate((10, 3, 3, 3, 3, 2, 2)):
        at = f"wav2vec2.feature_extractor.conv_layers.{number}"
        yield from _conv(f"{at}.conv", conv_dim if number else 1, conv_dim, taps).items()
        yield from _norm(f"{at}.layer_norm", conv_dim)
    yield from _norm("wav2vec2.feature_projection.layer_norm", conv_dim)
    yield from _linear("wav2vec2.feature_projection.projection", conv_dim, dim)
    positions = "wav2vec2.encoder.pos_conv_embed.conv"
    yield f"{positions}.weight_g", (1, 1, kernel)
    yield f"{positions}.weight_v", (dim, dim // groups, kernel)
    yield f"{positions}.bias", (dim,)
    yield from _norm("wav2vec2.encoder.layer_norm", dim)
    for layer in range(SPEECH_STATES - 1):
        at = f"wav2vec2.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{at}.attention.{part}", dim, dim)
        yield from _norm(f"{at}.layer_norm", dim)
        yield from _linear(f"{at}.feed_forward.intermediate_dense", dim, ffn_dim)
        yield from _linear(f"{at}.feed_forward.output_dense", ffn_dim, dim)
        yield from _norm(f"{at}.final_layer_norm", dim)


def _linear(at: str, n_in: int, n_out: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{at}.weight", (n_out, n_in)
    yield f"{at}.bias", (n_out,)


def _norm(at: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{at}.weight", (width,)
    yield f"{at}.bias", (width,)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
