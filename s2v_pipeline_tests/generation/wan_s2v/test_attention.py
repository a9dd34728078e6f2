"""Which kernel, and that it is attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.generation.wan_s2v.attention import attend, choose_attention, choose_short_attention

CPU = torch.device("cpu")


def test_as_written_out() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 7, 3, 8), torch.randn(2, 11, 3, 8), torch.randn(2, 11, 3, 8)
    weights = (torch.einsum("bqhc,bkhc->bhqk", query, key) / 8**0.5).softmax(dim=-1)
    expected = torch.einsum("bhqk,bkhc->bqhc", weights, value).flatten(2)
    made = attend(query, key, value, SDPBackend.MATH)
    assert made.shape == (2, 7, 24)
    assert (made - expected).abs().max() < 1e-6


def test_the_cpu_takes_what_there_is() -> None:
    assert choose_attention("auto", CPU, torch.float32) is SDPBackend.MATH
    assert choose_attention("math", CPU, torch.bfloat16) is SDPBackend.MATH
    for name in ("cudnn", "flash"):
        with pytest.raises(SettingsError, match="16-bit numbers on a CUDA device"):
            choose_attention(name, CPU, torch.bfloat16)  # type: ignore[arg-type]


def test_few_keys_take_flash() -> None:
    assert choose_short_attention(SDPBackend.CUDNN_ATTENTION) is SDPBackend.FLASH_ATTENTION
    assert choose_short_attention(SDPBackend.MATH) is SDPBackend.MATH


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION])
def test_kernels_agree(kernel: SDPBackend) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 300, 4, 128, device="cuda").bfloat16() for _ in range(3))
    exact = attend(*(part.cpu().float() for part in (query, key, value)), SDPBackend.MATH)
    assert (attend(query, key, value, kernel).cpu().float() - exact).norm() / exact.norm() < 0.02
