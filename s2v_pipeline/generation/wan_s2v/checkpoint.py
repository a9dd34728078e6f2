"""A checkpoint folder: which layout it has, where its parts lie, and what the transformer in it must look like.

Belongs here: the two layouts, the transformer's configuration, the name and shape of every tensor that it must have.
Does not belong here: reading tensors (shards), fetching and converting (weights, convert), the modules themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2v_pipeline.errors import WeightsError

Layout = Literal["official", "diffusers"]
MAX_JSON_BYTES = 16 << 20
"""Largest JSON file that is read. The index of the 14B model's 1260 tensors has 0.1 MB, a tokenizer's is not read."""

TRANSFORMER_STEM = "diffusion_pytorch_model"
TEXT_ENCODER_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
VAE_FILE = "Wan2.1_VAE.pth"
TOKENIZER_FOLDER = "google/umt5-xxl"
SPEECH_FOLDER = "wav2vec2-large-xlsr-53-english"
SPEECH_FILES = ("model.safetensors", "pytorch_model.bin")
"""The speech encoder's weights; the first is fetched, the second is what older copies have."""

LATENT_CHANNELS = 16
"""Channels of the Wan2.1 VAE's latents (wan/modules/vae2_1.py): video, reference, motion and pose alike."""
PATCH: tuple[Literal[1], Literal[2], Literal[2]] = (1, 2, 2)
"""Latent frames, rows and columns in one token (wan/modules/model.py)."""
SPEECH_STATES = 25
"""Hidden states of the 24-layer speech encoder, the input of its first layer included."""
_MOST = 1 << 16  # no size in a configuration is near it; keeps a hostile one from asking for the memory of a city

_Size = Annotated[int, Field(gt=0, le=_MOST)]


@dataclass(frozen=True)
class Checkpoint:
    """Where the parts of one checkpoint lie; every path exists.

    Attributes:
        layout: "official" (Wan-AI/Wan2.2-S2V-14B) or "diffusers" (model_index.json and a folder a part).
        folder: the checkpoint's own folder.
        transformer_config: its config.json.
        shards: safetensors files of the transformer, by name.
        index: the index of the shards; None when there is only one file and no index.
        text_encoder: a .pth file (official) or a folder (diffusers).
        tokenizer: folder.
        vae: a .pth file (official) or a folder (diffusers).
        speech_encoder: folder of the wav2vec2 model.
        speech_processor: folder of its preprocessor_config.json.
    """

    layout: Layout
    folder: Path
    transformer_config: Path
    shards: tuple[Path, ...]
    index: Path | None
    text_encoder: Path
    tokenizer: Path
    vae: Path
    speech_encoder: Path
    speech_processor: Path


