"""The transformer against the official vectors, and what it promises beyond them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.transformer import (
    REFERENCE_TIME,
    ClipTerms,
    WanS2VTransformer3DModel,
    _rope_angles,
    keeps_float32,
)
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.golden import build_transformer, with_prefix

Golden = tuple[dict, dict[str, Tensor]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("transformer")


@pytest.fixture(scope="module")
def model(golden: Golden) -> WanS2VTransformer3DModel:
    metadata, tensors = golden
    return build_transformer(metadata["config"], with_prefix(tensors, "weights."))


def clip_of(model: WanS2VTransformer3DModel, tensors: dict[str, Tensor], *, motion: bool = True) -> ClipTerms:
    return model.encode_clip(
        tensors["input.ref"][0], latent_frames=5, motion=tensors["input.motion"][0] if motion else None
    )


def features_of(tensors: dict[str, Tensor]) -> Tensor:
    return tensors["input.audio"][0].permute(2, 0, 1)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_official_vectors(golden: Golden, model: WanS2VTransformer3DModel, case: int) -> None:
    metadata, tensors = golden
    what = metadata["cases"][case]
    clip = model.encode_clip(
        tensors["input.ref"][0],
        latent_frames=5,
        motion=None if what["drop_motion"] else tensors["input.motion"][0],
        pose=tensors["input.pose"][0] if what["pose"] else None,
    )
    text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features_of(tensors))
    result = model(tensors["input.latents"], torch.tensor(what["timestep"]), clip, text, audio)
    assert (result - tensors[f"output.{case}"]).abs().max() <= 1e-5


def test_two_requests_may_interleave(golden: Golden, model: WanS2VTransformer3DModel) -> None:
    _, tensors = golden

    def request(*, motion: bool, scale: float) -> Iterator[Tensor]:
        clip = clip_of(model, tensors, motion=motion)
        text = model.encode_text(tensors["input.text"] * scale)
        audio = model.encode_audio(features_of(tensors) * scale)
        latents = tensors["input.latents"]
        for timestep in (900, 500, 100):
            latents = latents - 0.1 * model(latents, torch.tensor(timestep), clip, text, audio)
            yield latents

    alone = [list(request(motion=True, scale=1.0))[-1], list(request(motion=False, scale=0.5))[-1]]
    first, second = request(motion=True, scale=1.0), request(motion=False, scale=0.5)
    woven = list(zip(first, second, strict=True))[-1]
    assert torch.equal(woven[0], alone[0])
    assert torch.equal(woven[1], alone[1])


def test_a_forward_leaves_nothing_on_the_module(golden: Golden, model: WanS2VTransformer3DModel) -> None:
    _, tensors = golden

    def contents() -> dict[str, object]:
        return {
            f"{name}.{key}": id(value) for name, module in model.named_modules() for key, value in vars(module).items()
        }

    before = contents()
    text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features_of(tensors))
    model(tensors["input.latents"], torch.tensor(500), clip_of(model, tensors), text, audio)
    assert contents() == before


def test_absent_motion_is_not_zero_motion(golden: Golden, model: WanS2VTransformer3DModel) -> None:
    _, tensors = golden
    absent = clip_of(model, tensors, motion=False)
    zero = model.encode_clip(
        tensors["input.ref"][0], latent_frames=5, motion=torch.zeros_like(tensors["input.motion"][0])
    )
    text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features_of(tensors))
    results = [model(tensors["input.latents"], torch.tensor(500), clip, text, audio) for clip in (absent, zero)]
    assert absent.n_tokens < zero.n_tokens
    assert (results[0] - results[1]).abs().max() > 1e-3


def test_no_pose_is_a_pose_of_zeros(golden: Golden, model: WanS2VTransformer3DModel) -> None:
    _, tensors = golden
    none = clip_of(model, tensors)
    zeros = model.encode_clip(
        tensors["input.ref"][0],
        latent_frames=5,
        motion=tensors["input.motion"][0],
        pose=torch.zeros(16, 5, *tensors["input.ref"].shape[-2:]),
    )
    assert (none.addend.expand_as(zeros.addend) - zeros.addend).abs().max() <= 1e-6


def test_what_does_not_fit_is_refused(golden: Golden, model: WanS2VTransformer3DModel) -> None:
    _, tensors = golden
    text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features_of(tensors))
    clip = clip_of(model, tensors)
    with pytest.raises(GenerationError, match="prompt's embedding"):
        model.encode_text(torch.zeros(model.config.text_len + 1, model.config.text_dim))
    with pytest.raises(GenerationError, match="prompt's embedding"):
        model.encode_text(torch.zeros(3, model.config.text_dim + 1))
    with pytest.raises(GenerationError, match="multiple of 4"):
        model.encode_audio(features_of(tensors)[:-1])
    with pytest.raises(GenerationError, match="even height and width"):
        model.encode_clip(torch.zeros(16, 1, 7, 12), latent_frames=5)
    for reference in (torch.zeros(16, 8, 12), torch.zeros(1, 16, 1, 8, 12), torch.zeros(16, 1, 0, 12)):
        with pytest.raises(GenerationError):
            model.encode_clip(reference, latent_frames=5)
    with pytest.raises(GenerationError, match="latent frames"):
        model.encode_clip(tensors["input.ref"][0], latent_frames=0)
    for motion in (torch.zeros(16), torch.zeros(16, 0, *tensors["input.ref"].shape[-2:])):
        with pytest.raises(GenerationError, match="motion must be"):
            model.encode_clip(tensors["input.ref"][0], latent_frames=5, motion=motion)
    for features in (features_of(tensors)[:, :24], features_of(tensors)[..., :31], features_of(tensors)[:0]):
        with pytest.raises(GenerationError, match="speech features"):
            model.encode_audio(features)
    with pytest.raises(GenerationError, match="motion must be"):
        model.encode_clip(tensors["input.ref"][0], latent_frames=5, motion=torch.zeros(16, 19, 4, 4))
    with pytest.raises(GenerationError, match="latents must be"):
        model(tensors["input.latents"][:, :4], torch.tensor(1), clip, text, audio)
    with pytest.raises(GenerationError, match="a row for each latent frame"):
        model(tensors["input.latents"], torch.tensor(1), clip, text, model.encode_audio(features_of(tensors)[:16]))


def official_angles(grid: tuple[int, int, int], channels: int) -> NDArray[np.complex128]:
    """The rotary table of all tokens as the official code builds it: complex frequencies, conjugate for the past."""
    third = channels // 3
    sizes = (channels - 2 * third, third, third)
    table = [np.exp(1j * np.outer(np.arange(1024), 10_000.0 ** (-np.arange(size) / size))) for size in sizes]

    def part(start: int, shape: tuple[int, int, int], extent: tuple[int, int, int]) -> list[NDArray[np.complex128]]:
        seq_t, seq_h, seq_w = shape
        times = np.linspace(abs(start), abs(start + (extent[0] - 1)), seq_t).astype(int)
        rows = np.linspace(0, extent[1] - 1, seq_h).astype(int)
        columns = np.linspace(0, extent[2] - 1, seq_w).astype(int)
        in_time = table[0][times].conj() if start < 0 else table[0][times]
        return [
            np.concatenate([in_time[t], table[1][row], table[2][column]])
            for t in range(seq_t)
            for row in rows
            for column in columns
        ]

    _, rows, columns = grid
    values = part(0, grid, grid) + part(REFERENCE_TIME, (1, rows, columns), (1, rows, columns))
    values += part(-1, (1, rows, columns), (1, rows, columns))
    values += part(-3, (1, rows // 2, columns // 2), (2, rows, columns))
    values += part(-19, (4, rows // 4, columns // 4), (16, rows, columns))
    return np.array(values)


@pytest.mark.parametrize("grid", [(5, 4, 6), (20, 7, 9), (3, 28, 52), (2, 5, 4)])
def test_rotary_positions(grid: tuple[int, int, int]) -> None:
    angles = _rope_angles(grid, has_motion=True, channels=16)
    expected = official_angles(grid, 16)
    assert angles.shape == expected.shape
    made = torch.complex(angles.cos(), angles.sin()).numpy()
    assert np.abs(made - expected).max() < 1e-12


@pytest.mark.parametrize(
    ("height_px", "width_px", "n_tokens"),
    [(448, 832, 32_760), (480, 832, 35_074), (704, 1024, 63_360), (704, 1280, 79_200)],
)
def test_number_of_tokens(height_px: int, width_px: int, n_tokens: int) -> None:
    assert len(_rope_angles((20, height_px // 16, width_px // 16), has_motion=True, channels=4)) == n_tokens


def test_float32_islands() -> None:
    assert keeps_float32("blocks.3.modulation")
    assert keeps_float32("head.modulation")
    assert keeps_float32("casual_audio_encoder.encoder.conv2.conv.weight")
    assert keeps_float32("time_projection.1.weight")
    assert not keeps_float32("blocks.3.self_attn.q.weight")
    assert not keeps_float32("audio_injector.injector.0.q.weight")


def test_bfloat16_stays_close(golden: Golden) -> None:
    metadata, tensors = golden
    model = build_transformer(metadata["config"], with_prefix(tensors, "weights."))
    for name, parameter in model.named_parameters():
        if not keeps_float32(name):
            parameter.data = parameter.data.bfloat16()
    text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features_of(tensors))
    result = model(tensors["input.latents"], torch.tensor(500.5), clip_of(model, tensors), text, audio)
    assert result.dtype is torch.float32
    error = (result - tensors["output.1"]).norm() / tensors["output.1"].norm()
    assert 1e-5 < error < 0.03


@pytest.mark.slow
# Importing inductor makes torch call what torch has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_once_for_clips_of_all_lengths(golden: Golden) -> None:
    metadata, tensors = golden
    model = build_transformer(metadata["config"], with_prefix(tensors, "weights."))
    model.compile_regions()
    text, features = model.encode_text(tensors["input.text"]), features_of(tensors)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for case, (n_latents, motion) in enumerate([(5, False), (5, True), (3, True)]):
            clip = model.encode_clip(
                tensors["input.ref"][0],
                latent_frames=n_latents,
                motion=tensors["input.motion"][0] if motion else None,
            )
            audio = model.encode_audio(features[: 4 * n_latents])
            timestep = torch.tensor(metadata["cases"][case]["timestep"])
            result = model(tensors["input.latents"][:, :n_latents], timestep, clip, text, audio)
            if case < 2:
                assert (result - tensors[f"output.{case}"]).abs().max() <= 1e-5
            assert torch.isfinite(result).all()
