"""From a full-size checkpoint on disk to the first step and the first chunk; and small cards, by a cap on the process.

    python -m benchmarks.wan_load FOLDER [--parts write,cold,warm,chunk,cap24,cap16,vae]

`write` makes a random checkpoint of 46 GB in the official layout. `cold` (the page cache dropped, which needs root, and
no compiled code on disk) and `warm` load the transformer and run three steps, each in a process of its own. `chunk`
makes a whole first chunk with the generator that the graph uses; `cap24` and `cap16` do so with a cap on the process's
GPU memory. `vae` measures the VAE's peak memory for each preset's size.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.json_lines import say

CAPS_GIB = {"chunk": None, "cap24": 24.0, "cap16": 16.0}
GIB = 2**30
SIZE = (832, 448)


def load_and_step(folder: Path, part: str) -> None:
    """Load the transformer, then three forwards at the preset `medium`."""
    started_at = time.perf_counter()
    import torch

    from benchmarks.wan_speed import LATENT_FRAMES, random_inputs
    from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
    from s2v_pipeline.generation.wan_s2v.loading import load_transformer
    from s2v_pipeline.setting_groups import WanSettings

    device = torch.device("cuda")
    torch.zeros(1, device=device)
    imported_at = time.perf_counter()
    checkpoint = find_checkpoint(folder)
    config = read_transformer_config(checkpoint.transformer_config)
    model = load_transformer(checkpoint, config, WanSettings(weights=folder), device)
    torch.cuda.synchronize()
    loaded_at = time.perf_counter()
    inputs = random_inputs(*SIZE, device)
    steps_s = []
    for latent_frames, has_motion in ((LATENT_FRAMES, False), (LATENT_FRAMES, True), (LATENT_FRAMES // 2, True)):
        before = time.perf_counter()
        clip = model.encode_clip(
            inputs.reference, latent_frames=latent_frames, motion=inputs.motion if has_motion else None
        )
        audio = model.encode_audio(inputs.features[: 4 * latent_frames])
        text = model.encode_text(inputs.text)
        model(inputs.latents[:, :latent_frames], torch.tensor(500), clip, text, audio)
        torch.cuda.synchronize()
        steps_s.append(round(time.perf_counter() - before, 2))
    n_bytes = sum(path.stat().st_size for path in checkpoint.shards)
    say(
        part=part,
        import_s=imported_at - started_at,
        load_s=loaded_at - imported_at,
        gb_per_s=n_bytes / 1e9 / (loaded_at - imported_at),
        first_clip_later_clip_short_clip_s=steps_s,
        start_to_first_step_s=loaded_at - started_at + steps_s[0],
        peak_gib=torch.cuda.max_memory_allocated() / GIB,
        host_peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )


def make_chunk(folder: Path, part: str) -> None:
    """One guided step of a first chunk with the graph's generator, all from disk, under a cap."""
    import logging

    import numpy as np
    import torch

    from benchmarks.wan_random import random_requests
    from s2v_pipeline.generation.spec import GeneratorSpec
    from s2v_pipeline.generation.wan_s2v.generator import make_generator
    from s2v_pipeline.setting_groups import WanSettings

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(relativeCreated)d ms %(message)s")
    cap_gib = CAPS_GIB[part]
    total_gib = torch.cuda.get_device_properties(0).total_memory / GIB
    if cap_gib is not None:
        torch.cuda.set_per_process_memory_fraction(cap_gib / total_gib)
    generator = make_generator(GeneratorSpec("wan_s2v", wan=WanSettings(weights=folder, steps=1)))
    carry = None
    # Of three, so that the second one, too, hands on what the next would continue.
    for index, request in enumerate(random_requests(folder, n_chunks=3, size=SIZE, seed=0)[:2]):
        started_at = time.perf_counter()
        chunk = generator.generate(request, carry)
        generated_s = time.perf_counter() - started_at
        n_frames = sum(len(batch.pixels) for batch in generator.decode(request, chunk))
        carry = chunk.carry
        # Whatever waits in host memory, the latents are those of the run that keeps everything on the GPU.
        latents, kept = chunk.latents["video"], folder.parent / f"latents_{index}.npy"
        if not kept.exists():
            np.save(kept, latents)
        error = float(np.linalg.norm(latents - np.load(kept)) / np.linalg.norm(latents))
        say(
            part=part,
            chunk=index,
            cap_gib=cap_gib,
            generate_s=generated_s,
            decode_s=time.perf_counter() - started_at - generated_s,
            n_frames=n_frames,
            error_to_first_run=error,
            peak_allocated_gib=torch.cuda.max_memory_allocated() / GIB,
            peak_reserved_gib=torch.cuda.max_memory_reserved() / GIB,
            host_peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        )


def measure_vae(part: str) -> None:
    """Peak memory of the VAE by itself."""
    import torch

    from benchmarks.wan_clip import PRESET_SIZES, random_vae
    from s2v_pipeline.generation.wan_s2v.vae import Tiling

    device = torch.device("cuda")
    vae = random_vae(device, torch.bfloat16, fused=True)
    for size in PRESET_SIZES.values():
        width_px, height_px = map(int, size.split("x"))
        for tiling in (None, Tiling()):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            latents = torch.randn(16, 39, height_px // 8, width_px // 8)
            pixels = vae.decode_tail(latents[:, :19], latents[:, 19:], tiling=tiling)
            vae.encode(pixels[:, -73:], tiling=tiling)
            peak = torch.cuda.max_memory_allocated()
            say(
                part=part,
                size=size,
                tiled=tiling is not None,
                peak_gib=peak / GIB,
                bytes_per_px=peak / width_px / height_px,
                reserved_gib=torch.cuda.max_memory_reserved() / GIB,
            )
            del pixels


def main() -> None:
    """Run each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", default="vae,write,cold,warm,chunk,cap24,cap16")
    parser.add_argument("--child", default="")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if arguments.child in CAPS_GIB:
        make_chunk(folder, arguments.child)
    elif arguments.child == "vae":
        measure_vae("vae")
    elif arguments.child:
        load_and_step(folder, arguments.child)
    if arguments.child:
        return
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "compiled")}
    for part in arguments.parts.split(","):
        started_at = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.wan_load", str(folder), "--child", part]
        if part == "write":
            command = [sys.executable, "scripts/make_tiny_wan_checkpoint.py", str(folder), "--full-size"]
        if part == "cold":
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3")
        code = subprocess.run(command, env=environment, check=False).returncode
        say(process=part, exit_code=code, wall_s=time.perf_counter() - started_at)


if __name__ == "__main__":
    main()