def find_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, of either layout.

    Raises:
        WeightsError: there is no such folder, or files are missing in it; all of them are named.
    """
    if not folder.is_dir():
        raise WeightsError("the weights must lie in a folder", got=f"no folder {folder}", cure=_fetch_cure(folder))
    diffusers = (folder / "model_index.json").exists() or (folder / "transformer").is_dir()
    part = folder / "transformer" if diffusers else folder
    shards, index = _find_shards(part)
    found = Checkpoint(
        layout="diffusers" if diffusers else "official",
        folder=folder,
        transformer_config=part / "config.json",
        shards=shards,
        index=index,
        text_encoder=folder / ("text_encoder" if diffusers else TEXT_ENCODER_FILE),
        tokenizer=folder / ("tokenizer" if diffusers else TOKENIZER_FOLDER),
        vae=folder / ("vae" if diffusers else VAE_FILE),
        speech_encoder=folder / ("audio_encoder" if diffusers else SPEECH_FOLDER),
        speech_processor=folder / ("audio_processor" if diffusers else SPEECH_FOLDER),
    )
    needed = [found.transformer_config, *(shards or [part / f"{TRANSFORMER_STEM}.safetensors.index.json"])]
    if diffusers:
        needed += [found.text_encoder / "config.json", found.vae / "config.json"]
    else:
        needed += [found.text_encoder, found.vae]
    needed += [found.tokenizer / "tokenizer.json", found.speech_encoder / "config.json"]
    needed += [found.speech_processor / "preprocessor_config.json"]
    missing = [path.relative_to(folder).as_posix() for path in needed if not path.is_file()]
    if not any((found.speech_encoder / name).is_file() for name in SPEECH_FILES):
        missing.append(f"{found.speech_encoder.relative_to(folder).as_posix()}/{SPEECH_FILES[0]}")
    if missing:
        named = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        rule = f"{folder} must hold all files of the {found.layout} layout"
        raise WeightsError(rule, got=f"{len(missing)} missing: {named}", cure=_fetch_cure(folder))
    return found


def _fetch_cure(folder: Path) -> str:
    return f"Get them with: s2v weights fetch {folder}"


def _find_shards(part: Path) -> tuple[tuple[Path, ...], Path | None]:
    """The shards that the index names (they may be missing), or the one file; none when there is neither."""
    index, single = part / f"{TRANSFORMER_STEM}.safetensors.index.json", part / f"{TRANSFORMER_STEM}.safetensors"
    if index.is_file():
        return tuple(part / name for name in sorted(set(read_index(index).values()))), index
    return ((single,) if single.is_file() else ()), None


def read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name, as an index says it.

    Raises:
        WeightsError: no index, or file names that lead out of its folder.
    """
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{path} must map tensors to files", got="no weight_map in it", cure=_fetch_again(path))
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            rule = f"{path} may name safetensors files of its own folder only"
            raise WeightsError(rule, got=repr(name)[:80], cure=_fetch_again(path))
    return weight_map


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; its size is looked at first.

    Raises:
        WeightsError: not readable, too large, or not a JSON object.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_JSON_BYTES:
            rule = f"{path} may have at most {MAX_JSON_BYTES} bytes"
            raise WeightsError(rule, got=f"{n_bytes} bytes", cure=_fetch_again(path))
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {str(error)[:120]}"
        raise WeightsError(f"{path} must be a JSON file", got=got, cure=_fetch_again(path)) from error
    if not isinstance(content, dict):
        got = f"a {type(content).__name__}"
        raise WeightsError(f"{path} must hold a JSON object", got=got, cure=_fetch_again(path))
    return content


def _fetch_again(path: Path) -> str:
    return f"Delete {path.name} and fetch it again: s2v weights fetch FOLDER"


class TransformerConfig(BaseModel):
    """The transformer's config.json; field names are those of `WanModel_S2V` (wan/modules/s2v/model_s2v.py).

    Fields with one allowed value are switches that would make another network. Those that the official file leaves out
    have defaults; switches whose default in the official class is the other value must be there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dim: _Size
    ffn_dim: _Size
    freq_dim: _Size
    num_heads: _Size
    num_layers: Annotated[int, Field(gt=0, le=1000)]
    audio_dim: _Size
    audio_inject_layers: tuple[int, ...]
    in_dim: Literal[16]
    out_dim: Literal[16]
    cond_dim: Literal[16]
    text_dim: _Size = 4096
    text_len: _Size = 512
    num_audio_token: _Size = 4
    eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6

    enable_adain: Literal[True]
    zero_timestep: Literal[True]
    enable_framepack: Literal[True]
    framepack_drop_mode: Literal["padd"]
    enable_motioner: Literal[False]
    adain_mode: Literal["attn_norm"] = "attn_norm"
    add_last_motion: Literal[True] = True
    enable_tsm: Literal[False] = False
    trainable_token_pos_emb: Literal[False] = False
    model_type: Literal["s2v"] = "s2v"
    qk_norm: Literal[True] = True
    cross_attn_norm: Literal[True] = True
    patch_size: tuple[Literal[1], Literal[2], Literal[2]] = PATCH
    window_size: tuple[Literal[-1], Literal[-1]] = (-1, -1)
    motion_token_num: int = 1024  # only read with enable_tsm
    zero_init: bool = False  # how training began; says nothing about the trained network

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.dim % (2 * self.num_heads) or self.dim % 4:
            raise ValueError("dim must be a multiple of 4 and of twice num_heads")
        layers = self.audio_inject_layers
        if list(layers) != sorted(set(layers)) or any(not 0 <= layer < self.num_layers for layer in layers):
            raise ValueError("audio_inject_layers must rise and lie within num_layers")
        return self


def read_transformer_config(path: Path) -> TransformerConfig:
    """The configuration in a checkpoint; keys that begin with "_" are diffusers' own and not looked at.

    Raises:
        WeightsError: a key that is not known, missing, or has a value of another model.
    """
    return transformer_config({key: value for key, value in read_json(path).items() if key[:1] != "_"}, source=path)


def transformer_config(values: dict[str, Any], *, source: Path) -> TransformerConfig:
    """A configuration from plain JSON values.

    Raises:
        WeightsError: as `read_transformer_config`.
    """
    try:
        return TransformerConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        found = [(".".join(map(str, each["loc"])) or "sizes", each["msg"], each["type"]) for each in error.errors()]
        got = "; ".join(f"{name}: {what}" for name, what, _ in found[:4])
        raise WeightsError(
            f"{source} must describe the transformer of Wan2.2-S2V",
            got=f"another model ({got})",
            cure="Give the folder of Wan-AI/Wan2.2-S2V-14B; other Wan models (T2V, I2V, Animate) do not fit here.",
        ) from error


def expected_tensors(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the transformer, in the order of its modules: 1260 of them at 14B.

    Names as in the official checkpoint ("casual_audio_encoder" is really spelt so); shapes from `WanModel_S2V`.
    """
    return dict(_tensors(config))


