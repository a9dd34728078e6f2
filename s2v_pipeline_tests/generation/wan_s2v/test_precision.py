"""8-bit products: how far from exact, and which layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s2v_pipeline.generation.wan_s2v.precision import FP8, Fp8Linear, check_fp8, quantise_rows, quantise_transformer
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.golden import build_transformer, with_prefix


def test_rows_have_their_own_scale() -> None:
    torch.manual_seed(0)
    values = torch.randn(5, 64) * torch.tensor([1e-3, 1.0, 50.0, 1e4, 0.0])[:, None]
    quantised, scales = quantise_rows(values)
    assert quantised.dtype is FP8
    back = quantised.float() * scales
    assert torch.isfinite(back).all()
    # Three bits of mantissa: half a step is a sixteenth; the least numbers of a row lose more.
    assert ((back - values).norm(dim=1)[:4] / values.norm(dim=1)[:4]).max() < 0.04
    assert torch.equal(back[4], torch.zeros(64))


def test_a_layer_stays_close() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(128, 48).bfloat16()
    tokens = torch.randn(2, 37, 128).bfloat16()
    made, exact = Fp8Linear(linear)(tokens), linear.float()(tokens.float())
    assert made.shape == (2, 37, 48)
    assert made.dtype is torch.bfloat16
    assert (made.float() - exact).norm() / exact.norm() < 0.05


def test_which_layers_of_a_transformer() -> None:
    metadata, tensors = load_golden("transformer")
    model = build_transformer(metadata["config"], with_prefix(tensors, "weights."))
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    features = tensors["input.audio"][0].permute(2, 0, 1)

    def forward() -> torch.Tensor:
        clip = model.encode_clip(tensors["input.ref"][0], latent_frames=5, motion=tensors["input.motion"][0])
        text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features)
        return model(tensors["input.latents"], torch.tensor(500.5), clip, text, audio)

    before = forward()
    n_replaced = quantise_transformer(model)
    replaced = {name for name, module in model.named_modules() if isinstance(module, Fp8Linear)}
    # Of three blocks q k v o, text q o, two of the feed-forward; of two injectors q o.
    assert n_replaced == len(replaced) == 3 * 8 + 2 * 2
    assert "blocks.1.cross_attn.k" not in replaced
    assert "audio_injector.injector.1.o" in replaced
    assert not any(name.startswith(("head", "text_embedding", "time", "casual")) for name in replaced)
    assert "blocks.0.ffn.2.weight" in model.state_dict()
    error = float((forward() - before).norm() / before.norm())
    assert 1e-3 < error < 0.1


def test_the_cpu_can() -> None:
    check_fp8(torch.device("cpu"))


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    torch.manual_seed(0)
    layer = Fp8Linear(nn.Linear(256, 128).bfloat16())
    tokens = torch.randn(33, 256).bfloat16()
    on_cpu = layer(tokens)
    on_gpu = layer.cuda()(tokens.cuda()).cpu()
    assert (on_gpu.float() - on_cpu.float()).norm() / on_cpu.float().norm() < 0.01
