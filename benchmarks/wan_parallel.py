"""Seconds of one clip of 80 frames made by several GPUs of one host together; 14B sizes, random weights.

    python -m benchmarks.wan_parallel --ranks 2 [--parts forward,vae,few,full] [--fp8] [--size 832x480] [--json FILE]

Every rank first measures one GPU alone, so that the ratios are of one run. `forward` is one run of the network, at a
number of tokens that the ranks divide and at one that they do not; `vae` decodes 20 new latents and encodes 73 frames;
`few` is a clip of 4 forwards without guidance, `full` one of 40 steps with guidance, each with decoding and with
encoding what the next clip starts from. The error is against the same GPU alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.wan_clip import GIB, Table, random_vae
from benchmarks.wan_speed import LATENT_FRAMES, Inputs, random_inputs, random_transformer, timed
from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.generation.wan_s2v.clips_of_video import MOTION_FRAMES, VideoTerms
from s2v_pipeline.generation.wan_s2v.pipeline import WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.precision import quantise_transformer
from s2v_pipeline.generation.wan_s2v.ranks import WHOLE, Division, Split, join_ranks, joined_ranks, leave_ranks
from s2v_pipeline.generation.wan_s2v.sampling import Sampling

UNEVEN_SIZE = "800x480"  # 33,711 tokens: neither 2, 4 nor 8 ranks divide them
FEW = Sampling(steps=4, solver="euler", guidance=1.0)
FRAMES = 4 * LATENT_FRAMES
TIMEOUT_S = 120.0


def launch(arguments: argparse.Namespace) -> int:
    """One process a rank, each seeing its own GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.wan_parallel", *sys.argv[1:], "--port", str(port), "--rank"]
    ranks = [
        subprocess.Popen([*command, str(index)], env={**os.environ, "CUDA_VISIBLE_DEVICES": str(index)})
        for index in range(arguments.ranks)
    ]
    return max(abs(rank.wait()) for rank in ranks)