def _tensors(config: TransformerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    dim, ffn_dim = config.dim, config.ffn_dim
    yield from _affine("patch_embedding", dim, config.in_dim, *PATCH)
    yield from _affine("text_embedding.0", dim, config.text_dim)
    yield from _affine("text_embedding.2", dim, dim)
    yield from _affine("time_embedding.0", dim, config.freq_dim)
    yield from _affine("time_embedding.2", dim, dim)
    yield from _affine("time_projection.1", 6 * dim, dim)
    for block in range(config.num_layers):
        yield f"blocks.{block}.modulation", (1, 6, dim)
        yield from _attention(f"blocks.{block}.self_attn", dim)
        yield from _attention(f"blocks.{block}.cross_attn", dim)
        yield from _affine(f"blocks.{block}.norm3", dim)
        yield from _affine(f"blocks.{block}.ffn.0", ffn_dim, dim)
        yield from _affine(f"blocks.{block}.ffn.2", dim, ffn_dim)
    yield "head.modulation", (1, 2, dim)
    yield from _affine("head.head", config.out_dim * PATCH[0] * PATCH[1] * PATCH[2], dim)

    yield from _affine("cond_encoder", dim, config.cond_dim, *PATCH)
    yield "trainable_cond_mask.weight", (3, dim)  # video, reference, motion
    # near, mid and far history, each part packed twice as tightly as the one before
    yield from _affine("frame_packer.proj", dim, LATENT_CHANNELS, 1, 2, 2)
    yield from _affine("frame_packer.proj_2x", dim, LATENT_CHANNELS, 2, 4, 4)
    yield from _affine("frame_packer.proj_4x", dim, LATENT_CHANNELS, 4, 8, 8)

    audio, taps = "casual_audio_encoder", 3
    yield f"{audio}.weights", (1, SPEECH_STATES, 1, 1)
    yield f"{audio}.encoder.padding_tokens", (1, 1, 1, dim)
    yield from _affine(f"{audio}.encoder.conv1_local.conv", dim // 4 * config.num_audio_token, config.audio_dim, taps)
    yield from _affine(f"{audio}.encoder.conv1_global.conv", dim // 4, config.audio_dim, taps)
    yield from _affine(f"{audio}.encoder.conv2.conv", dim // 2, dim // 4, taps)
    yield from _affine(f"{audio}.encoder.conv3.conv", dim, dim // 2, taps)
    yield from _affine(f"{audio}.encoder.final_linear", dim, dim)
    for number in range(len(config.audio_inject_layers)):
        yield from _attention(f"audio_injector.injector.{number}", dim)
        yield from _affine(f"audio_injector.injector_adain_layers.{number}.linear", 2 * dim, dim)


def _affine(name: str, n_out: int, *rest: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (n_out, *rest)
    yield f"{name}.bias", (n_out,)


def _attention(name: str, dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("q", "k", "v", "o"):
        yield from _affine(f"{name}.{part}", dim, dim)
    for part in ("norm_q", "norm_k"):
        yield f"{name}.{part}.weight", (dim,)
