"""What each process of a group computes in `test_ranks`, and the same in one process.

Belongs here: work that real processes do together over gloo. Does not belong here: what is expected of it.
"""

from __future__ import annotations

import socket
import traceback
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch import multiprocessing as processes

from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.generation.wan_s2v.ranks import WHOLE, Division, Peers, join_ranks, joined_ranks, leave_ranks
from s2v_pipeline.generation.wan_s2v.sampling import Branch, Sampling, sample_clip
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline.generation.wan_s2v.vae import WanVae

TIMEOUT_S = 60.0
N_HEADS = 4
"""Of `grown`: as many as ranks."""


def in_processes(n_ranks: int, folder: Path) -> list[dict[str, Tensor]]:
    """Results of every rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes.spawn(_work, args=(n_ranks, address, str(folder)), nprocs=n_ranks)
    return [torch.load(folder / f"{index}.pt", weights_only=True) for index in range(n_ranks)]


def _work(index: int, n_ranks: int, address: str, folder: str) -> None:
    torch.set_num_threads(1)
    join_ranks(Rank(index, n_ranks, address, TIMEOUT_S))
    try:
        torch.save(results(), Path(folder) / f"{index}.pt")
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        leave_ranks()


@torch.no_grad()
def results() -> dict[str, Tensor]:
    """What this process makes, alone or with the group that it has joined."""
    found: dict[str, Tensor] = {}
    for name, split, is_guided, cache in (
        ("plain", "auto", False, 0.0),
        ("guided", "auto", True, 0.0),
        ("guided by tokens alone", "sequence", True, 0.0),
        ("step cache", "auto", True, 0.05),
    ):
        ranks = joined_ranks()
        division = WHOLE if ranks is None else ranks.division(split, is_guided=is_guided, n_heads=N_HEADS)
        for motion in (True, False):
            found[f"{name}, {'with' if motion else 'without'} motion"] = _latents(division, is_guided, motion, cache)
    return {**found, **_pictures(None if joined_ranks() is None else division.rows)}


def _latents(division: Division, is_guided: bool, with_motion: bool, step_cache: float) -> Tensor:
    torch.manual_seed(0)
    model = WanS2VTransformer3DModel(
        dim=48,
        ffn_dim=64,
        num_heads=N_HEADS,
        num_layers=3,
        freq_dim=16,
        text_dim=8,
        text_len=4,
        audio_dim=8,
        audio_inject_layers=(0, 2),
    ).eval()
    model.peers = division.sequence
    # 5 frames of 3x5 tokens, 15 of the reference, 17 of motion: 107 or 90, which 4 does not divide.
    grid, generator = (6, 10), torch.Generator().manual_seed(1)
    reference = torch.randn(16, 1, *grid, generator=generator)
    motion = torch.randn(16, 19, *grid, generator=generator)
    clip = model.encode_clip(reference, latent_frames=5, motion=motion if with_motion else None)
    assert clip.n_tokens % 4
    features = torch.randn(20, 25, 8, generator=generator)
    text = torch.randn(3, 8, generator=generator)
    conditional = Branch(model.encode_text(text), model.encode_audio(features))
    unconditional = Branch(model.encode_text(text * 0), model.encode_audio(features * 0))
    sampling = Sampling(steps=4, guidance=4.5 if is_guided else 1.0, step_cache=step_cache)
    latents, _ = sample_clip(
        model,
        torch.randn(16, 5, *grid, generator=generator),
        clip,
        conditional,
        unconditional if is_guided else None,
        sampling,
        guidance_peers=division.guidance,
    )
    return latents


def _pictures(peers: Peers | None) -> dict[str, Tensor]:
    """Of a height that no number of ranks divides evenly: 9 latent rows."""
    torch.manual_seed(0)
    vae = WanVae(AutoencoderKLWan(base_dim=4, num_res_blocks=1).eval())
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(3, 13, 72, 16, generator=generator) * 2 - 1
    latents = torch.randn(16, 5, 9, 2, generator=generator)
    plain = {
        "encoded": vae.encode(pixels, peers=peers),
        "decoded": vae.decode_tail(latents[:, :2], latents[:, 2:], peers=peers),
    }
    vae.prepare(channels_last=True)
    return {
        **plain,
        "encoded, channels last": vae.encode(pixels, peers=peers),
        "decoded, channels last": vae.decode_tail(latents[:, :2], latents[:, 2:], peers=peers),
    }
