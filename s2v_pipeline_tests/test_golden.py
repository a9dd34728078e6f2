"""The comparison with the official vectors says yes where they agree and no where they do not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from s2v_pipeline_tests import golden
from s2v_pipeline_tests.generation.wan_s2v.golden_files import GOLDEN_FOLDER


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = tmp_path / "vectors"
    shutil.copytree(GOLDEN_FOLDER, copied)
    monkeypatch.setattr(sys, "argv", ["golden", str(copied)])
    return copied


@pytest.mark.slow
def test_the_vectors_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(golden.CHECKS)
    assert all(line.endswith("ok") for line in lines)


def test_a_wrong_vector_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden, "CHECKS", {"scheduler": golden.CHECKS["scheduler"], "sizes": golden.CHECKS["sizes"]})
    path = folder / "scheduler.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["output.2.sample"] = tensors["output.2.sample"] + torch.tensor(2e-5)
    save_file(tensors, path, metadata=metadata)
    sizes = folder / "sizes.json"
    sizes.write_text(sizes.read_text().replace("448", "449", 1))
    assert golden.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["BEYOND", "BEYOND"]


def test_a_missing_vector_is_named(folder: Path) -> None:
    (folder / "text_encoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="text_encoder"):
        golden.text_encoder_error(folder)
