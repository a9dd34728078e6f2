"""The generator beyond its contract: fingerprint, chain, what it refuses, what it keeps."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from s2v_pipeline.chunks.latents import load_carry, save_latents
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.wan_s2v.generator import WanGenerator
from s2v_pipeline.generation.wan_s2v.loading import load_pipeline
from s2v_pipeline.generation.wan_s2v.sampling import Sampling, make_noise
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import generator, portrait, request, speech, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

FIRST, SECOND = FrameSpan(0, 77), FrameSpan(77, 112)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> FileRef:
    return portrait(tmp_path_factory.mktemp("portrait"))


@pytest.fixture(scope="module")
def made(weights: Path) -> WanGenerator:
    return generator(tiny_settings(weights))


@pytest.fixture(scope="module")
def chain(made: WanGenerator, picture: FileRef) -> list[tuple[ChunkRequest, GeneratedChunk]]:
    requests = [request(picture, FIRST, 0), request(picture, SECOND, 1, is_last=True)]
    first = made.generate(requests[0], None)
    return [(requests[0], first), (requests[1], made.generate(requests[1], first.carry))]


def frames_of(made: WanGenerator, asked: ChunkRequest, chunk: GeneratedChunk) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in made.decode(asked, chunk)])


def test_what_changes_pixels_changes_the_fingerprint(weights: Path, tmp_path: Path) -> None:
    base = tiny_settings(weights)
    changes = [
        {"steps": 2},
        {"solver": "euler"},
        {"shift": 5.0},
        {"guidance": 2.0},
        {"negative_prompt": "blurred"},
        {"precision": "bfloat16"},
        {"fp8": True},
        {"step_cache": 0.1},
        {"vae_tiling": "on"},
    ]
    same = [{"device": "auto"}, {"offload": "none"}, {"compile": True}, {"attention": "math"}]
    of = {repr(change): generator(base.model_copy(update=change)).fingerprint for change in [{}, *changes, *same]}
    assert len({of[repr(change)] for change in [{}, *changes]}) == 1 + len(changes)
    assert {of[repr(change)] for change in same} == {of["{}"]}
    lora = tmp_path / "a.safetensors"
    lora.write_bytes(b"one")
    with_lora = [base.model_copy(update={"loras": (text,)}) for text in (str(lora), f"{lora}@0.5")]
    prints = {generator(each).fingerprint for each in with_lora}
    lora.write_bytes(b"two")
    prints.add(generator(with_lora[0]).fingerprint)
    assert len(prints | {of["{}"]}) == 4


def test_other_weights_have_another_fingerprint(weights: Path, tmp_path: Path) -> None:
    same = write_tiny_checkpoint(tmp_path / "same")
    fingerprint = generator(tiny_settings(weights)).fingerprint
    assert generator(tiny_settings(same)).fingerprint == fingerprint
    shard = sorted(same.glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert generator(tiny_settings(same)).fingerprint != fingerprint


def test_the_chain_is_the_pipelines_video(
    weights: Path, made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    """The same network, noise and speech through both ways; only the speech's normalisation differs by rounding."""
    pipeline = load_pipeline(weights, settings=tiny_settings(weights))
    clips = list(
        pipeline.make_clips(
            np.array(read_pixels(picture)),
            level_of(speech()),
            "a person talks",
            size_px=(64, 64),
            sampling=Sampling(steps=1, guidance=1.0),
            noise=[
                make_noise(asked.seed >> 1, latent_frames=n, height_px=64, width_px=64)
                for (asked, _), n in zip(chain, (20, 9), strict=True)
            ],
        )
    )
    assert [len(clip.span.shown) for clip in clips] == [77, 35]
    for clip, (asked, chunk) in zip(clips, chain, strict=True):
        difference = np.abs(clip.frames.astype(int) - frames_of(made, asked, chunk).astype(int))
        assert difference.mean() < 1.0
        assert difference.max() <= 12


def read_pixels(picture: FileRef) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(picture.path))


def level_of(waveform: Waveform) -> Waveform:
    """The speech without its mean, which the graph takes as zero."""
    return Waveform(waveform.samples - waveform.samples.mean(dtype=np.float64).astype(np.float32), waveform.rate_hz)


def test_a_chunk_from_its_stored_carry_is_the_same(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]], tmp_path: Path
) -> None:
    (first_request, first), (second_request, second) = chain
    assert first.carry is not None
    assert first.carry.key == first_request.key(made.fingerprint)
    assert second.carry is None  # nothing follows
    save_latents(tmp_path / "0.safetensors", first.frames, first.latents, first.carry.tensors)
    stored = Carry(first.carry.key, load_carry(tmp_path / "0.safetensors"))
    other = request(picture, FrameSpan(0, 9), 0, is_last=True)
    made.generate(other, None)  # whatever came between leaves nothing behind
    again = made.generate(second_request, stored)
    assert all(np.array_equal(again.latents[name], second.latents[name]) for name in second.latents)
    assert np.array_equal(frames_of(made, second_request, again), frames_of(made, second_request, second))


def test_a_last_chunk_is_as_short_as_the_audio_allows(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    carry = chain[0][1].carry
    for n_frames, n_latents in ((1, 1), (4, 1), (5, 2)):
        asked = request(picture, FrameSpan(77, 77 + n_frames), 1, is_last=True)
        chunk = made.generate(asked, carry)
        assert len(chunk.latents["video"]) == n_latents
        assert frames_of(made, asked, chunk).shape == (n_frames, 64, 64, 3)


def test_what_does_not_fit_is_refused(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    (first_request, first), (second_request, second) = chain
    with pytest.raises(GenerationError, match="continues the one before"):
        made.generate(second_request, None)
    with pytest.raises(GenerationError, match="continues the one before"):
        made.generate(first_request, first.carry)
    with pytest.raises(GenerationError, match="16 frames a second"):
        made.generate(replace(first_request, fps=Fraction(25)), None)
    with pytest.raises(GenerationError, match="no sound"):
        made.generate(replace(first_request, sound=None), None)
    assert first.carry is not None
    short = Carry(first.carry.key, {"motion": first.carry.tensors["motion"][1:]})
    with pytest.raises(GenerationError, match="motion latents"):
        made.generate(second_request, short)
    with pytest.raises(GenerationError, match="latents of chunk 1"):
        list(made.decode(second_request, replace(second, latents=first.latents)))


def test_an_interrupt_passes(made: WanGenerator, picture: FileRef, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    asked = request(picture, FrameSpan(0, 9), 0, is_last=True)
    monkeypatch.setattr("s2v_pipeline.generation.wan_s2v.generator._StepLog.__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.generate(asked, None)
    monkeypatch.undo()
    assert torch.isfinite(torch.from_numpy(np.array(made.generate(asked, None).latents["video"]))).all()
