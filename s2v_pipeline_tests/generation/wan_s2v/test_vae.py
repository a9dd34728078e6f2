"""The VAE: parity with the official one and diffusers, the exact tail, blocks, tiles, layouts, threads, bad input."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm
from safetensors.torch import save_file
from torch import nn

from s2v_pipeline.errors import GenerationError, SettingsError, WeightsError
from s2v_pipeline.generation.wan_s2v import vae_tail
from s2v_pipeline.generation.wan_s2v.fused_norm import compiled_norm_silu, norm_silu
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae
from s2v_pipeline.generation.wan_s2v.vae_loading import build_vae, load_diffusers_vae
from s2v_pipeline.generation.wan_s2v.vae_names import (
    VaeSizes,
    official_name,
    official_vae_to_diffusers,
    vae_skeleton,
)
from s2v_pipeline.generation.wan_s2v.vae_stages import plan_stages, stage_reaches
from s2v_pipeline.generation.wan_s2v.vae_tail import decoder_steps, walk
from s2v_pipeline.generation.wan_s2v.vae_tiles import blend_weights, run_in_tiles, tile_spans
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden

CPU = torch.device("cpu")
REACH = 2  # earlier frames that a temporal upsampling's convolution sees
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
ROUNDING = 5e-5
"""Float32 sums in another order differ by up to 1.2e-5 here, more or less with the processor. That nothing else differs
is held to 1e-10 in float64 (`test_tail_is_the_end_of_the_whole`)."""


def tiny_model(residual_blocks: int = 2) -> AutoencoderKLWan:
    torch.manual_seed(residual_blocks)
    return AutoencoderKLWan(base_dim=4, num_res_blocks=residual_blocks).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def worst(made: torch.Tensor, wanted: torch.Tensor) -> float:
    assert made.shape == wanted.shape
    return float((made - wanted).abs().max())


@pytest.fixture(scope="module")
def tiny() -> WanVae:
    return WanVae(tiny_model())


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_golden("vae")[1]


def golden_weights(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len("weights.") :]: value for name, value in golden.items() if name.startswith("weights.")}


def test_official_vectors(golden: dict[str, torch.Tensor]) -> None:
    vae = build_vae(golden_weights(golden), dtype=torch.float32, device=CPU)
    assert worst(vae.encode(golden["input.pixels"]), golden["output.latents"]) <= 1e-5
    assert worst(vae.decode(golden["output.latents"]), golden["output.pixels"]) <= 1e-5


@pytest.mark.parametrize("block_latents", [1, 2, 3, 100])
def test_blocks_change_nothing(block_latents: int) -> None:
    """diffusers walks frame by frame with its caches on the model; ours walks in blocks of any length."""
    model = tiny_model()
    vae = WanVae(model)
    pixels = noise(3, 25, 24, 16).clamp(-1, 1)
    shape = (1, 16, 1, 1, 1)
    mean, std = torch.tensor(model.config.latents_mean).view(shape), torch.tensor(model.config.latents_std).view(shape)
    with torch.no_grad():
        wanted = model.encode(pixels[None]).latent_dist.mode()
        frames = model.decode(wanted).sample[0]
    latents = ((wanted - mean) / std)[0]
    assert worst(vae.encode(pixels, block_latents=block_latents), latents) <= ROUNDING
    assert worst(vae.decode(latents, block_latents=block_latents), frames) <= ROUNDING


def test_one_frame(tiny: WanVae) -> None:
    pixels = noise(3, 1, 16, 8).clamp(-1, 1)
    with torch.no_grad():
        wanted = tiny.model.encode(pixels[None]).latent_dist.mode()[0]
    assert worst(tiny.encode(pixels) * tiny._std + tiny._mean, wanted) <= ROUNDING
    assert tiny.decode(tiny.encode(pixels)).shape == (3, 1, 16, 8)


@pytest.mark.parametrize(("n_context", "n_new"), [(1, 1), (1, 6), (2, 3), (4, 2), (8, 1), (13, 5), (19, 2), (44, 1)])
def test_tail_is_the_end_of_the_whole(n_context: int, n_new: int) -> None:
    """In float64, where what rounding leaves is far below what a frame too few would change."""
    decoder = tiny_model().double().decoder
    latents = noise(1, 16, n_context + n_new, 2, 3, seed=n_context).double()

    def frames(first_frame: int, block_latents: int) -> torch.Tensor:
        plan = plan_stages(stage_reaches(decoder), first_frame, upsample_reach=REACH)
        steps = decoder_steps(decoder, plan, norm_silu, upsample_reach=REACH)
        blocks = torch.split(latents[:, :, plan[0].taken_from :], block_latents, dim=2)
        with torch.no_grad():
            made = [walk(steps, block) for block in blocks]
        return torch.cat([each for each in made if each is not None], dim=2)

    whole = frames(0, 100)
    assert whole.shape[2] == 4 * (n_context + n_new) - 3
    for block_latents in (1, 3, 100):
        assert worst(frames(4 * n_context - 3, block_latents), whole[:, :, -4 * n_new :]) <= 1e-10


@pytest.mark.parametrize(("n_context", "block_latents"), [(1, 1), (2, 3), (19, 2)])
def test_tail_in_float32(golden: dict[str, torch.Tensor], n_context: int, block_latents: int) -> None:
    vae = build_vae(golden_weights(golden), dtype=torch.float32, device=CPU)
    latents = noise(16, n_context + 3, 3, 2)
    wanted = vae.decode(latents)[:, -12:]
    made = vae.decode_tail(latents[:, :n_context], latents[:, n_context:], block_latents=block_latents)
    assert worst(made, wanted) <= ROUNDING


def test_tail_skips_what_it_does_not_need(tiny: WanVae, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, int] = {}

    def counted(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        seen[x.shape[3]] = seen.get(x.shape[3], 0) + x.shape[2]
        return norm_silu(x, gamma)

    monkeypatch.setattr(tiny, "_norm_silu", counted)
    latents = noise(16, 19 + 4, 1, 1)
    tiny.decode(latents)
    whole = dict(seen)
    seen.clear()
    tiny.decode_tail(latents[:, :19], latents[:, 19:])
    # Six norms of three blocks at full size and the last one; 16 new frames, and two more for each convolution after.
    assert whole[8] == 7 * 89
    assert seen[8] == sum(16 + 2 * later for later in range(1, 8))
    assert seen[4] < 0.5 * whole[4]
    assert seen[2] < whole[2]


def needed_frames(reaches: tuple[int, ...], n_latents: int, first_frame: int) -> list[int]:
    """First frame of each stage that the wanted frames depend on, found by following every frame backwards."""
    n_frames = n_latents
    for _ in reaches[1:]:
        n_frames = 2 * (n_frames - 1) + 1
    wanted = set(range(first_frame, n_frames))
    firsts = []
    for stage, reach in reversed(list(enumerate(reaches))):
        wanted = {frame - back for frame in wanted for back in range(reach + 1) if frame >= back}
        firsts.append(min(wanted))
        if stage:
            sources = {1 + (frame - 1) // 2 for frame in wanted if frame > 0}
            through = {frame - back for frame in sources for back in range(REACH + 1) if frame - back >= 1}
            wanted = through | ({0} if 0 in wanted else set())
    return firsts[::-1]


@pytest.mark.parametrize("reaches", [(22, 12, 26), (14, 8, 18), (2, 4, 6), (0, 0, 0), (3,), (1, 5)])
def test_plan_is_what_following_every_frame_gives(reaches: tuple[int, ...]) -> None:
    scale = 2 ** (len(reaches) - 1)
    for n_context in range(1, 60):
        first_frame = scale * (n_context - 1) + 1
        plan = plan_stages(reaches, first_frame, upsample_reach=REACH)
        assert [span.taken_from for span in plan] == needed_frames(reaches, n_context + 1, first_frame)
        assert all(span.taken_from <= span.made_from <= span.kept_from for span in plan)
        assert plan[-1].kept_from == first_frame


def test_reaches_are_read_off_the_model(tiny: WanVae) -> None:
    assert stage_reaches(tiny.model.decoder) == (22, 12, 26)
    assert stage_reaches(vae_skeleton(VaeSizes(4, 4, 1)).decoder) == (18, 8, 18)


def test_latents_before_the_plan_do_not_count(tiny: WanVae) -> None:
    first = plan_stages(stage_reaches(tiny.model.decoder), 4 * 50 - 3, upsample_reach=REACH)[0].taken_from
    assert first > 0
    latents = noise(16, 52, 1, 1)
    wanted = tiny.decode_tail(latents[:, :50], latents[:, 50:])
    earlier = latents.clone()
    earlier[:, :first] = 1e6
    assert torch.equal(tiny.decode_tail(earlier[:, :50], earlier[:, 50:]), wanted)


def test_requests_may_interleave(tiny: WanVae) -> None:
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    jobs = [noise(16, 3 + index, 2, 2, seed=index) for index in range(4)]
    wanted = [tiny.decode(job) for job in jobs]
    again = tiny.encode(wanted[0])
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(tiny.decode, jobs * 3))
        encoded = list(threads.map(tiny.encode, [wanted[0]] * 4))
    assert all(torch.equal(frames, wanted[index % 4]) for index, frames in enumerate(made))
    assert all(torch.equal(latents, again) for latents in encoded)
    after = tiny.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_channels_last_changes_rounding_only() -> None:
    vae = WanVae(tiny_model())
    names = list(vae.model.state_dict())
    latents = noise(16, 4, 3, 2)
    frames = vae.decode(latents)
    encoded = vae.encode(frames)
    vae.prepare(channels_last=True)
    weight = vae.model.decoder.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not weight.is_contiguous()
    assert list(vae.model.state_dict()) == names
    assert worst(vae.decode(latents), frames) <= ROUNDING
    assert worst(vae.encode(frames), encoded) <= ROUNDING
    vae.prepare(channels_last=False)
    assert torch.equal(vae.decode(latents), frames)


def test_layers_keep_channels_last(tiny: WanVae) -> None:
    """torch's own convolution of video does not on the CPU; what is done around it does."""
    x = noise(1, 16, 3, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    layers = [block.upsamplers[0] for block in tiny.model.decoder.up_blocks if block.upsamplers]
    flat = next(layer for layer in layers if layer.mode == "upsample2d")
    made = vae_tail.UpsampleStep(flat, taken_from=0)(x[:, :8])
    assert made is not None
    assert nn.functional.pad(made, (0, 0, 0, 0, 2, 0)).stride(1) == 1
    doubled = vae_tail._interleaved(x)
    assert doubled.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(doubled, vae_tail._interleaved(x.contiguous()))


def test_bfloat16(tiny: WanVae) -> None:
    vae = WanVae(tiny_model().to(torch.bfloat16))
    assert vae.dtype == torch.bfloat16
    latents = noise(16, 3, 3, 2)
    frames = tiny.decode(latents)
    made = vae.decode(latents)
    assert made.dtype == torch.float32
    assert 0 < float((made - frames).norm() / frames.norm()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_silu(dtype: torch.dtype) -> None:
    norm = WanRMS_norm(12, images=False)
    norm.gamma.data = noise(12, 1, 1, 1, seed=1)
    x = (3 * noise(1, 12, 2, 3, 4)).to(dtype)
    x[:, :, 1, 2, 3] = 0
    kept = x.clone()
    exact = nn.functional.silu(norm(x.float()))
    made = norm_silu(x, norm.gamma.data)
    assert torch.equal(x, kept)
    assert made.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    assert ((made.float() - exact).abs() <= tolerance * (1 + exact.abs())).all()
    assert (made[:, :, 1, 2, 3] == 0).all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_norm_compiles_once_for_all_sizes() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    compiled, gamma = compiled_norm_silu(), noise(8, 1, 1, 1)
    for layout, graphs in ((torch.channels_last_3d, 1), (torch.contiguous_format, 2)):
        for shape in ((2, 4, 6), (1, 6, 4), (9, 5, 7), (1, 1, 2)):
            x = noise(1, 8, *shape).contiguous(memory_format=layout)
            with torch.no_grad():
                made = compiled(x, gamma)
            assert worst(made, norm_silu(x, gamma)) <= 1e-6
        assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.parametrize(("length", "tile", "overlap"), [(5, 8, 2), (8, 8, 2), (9, 8, 2), (30, 8, 4), (31, 8, 3)])
def test_tiles_cover_and_their_weights_add_up(length: int, tile: int, overlap: int) -> None:
    spans = tile_spans(length, tile, overlap)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert all(left.stop - right.start >= overlap for left, right in itertools.pairwise(spans))
    for scale in (1, 8):
        total = torch.zeros(length * scale)
        for span, weight in zip(spans, blend_weights(spans, scale), strict=True):
            assert (weight > 0).all()
            total[span.start * scale : span.stop * scale] += weight
        assert worst(total, torch.ones(length * scale)) <= 1e-6


def test_tiles_leave_no_seam_where_tiles_do_not_matter() -> None:
    x = noise(2, 3, 13, 21)
    tiling = Tiling(tile_px=64, overlap_px=16)

    def enlarge(tile: torch.Tensor) -> torch.Tensor:
        assert max(tile.shape[2:]) <= 8
        return tile.repeat_interleave(8, 2).repeat_interleave(8, 3)

    enlarged = x.repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert worst(run_in_tiles(enlarge, x, tiling, px_in=1, px_out=8), enlarged) <= 1e-5
    made = run_in_tiles(lambda tile: tile[:, :, ::8, ::8].clone(), enlarged, tiling, px_in=8, px_out=1)
    assert worst(made, x) <= 1e-5


def test_tiled_vae_is_near_the_whole(tiny: WanVae) -> None:
    """Random weights on noise are the worst case: the middle block's attention differs from tile to tile."""
    latents = noise(16, 2, 18, 10)
    frames = tiny.decode(latents)
    encoded = tiny.encode(frames)
    decode_errors, encode_errors = [], []
    for tiling in (Tiling(tile_px=64, overlap_px=32), Tiling(tile_px=128, overlap_px=64)):
        tiled = tiny.decode(latents, tiling=tiling)
        assert tiled.shape == frames.shape
        decode_errors.append(float((tiled - frames).norm() / frames.norm()))
        encode_errors.append(float((tiny.encode(frames, tiling=tiling) - encoded).norm() / encoded.norm()))
        # A seam would be a row or a column that differs from the next more than anywhere in the whole picture.
        for axis in (2, 3):
            kept = [other for other in range(4) if other != axis]
            assert tiled.diff(dim=axis).abs().mean(kept).max() < 1.3 * frames.diff(dim=axis).abs().mean(kept).max()
    assert 0.6 > decode_errors[0] > decode_errors[1] > 0
    assert 0.06 > encode_errors[0] > encode_errors[1] > 0


def test_tail_in_tiles_and_a_tile_that_holds_everything(tiny: WanVae) -> None:
    latents, tiling = noise(16, 3, 10, 7), Tiling(tile_px=64, overlap_px=32)
    tail = tiny.decode_tail(latents[:, :1], latents[:, 1:], tiling=tiling)
    assert worst(tail, tiny.decode(latents, tiling=tiling)[:, 1:]) <= ROUNDING
    assert torch.equal(tiny.decode(latents, tiling=Tiling(tile_px=80, overlap_px=8)), tiny.decode(latents))


@pytest.mark.parametrize(("tile_px", "overlap_px"), [(100, 16), (64, 20), (64, 0), (64, 40), (0, 0)])
def test_impossible_tiles(tile_px: int, overlap_px: int) -> None:
    with pytest.raises(SettingsError, match="multiples of 8 px"):
        Tiling(tile_px=tile_px, overlap_px=overlap_px)


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (3, 5, 8, 12), (1, 5, 8, 8), (3, 5, 8), (3, 0, 8, 8), (3, 5, 0, 8)])
def test_pixels_of_another_shape(tiny: WanVae, shape: tuple[int, ...]) -> None:
    with pytest.raises(GenerationError, match="pixels must be"):
        tiny.encode(torch.zeros(shape))


