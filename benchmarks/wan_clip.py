"""Seconds and memory of one whole clip of 80 frames and of the VAE alone, 14B sizes, random weights, one GPU.

    python -m benchmarks.wan_clip [--size 832x480] [--parts vae,few,few-fp8,full,presets] [--json FILE]

`vae` times decoding and encoding; `few` a clip of 4 steps without guidance, `few-fp8` the same in 8 bits; `full` a clip
of 40 steps with guidance; `presets` the peak memory of one step and the VAE at each preset's size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from benchmarks.wan_speed import LATENT_FRAMES, random_inputs, random_transformer, timed
from s2v_pipeline.generation.wan_s2v.clips_of_video import MOTION_FRAMES, VideoTerms
from s2v_pipeline.generation.wan_s2v.pipeline import WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.precision import quantise_transformer
from s2v_pipeline.generation.wan_s2v.sampling import Sampling
from s2v_pipeline.generation.wan_s2v.transformer import MOTION_LATENTS, WanS2VTransformer3DModel
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae

FRAMES = 4 * LATENT_FRAMES
PRESET_SIZES = {"low, medium": "832x448", "high": "832x480", "ultra": "1024x704"}
GIB = 2**30


@dataclass
class Table:
    """Lines as they come, printed at once."""

    lines: list[dict[str, object]]

    def add(self, **values: object) -> None:
        """One line."""
        self.lines.append(values)
        sys.stdout.write("  ".join(f"{name}={_short(value)}" for name, value in values.items()) + "\n")
        sys.stdout.flush()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def random_vae(device: torch.device, dtype: torch.dtype, *, fused: bool) -> WanVae:
    """The full-size VAE with torch's own initial values."""
    torch.manual_seed(0)
    vae = WanVae(AutoencoderKLWan().to(device=device, dtype=dtype))
    vae.prepare(channels_last=dtype is torch.bfloat16, compile_norms=fused)
    return vae


