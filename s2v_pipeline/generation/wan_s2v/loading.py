"""From a checkpoint folder to models on their devices.

Belongs here: the order of loading, merging, quantising, streaming and compiling; the pipeline from a folder.
Does not belong here: reading files (shards), what fits (memory), the models.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from s2v_pipeline.errors import SettingsError, WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import Checkpoint, TransformerConfig, find_checkpoint
from s2v_pipeline.generation.wan_s2v.checkpoint import read_transformer_config as read_config
from s2v_pipeline.generation.wan_s2v.lora import load_lora, merge_loras
from s2v_pipeline.generation.wan_s2v.memory import Offload
from s2v_pipeline.generation.wan_s2v.pipeline import WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.precision import check_fp8, quantise_transformer
from s2v_pipeline.generation.wan_s2v.shards import load_pickle, load_transformer_state
from s2v_pipeline.generation.wan_s2v.speech_encoder import load_speech_encoder
from s2v_pipeline.generation.wan_s2v.text_encoder import (
    WanTextEncoder,
    build_text_encoder,
    load_diffusers_text_encoder,
)
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel, keeps_float32
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae
from s2v_pipeline.generation.wan_s2v.vae_loading import build_vae, load_diffusers_vae
from s2v_pipeline.setting_groups import WanSettings

_log = logging.getLogger(__name__)

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
OnBytes = Callable[[int, int], None]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as the settings name it.

    Attributes:
        path: safetensors file.
        strength: it is multiplied by.
    """

    path: Path
    strength: float


def parse_loras(texts: tuple[str, ...]) -> tuple[LoraFile, ...]:
    """LoRAs from `path` or `path@strength`.

    Raises:
        SettingsError: a strength that is no finite number.
    """
    files = []
    for text in texts:
        path, at, strength = text.rpartition("@")
        try:
            files.append(LoraFile(Path(path if at else text), float(strength) if at else 1.0))
        except ValueError as error:
            raise SettingsError(
                "wan.loras must be paths, each with @strength behind it or not",
                got=repr(text),
                cure="Write it as lora.safetensors@0.8.",
            ) from error
        if not math.isfinite(files[-1].strength):
            raise SettingsError("a LoRA's strength must be finite", got=repr(text), cure="Write it as path@0.8.")
    return tuple(files)


def choose_device(name: str) -> torch.device:
    """The device of `wan.device`; "auto" takes CUDA where there is one.

    Raises:
        SettingsError: CUDA is asked for and not there, or the CPU would be taken for want of CUDA: a chunk of the 14B
            model would take hours there, so it has to be asked for.
    """
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    raise SettingsError(
        "the generator wan_s2v needs a CUDA device",
        got="none that torch sees",
        cure="Run it where a GPU is (`s2v doctor` says what is seen), choose generation.generator = 'portrait', or set "
        "wan.device = 'cpu' for a tiny model.",
    )


def load_transformer(
    checkpoint: Checkpoint,
    config: TransformerConfig,
    settings: WanSettings,
    device: torch.device,
    *,
    offload: Offload = "none",
    on_bytes: OnBytes | None = None,
) -> WanS2VTransformer3DModel:
    """The transformer with its LoRAs, in its precision, on its device, its pieces compiled as the settings say.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
        SettingsError: the device cannot do what the settings ask for.
    """
    # 1. what can be refused before minutes of reading
    started_at = time.monotonic()
    if settings.fp8:
        check_fp8(device)
    rests_on_host = offload == "layers"
    if rests_on_host and device.type != "cuda":
        raise SettingsError(
            "wan.offload = 'layers' needs a CUDA device", got=device.type, cure="Set wan.offload = 'none'."
        )
    loras = [(load_lora(file.path, config), file.strength) for file in parse_loras(settings.loras)]
    # 2. an empty model
    with torch.device("meta"):
        model = empty_transformer(config)
    # 3. weights, straight to where they are used
    state = dict(
        load_transformer_state(
            checkpoint,
            config,
            dtype=DTYPES[settings.precision],
            device=torch.device("cpu") if rests_on_host else device,
            keep_float32=keeps_float32,
            on_progress=on_bytes,
        )
    )
    model.load_state_dict(state, strict=True, assign=True)
    del state
    model.eval().requires_grad_(False)
    # 4. LoRAs, then quantisation: a sum with 8-bit weights would be rounded twice
    report = merge_loras(model, loras)
    n_quantised = quantise_transformer(model) if settings.fp8 else 0
    # 5. speed
    model.attention_name = settings.attention
    if rests_on_host:
        model.stream_layers(device)
    if settings.compile and device.type == "cuda":
        model.compile_regions()
    _log.info(
        "transformer ready after %.1f s on %s: %d parameters changed by LoRAs, %d layers in 8 bits, offload %s",
        time.monotonic() - started_at,
        device,
        report.n_parameters,
        n_quantised,
        offload,
    )
    return model