def test_latents_of_another_shape(tiny: WanVae) -> None:
    good = torch.zeros(16, 2, 1, 1)
    for bad in (torch.zeros(8, 2, 1, 1), torch.zeros(16, 0, 1, 1), torch.zeros(1, 16, 2, 1, 1)):
        with pytest.raises(GenerationError, match="latents must be"):
            tiny.decode(bad)
        with pytest.raises(GenerationError, match="latents must be"):
            tiny.decode_tail(bad, good)
        with pytest.raises(GenerationError, match="latents must be"):
            tiny.decode_tail(good, bad)
    with pytest.raises(GenerationError, match="one height and width"):
        tiny.decode_tail(torch.zeros(16, 2, 1, 2), good)
    with pytest.raises(GenerationError, match="at least one latent"):
        tiny.decode(good, block_latents=0)


def test_names_are_those_of_diffusers_own_conversion(golden: dict[str, torch.Tensor]) -> None:
    state = golden_weights(golden)
    made, wanted = official_vae_to_diffusers(state), convert_wan_vae_to_diffusers(dict(state))
    assert set(made) == set(wanted)
    assert all(made[name] is wanted[name] for name in wanted)


def test_another_number_of_residual_blocks() -> None:
    model, sizes = tiny_model(residual_blocks=1), VaeSizes(4, 4, 1)
    state = {official_name(name, sizes): value for name, value in model.state_dict().items()}
    assert len(state) == len(model.state_dict())
    vae = build_vae(state, dtype=torch.float32, device=CPU)
    latents = noise(16, 2, 2, 2)
    assert torch.equal(vae.decode(latents), WanVae(model).decode(latents))


