"""Seconds of one forward of the 14B transformer with random weights on one GPU.

    python -m benchmarks.wan_speed [--sizes 832x448,832x480,1024x704] [--variants anew,eager,compiled,fp8] [--json FILE]

`anew` is the eager, unfused formulation: everything that is constant over a clip is made again at each step, as the
official code does. `eager` makes it once; `compiled` also compiles the pieces between attentions; `fp8` also quantises
the large products. Speed does not depend on the weights' values; the error is against float32 arithmetic on the same
weights, and says nothing about pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from s2v_pipeline.generation.wan_s2v.precision import quantise_transformer
from s2v_pipeline.generation.wan_s2v.transformer import MOTION_LATENTS, WanS2VTransformer3DModel, keeps_float32

N_TIMED = 3
LATENT_FRAMES = 20
MATMUL_SIZE = 8192
ERROR_SIZE = "448x256"  # the float32 forward runs at a fiftieth of the speed, so it is made at a small size


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    size: str
    variant: str
    tokens: int
    seconds: float
    slowest_s: float
    first_call_s: float
    tflop: float
    mfu: float
    peak_gib: float
    error: float


@dataclass(frozen=True)
class Inputs:
    """What a clip starts from, at one size."""

    latents: Tensor
    reference: Tensor
    motion: Tensor
    text: Tensor
    features: Tensor


def random_transformer(device: torch.device) -> WanS2VTransformer3DModel:
    """The 14B model with weights N(0, 0.02), norms near 1, in bfloat16 with its float32 parts."""
    with torch.device("meta"):
        model = WanS2VTransformer3DModel()
    generator = torch.Generator(device).manual_seed(0)
    state = {}
    for name, parameter in model.named_parameters():
        dtype = torch.float32 if keeps_float32(name) else torch.bfloat16
        values = torch.empty(parameter.shape, dtype=dtype, device=device).normal_(0, 0.02, generator=generator)
        if "norm" in name and name.endswith("weight"):
            values += 1
        state[name] = values
    model.load_state_dict(state, assign=True)
    return model.eval()


def random_inputs(width_px: int, height_px: int, device: torch.device) -> Inputs:
    """Inputs of a clip that continues another."""
    generator = torch.Generator(device).manual_seed(1)
    height, width = height_px // 8, width_px // 8

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    return Inputs(
        latents=normal(16, LATENT_FRAMES, height, width),
        reference=normal(16, 1, height, width),
        motion=normal(16, MOTION_LATENTS, height, width),
        text=normal(120, 4096),
        features=normal(LATENT_FRAMES * 4, 25, 1024),
    )


def forward_flops(model: WanS2VTransformer3DModel, n_tokens: int, n_video: int) -> float:
    """Products of the blocks and injectors: two operations a multiply-add."""
    dim, ffn, layers = model.config.dim, model.config.ffn_dim, model.config.num_layers
    linears = layers * n_tokens * (6 * dim * dim + 2 * dim * ffn)  # q k v o, text q o, two of the feed-forward
    text_kv = layers * 0  # made once a prompt
    attention = layers * (2 * n_tokens * n_tokens * dim + 2 * n_tokens * model.config.text_len * dim)
    injectors = len(model.config.audio_inject_layers) * n_video * (2 * dim * dim + 2 * 5 * dim)
    return 2.0 * (linears + text_kv + attention + injectors)


def matmul_flops_per_s(device: torch.device) -> float:
    """Rate of a bfloat16 product of 8192 x 8192 matrices."""
    a, b = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, n_warm=5, n_timed=10)
    return 2.0 * MATMUL_SIZE**3 / statistics.median(seconds)


def timed(call: Callable[[], object], *, n_warm: int, n_timed: int) -> list[float]:
    """Device seconds of each timed call."""
    for _ in range(n_warm):
        call()
    seconds = []
    for _ in range(n_timed):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(stop) / 1000)
    return seconds


def make_step(model: WanS2VTransformer3DModel, inputs: Inputs, *, anew: bool) -> tuple[Callable[[], Tensor], int, int]:
    """One forward, its tokens and its video tokens."""
    timestep = torch.tensor(500.0, device=inputs.latents.device)

    def terms() -> tuple[object, ...]:
        clip = model.encode_clip(inputs.reference, latent_frames=LATENT_FRAMES, motion=inputs.motion)
        return clip, model.encode_text(inputs.text), model.encode_audio(inputs.features)

    kept = terms()
    clip = model.encode_clip(inputs.reference, latent_frames=LATENT_FRAMES, motion=inputs.motion)

    def step() -> Tensor:
        return model(inputs.latents, timestep, *(terms() if anew else kept))

    return step, clip.n_tokens, clip.n_video


def exact_output(model: WanS2VTransformer3DModel, inputs: Inputs) -> Tensor:
    """The forward with every weight and product in float32; weights that are bfloat16 stay so outside their block."""
    kept: dict[int, Tensor] = {}

    def widen(module: nn.Module) -> None:
        for parameter in module.parameters():
            kept[id(parameter)] = parameter.data
            parameter.data = parameter.data.float()

    def restore(module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.data = kept.pop(id(parameter))

    blocks = list(model.blocks)
    others = [module for name, module in model.named_children() if name != "blocks"]
    hooks = [block.register_forward_pre_hook(lambda module, _: widen(module)) for block in blocks]
    hooks += [block.register_forward_hook(lambda module, _, __: restore(module)) for block in blocks]
    for module in others:
        widen(module)
    # Keys and values of the text are made outside the blocks' forward.
    clip = model.encode_clip(inputs.reference, latent_frames=LATENT_FRAMES, motion=inputs.motion)
    audio = model.encode_audio(inputs.features)
    for block in blocks:
        widen(block.cross_attn)
    text = model.encode_text(inputs.text)
    for block in blocks:
        restore(block.cross_attn)
    result = model(inputs.latents, torch.tensor(500.0, device=inputs.latents.device), clip, text, audio)
    for hook in hooks:
        hook.remove()
    for module in others:
        restore(module)
    return result


def measure(model: WanS2VTransformer3DModel, sizes: list[str], variant: str, rate: float, error: float) -> list[Row]:
    """Rows of one variant."""
    rows = []
    for size in sizes:
        width_px, height_px = map(int, size.split("x"))
        device = model.patch_embedding.weight.device
        step, n_tokens, n_video = make_step(model, random_inputs(width_px, height_px, device), anew=variant == "anew")
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        started_at = time.perf_counter()
        step()
        torch.cuda.synchronize()
        first_call_s = time.perf_counter() - started_at
        seconds = timed(step, n_warm=0 if variant in ("anew", "eager") else 1, n_timed=N_TIMED)
        flops = forward_flops(model, n_tokens, n_video)
        median_s = statistics.median(seconds)
        rows.append(
            Row(
                size,
                variant,
                n_tokens,
                median_s,
                max(seconds),
                first_call_s,
                flops / 1e12,
                flops / median_s / rate,
                torch.cuda.max_memory_allocated() / 2**30,
                error,
            )
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="832x448,832x480,1024x704")
    parser.add_argument("--variants", default="anew,eager,compiled,fp8")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cuda")
    rate = matmul_flops_per_s(device)
    print(torch.cuda.get_device_name(), torch.__version__, f"bf16 product {rate / 1e12:.0f} TFLOP/s", flush=True)
    started_at = time.perf_counter()
    model = random_transformer(device)
    print(f"random weights after {time.perf_counter() - started_at:.1f} s", flush=True)
    sizes = arguments.sizes.split(",")
    rows: list[Row] = []
    width_px, height_px = map(int, ERROR_SIZE.split("x"))
    exact = exact_output(model, random_inputs(width_px, height_px, device)).cpu()
    print(f"float32 output at {ERROR_SIZE}, norm {float(exact.norm()):.4g}", flush=True)
    for variant in arguments.variants.split(","):
        if variant == "compiled":
            model.compile_regions()
        if variant == "fp8":
            model.compile_regions()
            quantise_transformer(model)
            torch.cuda.empty_cache()
        step, _, _ = make_step(model, random_inputs(width_px, height_px, device), anew=False)
        error = float((step().cpu() - exact).norm() / exact.norm())
        rows += measure(model, sizes, variant, rate, error)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"device": torch.cuda.get_device_name(), "rows": [asdict(r) for r in rows]})
        )


if __name__ == "__main__":
    main()
