"""Layers in host memory: their values stay, and a streamed transformer answers as a resident one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s2v_pipeline.generation.wan_s2v.layer_streaming import _rest_on_host, _views
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.golden import build_transformer, with_prefix


def test_a_layer_keeps_its_values_in_a_flat_buffer() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 5).bfloat16(), nn.LayerNorm(7)
    second.register_buffer("scale", torch.arange(3, dtype=torch.uint8))
    kept = [tensor.detach().clone() for tensor in (*first.parameters(), *second.parameters(), *second.buffers())]
    layer = _rest_on_host([first, second])
    assert [tensor.dtype for tensor in layer.tensors] == [tensor.dtype for tensor in kept]
    assert all(torch.equal(now, was) for now, was in zip(layer.tensors, kept, strict=True))
    assert all(offset % 256 == 0 for offset in layer.offsets_bytes)
    inside = range(layer.host.data_ptr(), layer.host.data_ptr() + len(layer.host))
    assert all(tensor.data_ptr() in inside for tensor in layer.tensors)
    copied = _views(layer, layer.host.clone())
    assert all(torch.equal(now, was) for now, was in zip(copied, kept, strict=True))


@pytest.mark.gpu
def test_a_streamed_transformer_answers_as_a_resident_one() -> None:
    metadata, tensors = load_golden("transformer")
    features = tensors["input.audio"][0].permute(2, 0, 1)
    results = []
    for is_streamed in (False, True):
        model = build_transformer(metadata["config"], with_prefix(tensors, "weights."))
        device = torch.device("cuda")
        if is_streamed:
            model.stream_layers(device)
        else:
            model.to(device)
        clip = model.encode_clip(tensors["input.ref"][0].cuda(), latent_frames=5, motion=tensors["input.motion"][0])
        text, audio = model.encode_text(tensors["input.text"]), model.encode_audio(features)
        for _ in range(3):  # the cycle of layers begins anew
            result = model(tensors["input.latents"], torch.tensor(500.5), clip, text, audio)
        results.append(result.cpu())
    assert torch.equal(results[0], results[1])
    assert (results[1] - tensors["output.1"]).abs().max() < 1e-2  # TF32 or not, the GPU rounds in its own way