def test_every_tensor_is_accounted_for(golden: dict[str, torch.Tensor]) -> None:
    state = golden_weights(golden)
    norm, conv = "decoder.upsamples.9.residual.3.gamma", "encoder.downsamples.5.time_conv.weight"
    faults: list[tuple[dict[str, torch.Tensor], str]] = [
        ({name: value for name, value in state.items() if name != norm}, f"1 missing: {norm}"),
        ({**state, "ema.decay": torch.zeros(1)}, r"1 of another model: ema\.decay"),
        ({**state, conv: torch.zeros(16, 16, 3, 1, 2)}, rf"1 of another shape: {conv} \[16, 16, 3, 1, 2\] instead of"),
        ({**state, norm: torch.zeros(16, 1, 1, 1, dtype=torch.int64)}, r"1 not floating point"),
        ({}, r"encoder\.conv1\.weight is missing"),
        ({**state, "encoder.conv1.weight": torch.tensor(1.0)}, "is a single number"),
        ({name: value for name, value in state.items() if ".downsamples.1." not in name}, "10 encoder layers"),
        ({**state, "decoder.conv1.weight": torch.zeros(32, 48, 3, 3, 3)}, r"instead of \[32, 16, 3, 3, 3\]"),
    ]
    for faulty, message in faults:
        with pytest.raises(WeightsError, match=message):
            official_vae_to_diffusers(faulty)


