"""From noise to the latents of one clip.

Belongs here: how a clip is sampled, the loop over the steps, guidance, progress and cancelling.
Does not belong here: the network (transformer), the solvers (schedulers), what a clip continues (pipeline).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.ranks import Peers
from s2v_pipeline.generation.wan_s2v.schedulers import Solver, make_scheduler
from s2v_pipeline.generation.wan_s2v.step_cache import StepCache
from s2v_pipeline.generation.wan_s2v.transformer import AudioTerms, ClipTerms, TextTerms, WanS2VTransformer3DModel

LATENT_CHANNELS = 16

OnStep = Callable[[int, int], bool | None]
"""Called with (steps done, steps in all) after each step; False cancels."""


@dataclass(frozen=True)
class Sampling:
    """How a clip is sampled; defaults are the official ones (wan/configs/wan_s2v_14B.py).

    Attributes:
        steps, solver, shift: see `schedulers.make_scheduler`.
        guidance: weight of classifier-free guidance; 1 runs the network once a step instead of twice.
        step_cache: see `step_cache.StepCache`; 0 computes every block of every step.

    Raises:
        ValueError: guidance below 1 or a negative threshold.
    """

    steps: int = 40
    solver: Solver = "unipc"
    shift: float = 3.0
    guidance: float = 4.5
    step_cache: float = 0.0

    def __post_init__(self) -> None:
        if self.guidance < 1 or self.step_cache < 0:
            raise ValueError(f"guidance must be at least 1 and step_cache not negative; got {self}")

    @property
    def is_guided(self) -> bool:
        """Whether the network also runs without text and sound."""
        return self.guidance > 1


@dataclass(frozen=True, eq=False)
class Branch:
    """What one run of the network hears and reads."""

    text: TextTerms
    audio: AudioTerms


@dataclass(frozen=True)
class SamplingReport:
    """What sampling did.

    Attributes:
        n_forwards: runs of the network.
        n_reused: of them, those whose blocks after the first were taken from an earlier step.
    """

    n_forwards: int
    n_reused: int


class CancelledError(GenerationError):
    """The caller's callback asked for an end; nothing was written."""


def make_noise(seed: int, *, latent_frames: int, height_px: int, width_px: int) -> Tensor:
    """Noise of a clip (channels, frames, height, width) float32, drawn on the CPU: the same on every GPU.

    The official code draws bfloat16 noise on the GPU, whose numbers differ between devices.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((LATENT_CHANNELS, latent_frames, height_px // 8, width_px // 8), generator=generator)


def sample_clip(
    transformer: WanS2VTransformer3DModel,
    noise: Tensor,
    clip: ClipTerms,
    conditional: Branch,
    unconditional: Branch | None,
    sampling: Sampling,
    on_step: OnStep | None = None,
    guidance_peers: Peers | None = None,
) -> tuple[Tensor, SamplingReport]:
    """Denoise a clip.

    Args:
        noise: (channels, frames, height, width).
        unconditional: without text and sound; needed where the sampling is guided.
        guidance_peers: the first runs the conditional branch of each step, the second the other.

    Returns:
        Latents like the noise, float32 on the transformer's device, and what was run.

    Raises:
        CancelledError: `on_step` returned False.
        GenerationError: latents that are not finite.
    """
    if sampling.is_guided != (unconditional is not None):
        raise ValueError("an unconditional branch belongs to guided sampling, and to it alone")
    branches = [conditional] if unconditional is None else [conditional, unconditional]
    if guidance_peers is not None and len(branches) > 1:
        branches = [branches[guidance_peers.index]]
    caches = [
        StepCache(sampling.step_cache, n_steps=sampling.steps, peers=transformer.peers) if sampling.step_cache else None
        for _ in branches
    ]
    scheduler = make_scheduler(sampling.solver, steps=sampling.steps, shift=sampling.shift)
    latents = noise.to(clip.tail.device, torch.float32)
    # Timesteps stay on the CPU: reading one there does not wait for the GPU.
    for index, timestep in enumerate(scheduler.timesteps):
        velocities = [
            transformer(latents, timestep, clip, branch.text, branch.audio, cache)
            for branch, cache in zip(branches, caches, strict=True)
        ]
        if sampling.is_guided and guidance_peers is not None:
            velocities = list(guidance_peers.gather(velocities[0]))
        velocity = velocities[0]
        if sampling.is_guided:
            velocity = velocities[1] + sampling.guidance * (velocities[0] - velocities[1])
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        if on_step is not None and on_step(index + 1, sampling.steps) is False:
            raise CancelledError(
                "a clip is complete after all its steps",
                got=f"a request to stop after {index + 1} of {sampling.steps}",
                cure="Finished chunks are kept: run it again to go on.",
            )
    if not bool(torch.isfinite(latents).all()):
        raise GenerationError(
            "latents must be finite numbers",
            got="NaN or infinity after the last step",
            cure="Check the weights with `s2v weights verify`; with wan.fp8 or a LoRA, try without.",
        )
    n_reused = sum(cache.n_reused for cache in caches if cache is not None)
    return latents, SamplingReport(n_forwards=len(branches) * sampling.steps, n_reused=n_reused)