def empty_transformer(config: TransformerConfig) -> WanS2VTransformer3DModel:
    """A transformer of a configuration, with the values that torch gives it."""
    return WanS2VTransformer3DModel(
        dim=config.dim,
        ffn_dim=config.ffn_dim,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        eps=config.eps,
        freq_dim=config.freq_dim,
        text_dim=config.text_dim,
        text_len=config.text_len,
        in_dim=config.in_dim,
        out_dim=config.out_dim,
        cond_dim=config.cond_dim,
        audio_dim=config.audio_dim,
        num_audio_token=config.num_audio_token,
        audio_inject_layers=config.audio_inject_layers,
    )


def load_vae(checkpoint: Checkpoint, settings: WanSettings, device: torch.device) -> WanVae:
    """The VAE of either layout; on CUDA with the channels innermost and, where compiling is on, fused norms.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    dtype = DTYPES[settings.precision]
    if checkpoint.layout == "official":
        vae = build_vae(load_pickle(checkpoint.vae), dtype=dtype, device=device)
    else:
        vae = load_diffusers_vae(checkpoint.vae, dtype=dtype, device=device)
    if device.type == "cuda":
        vae.prepare(channels_last=True, compile_norms=settings.compile)
    return vae


def load_text_encoder(checkpoint: Checkpoint, settings: WanSettings, device: torch.device) -> WanTextEncoder:
    """The text encoder of either layout.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    dtype = DTYPES[settings.precision]
    if checkpoint.layout == "official":
        return build_text_encoder(
            load_pickle(checkpoint.text_encoder), checkpoint.tokenizer, dtype=dtype, device=device
        )
    return load_diffusers_text_encoder(checkpoint.text_encoder, checkpoint.tokenizer, dtype=dtype, device=device)


def weights_folder(settings: WanSettings) -> Path:
    """The folder that the settings name.

    Raises:
        WeightsError: none is named.
    """
    if settings.weights is None:
        raise WeightsError(
            "the generator wan_s2v needs the weights of Wan2.2-S2V-14B (about 49 GB)",
            got="no wan.weights in the settings",
            cure="Fetch them once with `s2v weights fetch data/weights/Wan2.2-S2V-14B`, then set "
            "wan.weights = 'data/weights/Wan2.2-S2V-14B' in s2v.toml.",
        )
    return settings.weights


def load_pipeline(
    folder: Path, *, settings: WanSettings | None = None, offload: Offload = "none", tiling: Tiling | None = None
) -> WanSpeechToVideoPipeline:
    """The whole pipeline from a checkpoint folder of either layout, for use in Python.

    Args:
        settings: precision, LoRAs, device and the like; None takes the defaults.
        offload: what waits in host memory.
        tiling: of the VAE.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
        SettingsError: the device cannot do what the settings ask for.
    """
    settings = settings or WanSettings()
    checkpoint = find_checkpoint(folder)
    device = choose_device(settings.device)
    config = read_config(checkpoint.transformer_config)
    host = torch.device("cpu")
    return WanSpeechToVideoPipeline(
        load_transformer(checkpoint, config, settings, device, offload=offload),
        load_vae(checkpoint, settings, device),
        load_text_encoder(checkpoint, settings, device if offload == "none" else host),
        load_speech_encoder(checkpoint.speech_encoder, device=device),
        tiling=tiling,
    )