def test_weights_are_the_models_own(golden: dict[str, torch.Tensor]) -> None:
    state = golden_weights(golden)
    vae = build_vae(state, dtype=torch.float32, device=CPU)
    given = {tensor.data_ptr() for tensor in state.values()}
    assert not given & {parameter.data_ptr() for parameter in vae.model.parameters()}
    assert not any(parameter.requires_grad for parameter in vae.model.parameters())


def test_diffusers_layout(tmp_path: Path, tiny: WanVae) -> None:
    tiny.model.save_pretrained(tmp_path)
    latents = noise(16, 2, 2, 2)
    loaded = load_diffusers_vae(tmp_path, dtype=torch.float32, device=CPU)
    assert torch.equal(loaded.decode(latents), tiny.decode(latents))


def test_diffusers_layout_of_another_vae(tmp_path: Path, tiny: WanVae) -> None:
    def load() -> WanVae:
        return load_diffusers_vae(tmp_path, dtype=torch.float32, device=CPU)

    with pytest.raises(WeightsError, match="must be readable"):
        load()
    tiny.model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for name, value in (("is_residual", True), ("latents_mean", [0.0] * 16), ("num_res_blocks", 3)):
        (tmp_path / "config.json").write_text(json.dumps({**config, name: value}), encoding="utf-8")
        with pytest.raises(WeightsError, match=f"{name} in .* must be"):
            load()
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match="must be a JSON file"):
        load()
    state = tiny.model.state_dict()
    save_file({**state, "extra": torch.zeros(1)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="1 of another model: extra"):
        load()
    save_file({**state, "quant_conv.bias": torch.zeros(32, dtype=torch.uint8)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=r"quant_conv.bias .* must be stored as"):
        load()
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(content[:-10])
    with pytest.raises(WeightsError, match="truncated"):
        load()