class Bench:
    """What one rank measures; rank 0 prints."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._device = torch.device("cuda")
        self._n = arguments.ranks
        self._is_first = arguments.rank == 0
        self._size = arguments.size
        self.table = Table([])
        self._model = random_transformer(self._device)
        self._model.compile_regions()
        self._kind = "bf16"
        if arguments.fp8:
            quantise_transformer(self._model)
            torch.cuda.empty_cache()
            self._kind = "fp8"
        self._vae = random_vae(self._device, torch.bfloat16, fused=True)

    def add(self, **values: object) -> None:
        """A line of the table, of the first rank alone."""
        if self._is_first:
            self.table.add(**values)

    def forward(self, size: str) -> None:
        """One forward, alone and together."""
        inputs = _inputs(size, self._device)
        alone_s, alone, _ = self._forward(WHOLE, inputs)
        division = _division("sequence", is_guided=False)
        together_s, together, n_tokens = self._forward(division, inputs)
        self.add(
            part="forward",
            numbers=self._kind,
            size=size,
            tokens=n_tokens,
            alone_s=alone_s,
            together_s=together_s,
            efficiency=alone_s / together_s / self._n,
            error=float((together - alone).norm() / alone.norm()),
        )

    def _forward(self, division: Division, inputs: Inputs) -> tuple[float, Tensor, int]:
        model = self._model
        model.peers = division.sequence
        clip = model.encode_clip(inputs.reference, latent_frames=LATENT_FRAMES, motion=inputs.motion)
        text, audio = model.encode_text(inputs.text), model.encode_audio(inputs.features)
        timestep = torch.tensor(500.0, device=self._device)
        result = model(inputs.latents, timestep, clip, text, audio)
        seconds = timed(lambda: model(inputs.latents, timestep, clip, text, audio), n_warm=1, n_timed=3)
        return statistics.median(seconds), result, clip.n_tokens

    def vae(self) -> None:
        """Decoding and encoding, alone and together."""
        inputs = _inputs(self._size, self._device)
        pixels = torch.rand(3, MOTION_FRAMES, inputs.latents.shape[2] * 8, inputs.latents.shape[3] * 8, device="cuda")
        peers = _division("sequence", is_guided=False).rows
        for what, call in (
            ("decode 19+20", lambda who: self._vae.decode_tail(inputs.motion, inputs.latents, peers=who)),
            ("encode 73 frames", lambda who: self._vae.encode(pixels * 2 - 1, peers=who)),
        ):
            alone_s = statistics.median(timed(lambda call=call: call(None), n_warm=1, n_timed=3))
            together_s = statistics.median(timed(lambda call=call: call(peers), n_warm=1, n_timed=3))
            error = (call(peers) - call(None)).square().mean().sqrt()
            self.add(
                part="vae",
                what=what,
                alone_s=alone_s,
                together_s=together_s,
                speed_up=alone_s / together_s,
                rms_error=float(error),
            )

    def clip(self, sampling: Sampling, split: Split, *, alone_too: bool) -> None:
        """A whole clip."""
        if alone_too:
            self._clip(sampling, WHOLE, "one GPU")
        division = _division(split, is_guided=sampling.is_guided)
        self._clip(sampling, division, "guidance" if division.guidance else "sequence")

    def _clip(self, sampling: Sampling, division: Division, name: str) -> None:
        inputs, model, vae = _inputs(self._size, self._device), self._model, self._vae
        model.peers = division.sequence
        pipeline = WanSpeechToVideoPipeline(model, vae, division=division)
        negative = model.encode_text(inputs.text.flip(0)) if sampling.is_guided else None
        video = VideoTerms(inputs.reference, model.encode_text(inputs.text), negative)
        warm = Sampling(steps=1, solver=sampling.solver, guidance=sampling.guidance)
        times: list[float] = []
        for each in (warm, sampling):
            torch.cuda.reset_peak_memory_stats()
            times = [_now()]
            latents = pipeline.sample(video, inputs.features, inputs.latents, motion=inputs.motion, sampling=each)
            times.append(_now())
            pixels = vae.decode_tail(inputs.motion, latents, peers=division.rows)
            times.append(_now())
            vae.encode(pixels[:, -MOTION_FRAMES:], peers=division.rows)
            times.append(_now())
        idle, talk = idle_share(
            lambda: pipeline.sample(video, inputs.features, inputs.latents, motion=inputs.motion, sampling=warm)
        )
        sample_s, decode_s, encode_s = (after - before for before, after in itertools.pairwise(times))
        total_s = times[-1] - times[0]
        self.add(
            part="clip",
            numbers=self._kind,
            divided=name,
            gpus=1 if division is WHOLE else self._n,
            forwards=f"{sampling.steps}x{2 if sampling.is_guided else 1}",
            sample_s=sample_s,
            decode_s=decode_s,
            encode_s=encode_s,
            total_s=total_s,
            frames_per_s=FRAMES / total_s,
            idle_share_of_a_step=idle,
            exchange_share_of_a_step=talk,
            peak_gib=torch.cuda.max_memory_allocated() / GIB,
        )


def idle_share(call: Callable[[], object]) -> tuple[float, float]:
    """Of the wall time of a call: the share without any kernel, and the share within exchanges between GPUs."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        started_at = time.perf_counter()
        call()
        torch.cuda.synchronize()
        wall_us = (time.perf_counter() - started_at) * 1e6
    spans = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in profile.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy_us, until = 0.0, 0.0
    for start, end, _ in spans:
        busy_us += max(0.0, end - max(start, until))
        until = max(until, end)
    exchange_us = sum(end - start for start, end, name in spans if "nccl" in name.lower())
    return 1 - busy_us / wall_us, exchange_us / wall_us


def _division(split: Split, *, is_guided: bool) -> Division:
    ranks = joined_ranks()
    assert ranks is not None
    return ranks.division(split, is_guided=is_guided, n_heads=40)


def _inputs(size: str, device: torch.device) -> Inputs:
    width_px, height_px = map(int, size.split("x"))
    return random_inputs(width_px, height_px, device)


def _now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


@torch.no_grad()
def work(arguments: argparse.Namespace) -> None:
    """One rank."""
    join_ranks(Rank(arguments.rank, arguments.ranks, f"127.0.0.1:{arguments.port}", TIMEOUT_S))
    started_at = time.perf_counter()
    bench = Bench(arguments)
    bench.add(
        device=torch.cuda.get_device_name(), torch=torch.__version__, ready_after_s=time.perf_counter() - started_at
    )
    parts = arguments.parts.split(",")
    if "forward" in parts:
        bench.forward(arguments.size)
        bench.forward(UNEVEN_SIZE)
    if "vae" in parts:
        bench.vae()
    if "few" in parts:
        bench.clip(FEW, "sequence", alone_too=True)
    if "step" in parts:
        for split in ("sequence", "guidance"):
            bench.clip(Sampling(steps=2), split, alone_too=split == "sequence")
    if "full" in parts:
        bench.clip(Sampling(), "auto", alone_too=False)
    if arguments.json and arguments.rank == 0:
        arguments.json.write_text(json.dumps(bench.table.lines, indent=1))
    leave_ranks()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=torch.cuda.device_count())
    parser.add_argument("--parts", default="forward,vae,few,step,full")
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank is None:
        return launch(arguments)
    work(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
