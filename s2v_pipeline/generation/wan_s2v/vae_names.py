"""The Wan2.1 VAE's tensors: their official names, and the sizes that their shapes tell.

Belongs here: official name <-> diffusers' name, the model's sizes from a state dict.
Does not belong here: reading files (shards), the model at work (vae).

Official names: those of `Wan2.1_VAE.pth` (Wan-Video/Wan2.2 wan/modules/vae2_1.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.state_names import check_names

LATENT_CHANNELS = 16
"""z_dim; the constants that normalise latents are for this many channels (wan/modules/vae2_1.py)."""
CHANNEL_STEPS = (1, 2, 4, 4)
"""Channels of each level as multiples of the first (dim_mult)."""
TEMPORAL_DOWNSAMPLE = (False, True, True)
"""Which of the three downsamplings also halves the frames (temperal_downsample)."""
VAE_CURE = "Give Wan2.1_VAE.pth of Wan-AI/Wan2.2-S2V-14B (or the vae folder of its Diffusers layout), fetched whole."
_WHAT = "the Wan2.1 VAE"

_FIXED = {
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
    "conv_in": "conv1",
    "norm_out": "head.0",
    "conv_out": "head.2",
    "mid_block.resnets.0": "middle.0",
    "mid_block.attentions.0": "middle.1",
    "mid_block.resnets.1": "middle.2",
}
_IN_RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
_PLACE = re.compile(
    r"(?:(?P<side>encoder|decoder)\.)?"
    r"(?P<fixed>quant_conv|post_quant_conv|conv_in|norm_out|conv_out|mid_block\.(?:resnets|attentions)\.\d)?"
    r"(?:down_blocks\.(?P<down>\d+))?"
    r"(?:up_blocks\.(?P<level>\d+)\.(?P<kind>resnets|upsamplers)\.(?P<number>\d+))?"
    r"\.(?P<rest>.+)"
)


@dataclass(frozen=True)
class VaeSizes:
    """What distinguishes two VAEs of this kind; official: 96, 96, 2.

    Attributes:
        encoder_dim: channels of the encoder's first level.
        decoder_dim: channels of the decoder's last level.
        residual_blocks: of each encoder level; a decoder level has one more.
    """

    encoder_dim: int
    decoder_dim: int
    residual_blocks: int


def official_name(name: str, sizes: VaeSizes) -> str:
    """diffusers' name of a tensor -> its official name."""
    match = _PLACE.fullmatch(name)
    if match is None:
        raise ValueError(f"no tensor of AutoencoderKLWan: {name}")
    place, rest = match["fixed"], match["rest"]
    if match["down"]:
        official = f"downsamples.{match['down']}"
    elif match["level"]:
        per_level = sizes.residual_blocks + 2  # one residual block more than the encoder, and the upsampling
        within = int(match["number"]) if match["kind"] == "resnets" else per_level - 1
        official = f"upsamples.{int(match['level']) * per_level + within}"
    else:
        official = _FIXED[place]
    layer, _, parameter = rest.rpartition(".")
    parts = (match["side"], official, _IN_RESIDUAL.get(layer, layer), parameter)
    return ".".join(part for part in parts if part)


def vae_skeleton(sizes: VaeSizes) -> AutoencoderKLWan:
    """The model without memory for its weights (on the meta device)."""
    with torch.device("meta"):
        return AutoencoderKLWan(
            base_dim=sizes.encoder_dim,
            decoder_base_dim=sizes.decoder_dim,
            z_dim=LATENT_CHANNELS,
            dim_mult=list(CHANNEL_STEPS),
            num_res_blocks=sizes.residual_blocks,
            temperal_downsample=list(TEMPORAL_DOWNSAMPLE),
        )


def official_sizes(state: Mapping[str, torch.Tensor]) -> VaeSizes:
    """The sizes that a state dict with official names tells.

    Raises:
        WeightsError: it is not that of a Wan2.1 VAE.
    """
    return _sizes(state, "encoder.conv1.weight", "decoder.head.0.gamma", r"encoder\.downsamples\.(\d+)\.")


def diffusers_sizes(state: Mapping[str, torch.Tensor]) -> VaeSizes:
    """The same with diffusers' names.

    Raises:
        WeightsError: as `official_sizes`.
    """
    return _sizes(state, "encoder.conv_in.weight", "decoder.norm_out.gamma", r"encoder\.down_blocks\.(\d+)\.")


def _sizes(state: Mapping[str, torch.Tensor], first: str, last: str, down: str) -> VaeSizes:
    rule = f"{_WHAT} must have tensors of known names and shapes"
    for name in (first, last):
        if name not in state or state[name].dim() == 0:
            fault = "is missing" if name not in state else "is a single number"
            raise WeightsError(rule, got=f"a state dict of {len(state)} tensors in which {name} {fault}", cure=VAE_CURE)
    numbers = {int(match[1]) for name in state if (match := re.match(down, name)) and len(match[1]) < 4}
    downsamplings = len(CHANNEL_STEPS) - 1
    blocks, odd = divmod(len(numbers) - downsamplings, len(CHANNEL_STEPS))
    dims = state[first].shape[0], state[last].shape[0]
    # Two levels' channels are halves of those of the next.
    if odd or blocks < 1 or any(dim < 1 or dim % 2 for dim in dims):
        got = f"{len(numbers)} encoder layers, {dims[0]} and {dims[1]} channels"
        raise WeightsError(rule, got=got, cure=VAE_CURE)
    return VaeSizes(*dims, blocks)


def official_vae_to_diffusers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under diffusers' names; every one is accounted for.

    Raises:
        WeightsError: tensors are missing, unknown or of another shape.
    """
    sizes = official_sizes(state)
    shapes = {name: tuple(tensor.shape) for name, tensor in vae_skeleton(sizes).state_dict().items()}
    official = {name: official_name(name, sizes) for name in shapes}
    check_names(state, {official[name]: shape for name, shape in shapes.items()}, what=_WHAT, cure=VAE_CURE)
    return {name: state[official[name]] for name in shapes}


def check_diffusers_names(state: Mapping[str, torch.Tensor]) -> VaeSizes:
    """Every tensor of a state dict with diffusers' names is accounted for.

    Raises:
        WeightsError: as `official_vae_to_diffusers`.
    """
    sizes = diffusers_sizes(state)
    shapes = {name: tuple(tensor.shape) for name, tensor in vae_skeleton(sizes).state_dict().items()}
    check_names(state, shapes, what=_WHAT, cure=VAE_CURE)
    return sizes