def measured(call: Callable[[], object], *, n_timed: int = 3) -> tuple[float, float, float]:
    """Median seconds, seconds of the first call, peak GiB."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    started_at = time.perf_counter()
    call()
    torch.cuda.synchronize()
    first_s = time.perf_counter() - started_at
    return statistics.median(timed(call, n_warm=0, n_timed=n_timed)), first_s, torch.cuda.max_memory_allocated() / GIB


def time_vae(table: Table, width_px: int, height_px: int, device: torch.device) -> None:
    """Decode and encode, official float32 and ours."""
    height, width = height_px // 8, width_px // 8
    motion = torch.randn(16, MOTION_LATENTS, height, width, device=device)
    latents = torch.randn(16, LATENT_FRAMES, height, width, device=device)
    pixels = torch.rand(3, MOTION_FRAMES, height_px, width_px, device=device) * 2 - 1
    both = torch.cat((motion, latents), dim=1)
    exact = random_vae(device, torch.float32, fused=False)
    reference = exact.decode(both)[:, -FRAMES:]
    for name, vae, blocks in (
        ("float32", exact, 2),
        ("bf16", random_vae(device, torch.bfloat16, fused=False), 2),
        *((f"bf16 fused, {n} latents a block", random_vae(device, torch.bfloat16, fused=True), n) for n in (1, 2, 4)),
    ):
        n_timed = 1 if vae is exact else 3
        calls = {
            "decode 39": lambda vae=vae, blocks=blocks: vae.decode(both, block_latents=blocks),
            "decode 19+20, new alone": lambda vae=vae, blocks=blocks: vae.decode_tail(
                motion, latents, block_latents=blocks
            ),
            "encode 73 frames": lambda vae=vae, blocks=blocks: vae.encode(pixels, block_latents=blocks),
        }
        for what, call in calls.items():
            if name == "bf16" and what == "decode 39":
                continue
            seconds, first_s, peak = measured(call, n_timed=n_timed)
            table.add(part="vae", variant=name, what=what, seconds=seconds, first_s=first_s, peak_gib=peak)
        error = vae.decode_tail(motion, latents, block_latents=blocks) - reference
        table.add(
            part="vae", variant=name, what="rms error of frames (-1..1)", value=float(error.square().mean().sqrt())
        )
    tiling = Tiling()
    tiled = random_vae(device, torch.bfloat16, fused=True)
    seconds, _, peak = measured(lambda: tiled.decode_tail(motion, latents, tiling=tiling), n_timed=1)
    table.add(part="vae", variant="bf16 fused, tiled", what="decode 19+20, new alone", seconds=seconds, peak_gib=peak)
    seconds, _, peak = measured(lambda: tiled.encode(pixels, tiling=tiling), n_timed=1)
    table.add(part="vae", variant="bf16 fused, tiled", what="encode 73 frames", seconds=seconds, peak_gib=peak)


def time_clip(
    table: Table, model: WanS2VTransformer3DModel, vae: WanVae, size: str, sampling: Sampling, name: str, *, n_warm: int
) -> None:
    """One clip that continues another: terms, steps, decode, and the next clip's motion latents."""
    width_px, height_px = map(int, size.split("x"))
    device = model.patch_embedding.weight.device
    inputs = random_inputs(width_px, height_px, device)
    pipeline = WanSpeechToVideoPipeline(model, vae)
    negative = model.encode_text(inputs.text.flip(0)) if sampling.is_guided else None
    video = VideoTerms(inputs.reference, model.encode_text(inputs.text), negative)

    def make(sampling: Sampling) -> tuple[float, float, float, Tensor]:
        torch.cuda.synchronize()
        started_at = time.perf_counter()
        latents = pipeline.sample(video, inputs.features, inputs.latents, motion=inputs.motion, sampling=sampling)
        torch.cuda.synchronize()
        sampled_at = time.perf_counter()
        pixels = vae.decode_tail(inputs.motion, latents)
        torch.cuda.synchronize()
        decoded_at = time.perf_counter()
        vae.encode(pixels[:, -MOTION_FRAMES:])
        torch.cuda.synchronize()
        return sampled_at - started_at, decoded_at - sampled_at, time.perf_counter() - decoded_at, pixels

    for _ in range(n_warm):
        make(replace(sampling, steps=1))
    torch.cuda.reset_peak_memory_stats()
    sample_s, decode_s, encode_s, _ = make(sampling)
    total_s = sample_s + decode_s + encode_s
    table.add(
        part="clip",
        variant=name,
        size=size,
        steps=sampling.steps,
        guidance=sampling.guidance,
        sample_s=sample_s,
        decode_s=decode_s,
        encode_s=encode_s,
        total_s=total_s,
        frames_per_s=FRAMES / total_s,
        times_real_time=total_s / (FRAMES / 16),
        peak_gib=torch.cuda.max_memory_allocated() / GIB,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--parts", default="vae,few,full,presets,few-fp8")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, table, parts = torch.device("cuda"), Table([]), arguments.parts.split(",")
    table.add(device=torch.cuda.get_device_name(), torch=torch.__version__)
    width_px, height_px = map(int, arguments.size.split("x"))
    with torch.no_grad():
        if "vae" in parts:
            time_vae(table, width_px, height_px, device)
        model, vae = random_transformer(device), random_vae(device, torch.bfloat16, fused=True)
        model.compile_regions()
        few = Sampling(steps=4, solver="euler", guidance=1.0)
        if "few" in parts:
            time_clip(table, model, vae, arguments.size, few, "bf16", n_warm=1)
        if "presets" in parts:
            for preset, size in PRESET_SIZES.items():
                time_clip(table, model, vae, size, Sampling(steps=1), f"one guided step at {preset}", n_warm=0)
        if "full" in parts:
            time_clip(table, model, vae, arguments.size, Sampling(), "bf16", n_warm=1)
        if "few-fp8" in parts:
            quantise_transformer(model)
            torch.cuda.empty_cache()
            time_clip(table, model, vae, arguments.size, few, "fp8", n_warm=1)
    if arguments.json:
        arguments.json.write_text(json.dumps(table.lines, indent=1))


if __name__ == "__main__":
    main()
