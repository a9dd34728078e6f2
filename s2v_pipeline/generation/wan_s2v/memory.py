"""What a video needs of a GPU's memory, before anything is loaded.

Belongs here: the estimate, choosing what waits in host memory by it or by what was measured, refusing what cannot fit.
Does not belong here: moving anything (loading, layer_streaming), measuring (device_memory, noted_needs).

Weights are counted from the configuration. What a forward and the VAE need besides was measured on one H100 with the
14B configuration (docs/benchmarks.md) and grows with tokens and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.gpu_needs import GIB, NotedNeed
from s2v_pipeline.generation.wan_s2v.checkpoint import TransformerConfig, expected_tensors
from s2v_pipeline.generation.wan_s2v.layer_streaming import N_SLOTS
from s2v_pipeline.generation.wan_s2v.precision import runs_every_step
from s2v_pipeline.generation.wan_s2v.transformer import keeps_float32

Offload = Literal["none", "text_encoder", "layers"]

# Bytes of activations for each token and channel, measured: compiled pieces keep fewer intermediate results.
_COMPILED_BYTES, _EAGER_BYTES = 30, 49
_SPEECH_ENCODER_BYTES = 1.4 * GIB  # wav2vec2-large in float32 and its activations for 21 s
_VAE_BYTES_PER_PX = {"whole": 14_600, "tiled": 4_300}  # of one frame's pixels; bfloat16, its weights included
_RESERVE_BYTES = 1.5 * GIB  # CUDA context, cuDNN's and cuBLAS's workspaces, what the allocator cannot hand out


@dataclass(frozen=True)
class Demand:
    """What is asked of a device.

    Attributes:
        config: of the transformer.
        width_px, height_px, latent_frames: of a whole clip.
        fp8, float32: of the weights; bfloat16 otherwise.
        is_compiled: whether the transformer's pieces are compiled.
        is_guided: whether a second set of text terms is kept.
        text_encoder_bytes: of its weights, in the type that they run in.
    """

    config: TransformerConfig
    width_px: int
    height_px: int
    latent_frames: int
    fp8: bool
    float32: bool
    is_compiled: bool
    is_guided: bool
    text_encoder_bytes: int

    @property
    def n_tokens(self) -> int:
        """Tokens of a clip that continues another."""
        rows, columns = self.height_px // 16, self.width_px // 16
        video_and_reference = (self.latent_frames + 1) * rows * columns
        return video_and_reference + rows * columns + (rows // 2) * (columns // 2) + 4 * (rows // 4) * (columns // 4)


@dataclass(frozen=True)
class MemoryPlan:
    """How a demand is met.

    Attributes:
        offload: what waits in host memory.
        is_tiled: whether the VAE works in tiles.
        n_bytes: the expected peak on the device: measured where it was, else estimated.
        available_bytes: of the device.
        needs_bytes: (way, expected peak) of all ways.
        estimated_bytes: of this way.
        measured_bytes: of this way; None where no chunk was made so.
        held_bytes: of the measured ones by the process' allocator.
    """

    offload: Offload
    is_tiled: bool
    n_bytes: int
    available_bytes: int
    needs_bytes: tuple[tuple[str, int], ...]
    estimated_bytes: int = 0
    measured_bytes: int | None = None
    held_bytes: int = 0

    @property
    def way(self) -> str:
        """How it is met, in words."""
        return way_name(self.offload, is_tiled=self.is_tiled)


def way_name(offload: Offload, *, is_tiled: bool) -> str:
    """A way to load, in words."""
    return f"{offload}{', tiled VAE' if is_tiled else ''}"


_NOTHING: Mapping[str, NotedNeed] = MappingProxyType({})


def plan_memory(
    demand: Demand,
    available_bytes: int,
    *,
    offload: Literal["auto", "none", "text_encoder", "layers"] = "auto",
    tiling: Literal["auto", "on", "off"] = "auto",
    noted: Mapping[str, NotedNeed] = _NOTHING,
) -> MemoryPlan:
    """The fastest way that fits, or the one that is asked for if it fits.

    Tiles change pixels, which must not depend on what was measured between two chunks of a video: the estimate alone
    chooses them, or memory that ran out without. What is measured chooses what waits in host memory.

    Args:
        demand: what is asked for.
        available_bytes: of the device.
        offload, tiling: what the settings allow.
        noted: by `way_name`, what ways need that were tried before.

    Raises:
        WeightsError: nothing that the settings allow fits; the message says what would.
    """
    offloads: tuple[Offload, ...] = ("none", "text_encoder", "layers") if offload == "auto" else (offload,)
    tilings = {"auto": (False, True), "on": (True,), "off": (False,)}[tiling]
    # Tiles change pixels; what only takes longer comes before them.
    ways: tuple[tuple[Offload, bool], ...] = tuple((each, is_tiled) for is_tiled in tilings for each in offloads)
    estimates = {way: estimate_bytes(demand, offload=way[0], is_tiled=way[1]) for way in ways}
    known = {way: noted.get(way_name(way[0], is_tiled=way[1]), NotedNeed(0, 0, 0)) for way in ways}
    needs = {way: known[way].n_bytes or estimates[way] for way in ways}
    named = tuple((way_name(each, is_tiled=is_tiled), needs[each, is_tiled]) for each, is_tiled in ways)
    fitting = [way for way in ways if needs[way] <= available_bytes]
    chosen = None
    for is_tiled in tilings:
        ran_out = {way for way in ways if known[way].short_bytes > available_bytes}
        expected = [
            way for way in ways if way[1] == is_tiled and estimates[way] <= available_bytes and way not in ran_out
        ]
        if chosen is None and expected:
            # Where allocators elsewhere held more than there is here, what is estimated to fit is tried.
            chosen = next((way for way in fitting if way[1] == is_tiled), expected[-1])
    chosen = chosen or next(iter(fitting), None)
    if chosen is not None:
        need = known[chosen]
        return MemoryPlan(
            *chosen,
            needs[chosen],
            available_bytes,
            named,
            estimated_bytes=estimates[chosen],
            measured_bytes=need.n_bytes or None,
            held_bytes=need.held_bytes,
        )
    smallest = noted.get(way_name("layers", is_tiled=True), NotedNeed(0, 0, 0)).n_bytes
    least = min(smallest or estimate_bytes(demand, offload="layers", is_tiled=True), *needs.values())
    if least <= available_bytes:
        cure = "Set wan.offload = 'auto' and wan.vae_tiling = 'auto'."
    else:
        cure = "Choose a smaller generation.quality or video size, set wan.fp8 = true, or use a larger GPU."
    raise WeightsError(
        f"{demand.width_px}x{demand.height_px} must fit into the GPU's memory",
        got=f"{available_bytes / GIB:.1f} GiB available for "
        + " or ".join(f"{n / GIB:.1f} ({way})" for way, n in named),
        cure=cure,
    )


def estimate_bytes(demand: Demand, *, offload: Offload, is_tiled: bool) -> int:
    """Estimated peak on the device."""
    resident, layers = transformer_bytes(demand)
    weights = resident + sum(layers)
    if offload == "layers":
        weights = resident + N_SLOTS * max(layers)
    config = demand.config
    dtype_bytes = 4 if demand.float32 else 2
    text_terms = (2 if demand.is_guided else 1) * 2 * config.num_layers * config.text_len * config.dim * dtype_bytes
    per_channel = _COMPILED_BYTES if demand.is_compiled else _EAGER_BYTES
    forward = demand.n_tokens * config.dim * per_channel * (2 if demand.float32 else 1) + text_terms
    vae = demand.width_px * demand.height_px * _VAE_BYTES_PER_PX["tiled" if is_tiled else "whole"]
    vae *= 2 if demand.float32 else 1
    # The transformer and the VAE are never at work at once.
    peak = weights + max(forward, vae + text_terms) + _RESERVE_BYTES
    if offload == "none":
        peak += demand.text_encoder_bytes
    if offload != "layers":
        peak += _SPEECH_ENCODER_BYTES
    return int(peak)


def transformer_bytes(demand: Demand) -> tuple[int, list[int]]:
    """Bytes of the transformer's weights: what always stays on the device, and each layer that may be streamed."""
    injected = {block: index for index, block in enumerate(demand.config.audio_inject_layers)}
    layers = [0] * demand.config.num_layers
    resident = 0
    for name, shape in expected_tensors(demand.config).items():
        n_values = 1
        for side in shape:
            n_values *= side
        n_bytes = n_values * _bytes_per_value(name, demand)
        parts = name.split(".")
        if parts[0] == "blocks":
            layers[int(parts[1])] += n_bytes
        elif parts[:2] == ["audio_injector", "injector"]:
            layers[next(block for block, index in injected.items() if index == int(parts[2]))] += n_bytes
        else:
            resident += n_bytes
    return resident, layers


def _bytes_per_value(name: str, demand: Demand) -> int:
    if demand.float32 or keeps_float32(name):
        return 4
    is_quantised = demand.fp8 and name.endswith(".weight") and runs_every_step(name.removesuffix(".weight"))
    return 1 if is_quantised else 2
