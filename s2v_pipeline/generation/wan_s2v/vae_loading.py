"""The Wan2.1 VAE from a checkpoint, in the official or the Diffusers layout.

Belongs here: making it from tensors or a folder, refusing another VAE.
Does not belong here: what it computes (vae), names and sizes of tensors (vae_names).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import read_json
from s2v_pipeline.generation.wan_s2v.shards import DTYPES, read_header, stream_tensors
from s2v_pipeline.generation.wan_s2v.vae import WanVae
from s2v_pipeline.generation.wan_s2v.vae_names import (
    CHANNEL_STEPS,
    LATENT_CHANNELS,
    TEMPORAL_DOWNSAMPLE,
    VAE_CURE,
    check_diffusers_names,
    diffusers_sizes,
    official_vae_to_diffusers,
    vae_skeleton,
)


def build_vae(state: Mapping[str, torch.Tensor], *, dtype: torch.dtype, device: torch.device) -> WanVae:
    """The VAE from a state dict with the official names, its sizes taken from the shapes.

    Raises:
        WeightsError: see `official_vae_to_diffusers`.
    """
    return _build(official_vae_to_diffusers(state), dtype=dtype, device=device)


def load_diffusers_vae(folder: Path, *, dtype: torch.dtype, device: torch.device) -> WanVae:
    """The VAE from config.json and diffusion_pytorch_model.safetensors.

    Raises:
        WeightsError: a file is missing or damaged, or it is another VAE.
    """
    header = read_header(folder / "diffusion_pytorch_model.safetensors")
    for stored in header:
        if stored.dtype not in DTYPES:
            rule = f"{stored.name[:120]} in {stored.path} must be stored as {', '.join(DTYPES)}"
            raise WeightsError(rule, got=stored.dtype, cure=VAE_CURE)
    state = {stored.name: tensor for stored, tensor in stream_tensors(header)}
    sizes = check_diffusers_names(state)
    model_config = dict(vae_skeleton(sizes).config)
    # What the file may leave out has diffusers' default; what is in it must say what the weights say.
    expected = {
        "base_dim": (sizes.encoder_dim,),
        "decoder_base_dim": (sizes.decoder_dim, None),
        "num_res_blocks": (sizes.residual_blocks,),
        "z_dim": (LATENT_CHANNELS,),
        "dim_mult": (list(CHANNEL_STEPS),),
        "temperal_downsample": (list(TEMPORAL_DOWNSAMPLE),),
        "attn_scales": ([],),
        "latents_mean": (model_config["latents_mean"],),
        "latents_std": (model_config["latents_std"],),
        "is_residual": (False,),
        "patch_size": (None,),
    }
    config = read_json(folder / "config.json")
    for name, allowed in expected.items():
        if name in config and config[name] not in allowed:
            rule = f"{name} in {folder / 'config.json'} must be {allowed[0]}, as in the Wan2.1 VAE"
            raise WeightsError(rule, got=str(config[name])[:120], cure=VAE_CURE)
    return _build(state, dtype=dtype, device=device)


def _build(state: Mapping[str, torch.Tensor], *, dtype: torch.dtype, device: torch.device) -> WanVae:
    model = vae_skeleton(diffusers_sizes(state))
    # The caller's tensors may be a map of a file or used elsewhere: the model gets its own.
    own = {name: tensor.to(device=device, dtype=dtype, copy=True) for name, tensor in state.items()}
    model.load_state_dict(own, strict=True, assign=True)
    return WanVae(model)
