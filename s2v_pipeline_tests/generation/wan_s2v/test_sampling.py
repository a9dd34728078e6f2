"""From noise to latents: guidance, progress, cancelling, step caching."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.sampling import Branch, CancelledError, Sampling, make_noise, sample_clip
from s2v_pipeline.generation.wan_s2v.schedulers import make_scheduler
from s2v_pipeline.generation.wan_s2v.step_cache import StepCache
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.golden import build_transformer, with_prefix

NOISE = make_noise(3, latent_frames=2, height_px=32, width_px=48)


class Network:
    """A stand-in whose answer depends on the branch: text is a number here."""

    def __init__(self) -> None:
        self.n_forwards = 0

    def __call__(self, latents: Tensor, timestep: Tensor, clip: Any, text: Any, audio: Any, cache: Any) -> Tensor:
        self.n_forwards += 1
        return torch.tanh(latents * text + float(timestep) / 1000)


def run(sampling: Sampling, *, network: Any = None, on_step: Any = None) -> tuple[Tensor, Any]:
    clip: Any = SimpleNamespace(tail=torch.zeros(1))
    conditional: Any = Branch(1.3, None)  # type: ignore[arg-type]
    unconditional: Any = Branch(0.4, None) if sampling.is_guided else None  # type: ignore[arg-type]
    return sample_clip(network or Network(), NOISE, clip, conditional, unconditional, sampling, on_step)


def test_guidance_as_written_out() -> None:
    sampling = Sampling(steps=5, guidance=4.5)
    made, report = run(sampling)
    scheduler = make_scheduler("unipc", steps=5, shift=3.0)
    latents = NOISE
    for timestep in scheduler.timesteps:
        with_text = torch.tanh(latents * 1.3 + float(timestep) / 1000)
        without = torch.tanh(latents * 0.4 + float(timestep) / 1000)
        latents = scheduler.step(without + 4.5 * (with_text - without), timestep, latents, return_dict=False)[0]
    assert torch.equal(made, latents)
    assert report.n_forwards == 10


@pytest.mark.parametrize(("sampling", "n_forwards"), [(Sampling(), 80), (Sampling(4, "euler", 3.0, 1.0), 4)])
def test_forwards(sampling: Sampling, n_forwards: int) -> None:
    network = Network()
    _, report = run(sampling, network=network)
    assert network.n_forwards == report.n_forwards == n_forwards


def test_progress_and_cancelling() -> None:
    seen: list[tuple[int, int]] = []
    run(Sampling(steps=3), on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    network = Network()
    with pytest.raises(CancelledError, match="2 of 40"):
        run(Sampling(guidance=1.0), network=network, on_step=lambda done, total: done < 2)
    assert network.n_forwards == 2


def test_latents_that_are_not_finite_are_refused() -> None:
    with pytest.raises(GenerationError, match="finite"):
        run(Sampling(steps=2, guidance=1.0), network=lambda latents, *_: latents * float("nan"))


def test_branches_belong_to_guidance() -> None:
    clip: Any = SimpleNamespace(tail=torch.zeros(1))
    with pytest.raises(ValueError, match="unconditional"):
        sample_clip(Network(), NOISE, clip, Branch(1.0, None), None, Sampling())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="guidance"):
        Sampling(guidance=0.5)


def test_noise_follows_the_seed_alone() -> None:
    torch.manual_seed(1)
    again = make_noise(3, latent_frames=2, height_px=32, width_px=48)
    assert torch.equal(again, NOISE)
    assert NOISE.shape == (16, 2, 4, 6)
    assert not torch.equal(make_noise(4, latent_frames=2, height_px=32, width_px=48), NOISE)
    assert abs(float(make_noise(5, latent_frames=20, height_px=256, width_px=256).std()) - 1) < 0.01


@pytest.fixture(scope="module")
def parts() -> tuple[WanS2VTransformer3DModel, dict[str, Tensor]]:
    metadata, tensors = load_golden("transformer")
    return build_transformer(metadata["config"], with_prefix(tensors, "weights.")), tensors


@pytest.mark.parametrize(("threshold", "n_reused"), [(0.0, 0), (1e-9, 0), (1e9, 2 * (8 - 3))])
def test_step_cache(parts: tuple[WanS2VTransformer3DModel, dict[str, Tensor]], threshold: float, n_reused: int) -> None:
    model, tensors = parts
    clip = model.encode_clip(tensors["input.ref"][0], latent_frames=5, motion=tensors["input.motion"][0])
    features = tensors["input.audio"][0].permute(2, 0, 1)
    conditional = Branch(model.encode_text(tensors["input.text"]), model.encode_audio(features))
    unconditional = Branch(model.encode_text(tensors["input.text"] * 0), model.encode_audio(features * 0))
    noise = tensors["input.latents"]

    def sample(sampling: Sampling) -> tuple[Tensor, Any]:
        return sample_clip(model, noise, clip, conditional, unconditional, sampling)

    exact, _ = sample(Sampling(steps=8))
    cached, report = sample(Sampling(steps=8, step_cache=threshold))
    # With a threshold that nothing reaches, all steps but the first two and the last reuse, in both branches.
    assert report.n_reused == n_reused
    assert torch.equal(cached, exact) is (n_reused == 0)
    assert torch.isfinite(cached).all()


def test_a_step_cache_keeps_its_promises() -> None:
    with pytest.raises(ValueError, match="positive threshold"):
        StepCache(0.0, n_steps=4)
    cache = StepCache(0.5, n_steps=10)
    with pytest.raises(RuntimeError, match="reuse"):
        cache.keep(torch.ones(3))
    for _ in range(2):  # always computed
        assert cache.reuse(torch.ones(3)) is None
        cache.keep(torch.full((3,), 3.0))
    reused = cache.reuse(torch.full((3,), 1.25))
    assert reused is not None
    assert torch.equal(reused, torch.full((3,), 3.25))  # what the other blocks added then is added now
    assert cache.reuse(torch.full((3,), 2.0)) is None  # changed by 100 %
