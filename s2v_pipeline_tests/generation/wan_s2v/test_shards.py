"""Damaged, foreign and malicious weight files are told from whole ones before anything is loaded."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v import shards
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
from s2v_pipeline.generation.wan_s2v.shards import (
    check_shards,
    load_pickle,
    load_transformer_state,
    read_header,
    stream_tensors,
)
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline_tests.wan_checkpoint import TINY, write_tiny_checkpoint

CPU = torch.device("cpu")
SHARD = "diffusion_pytorch_model-00002-of-00003.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("official"))


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(official, tmp_path / "checkpoint")


def check(folder: Path) -> shards.ShardReport:
    checkpoint = find_checkpoint(folder)
    return check_shards(checkpoint, read_transformer_config(checkpoint.transformer_config))


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, path)


def test_a_whole_checkpoint_passes(official: Path) -> None:
    report = check(official)
    assert len(report.tensors) == 141
    assert report.dtypes == {"BF16": 141}
    assert report.n_bytes == json.loads((official / INDEX).read_text())["metadata"]["total_size"]
    assert set(report.file_bytes) == {path.name for path in official.glob("*.safetensors")}


def test_the_check_reads_no_tensor(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_read_tensor", None)
    check(official)


def test_a_truncated_shard_is_told_with_both_sizes(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:-100])
    with pytest.raises(WeightsError) as caught:
        check(folder)
    assert SHARD in caught.value.rule
    assert caught.value.got == f"truncated: {len(whole) - 100} bytes, where its header says {len(whole)}"


@pytest.mark.parametrize("n_bytes", [0, 4, 8, 300])
def test_a_shard_cut_within_its_header_is_told(folder: Path, n_bytes: int) -> None:
    (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:n_bytes])
    with pytest.raises(WeightsError, match="must be a whole weight file"):
        check(folder)


def test_bytes_after_the_last_tensor_are_told(folder: Path) -> None:
    with (folder / SHARD).open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="where its header says"):
        check(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b"[" * 50_000,
        json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}).encode(),
        json.dumps({"a": 1}).encode(),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(WeightsError, match="must be a whole weight file"):
        read_header(path)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    gone = next(iter(load_file(folder / SHARD)))
    rewrite(folder / SHARD, lambda tensors: tensors.pop(gone))
    with pytest.raises(WeightsError, match=f"1 missing: {gone}"):
        check(folder)


def test_an_extra_tensor_is_named(folder: Path) -> None:
    rewrite(folder / SHARD, lambda tensors: tensors.update({"img_emb.proj.0.weight": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"1 of another model: img_emb\.proj\.0\.weight"):
        check(folder)


def test_a_tensor_in_two_files_is_named(folder: Path) -> None:
    (name, tensor), *_ = load_file(folder / SHARD.replace("00002", "00001", 1)).items()
    rewrite(folder / SHARD, lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(WeightsError, match=f"1 in two files: {name}"):
        check(folder)


def test_a_wrong_shape_is_told_with_the_right_one(folder: Path) -> None:
    name = next(name for name, tensor in load_file(folder / SHARD).items() if tensor.shape == (64, 64))
    rewrite(folder / SHARD, lambda tensors: tensors.update({name: torch.zeros(64, 63)}))
    with pytest.raises(WeightsError, match=r"\[64, 64\].*got \[64, 63\]") as caught:
        check(folder)
    assert name in caught.value.rule
    assert SHARD in caught.value.rule


def test_a_quantised_tensor_is_refused(folder: Path) -> None:
    name, tensor = next(iter(load_file(folder / SHARD).items()))
    rewrite(folder / SHARD, lambda tensors: tensors.update({name: tensor.to(torch.int8)}))
    with pytest.raises(WeightsError, match="stored as BF16, F16, F32; got I8"):
        check(folder)


def test_an_index_that_names_another_file_is_told(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    name = next(name for name, file in index["weight_map"].items() if file == SHARD)
    index["weight_map"][name] = SHARD.replace("00002", "00003", 1)
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=f"must name the file of each tensor; got 1 elsewhere: {name}"):
        check(folder)


def state(folder: Path, **given: Any) -> dict[str, torch.Tensor]:
    checkpoint = find_checkpoint(folder)
    config = read_transformer_config(checkpoint.transformer_config)
    return dict(load_transformer_state(checkpoint, config, device=CPU, **given))


def test_what_is_loaded_is_what_is_stored(official: Path) -> None:
    stored = {name: t for path in official.glob("diff*.safetensors") for name, t in load_file(path).items()}
    loaded = state(official, dtype=torch.bfloat16)
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


def test_the_transformer_takes_every_tensor_and_misses_none(official: Path) -> None:
    with torch.device("meta"):
        module = WanS2VTransformer3DModel(**TINY.transformer)
    module.load_state_dict(state(official, dtype=torch.bfloat16), strict=True, assign=True)
    assert not any(parameter.is_meta for parameter in module.parameters())


def test_tensors_are_cast_but_for_those_that_stay_float32(official: Path) -> None:
    loaded = state(official, dtype=torch.float16, keep_float32=lambda name: name.endswith("modulation"))
    kept = {name for name, tensor in loaded.items() if tensor.dtype == torch.float32}
    assert kept == {"head.modulation", *(f"blocks.{number}.modulation" for number in range(3))}
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float16, torch.float32}


def test_progress_ends_at_all_bytes(official: Path) -> None:
    seen: list[tuple[int, int]] = []
    state(official, dtype=torch.bfloat16, on_progress=lambda n_done, n_total: seen.append((n_done, n_total)))
    assert len(seen) == 141
    assert [n_done for n_done, _ in seen] == sorted(n_done for n_done, _ in seen)
    assert seen[-1] == (check(official).n_bytes,) * 2


def test_tensors_outlive_their_files(folder: Path) -> None:
    loaded = state(folder, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in loaded.items()}
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"")
    assert all(torch.equal(loaded[name], before[name]) for name in before)


def test_a_file_that_changes_while_it_is_read_is_told(folder: Path) -> None:
    report = check(folder)
    (folder / SHARD).write_bytes(b"")
    with pytest.raises(WeightsError, match=f"{SHARD} must be a whole weight file; got 0 of the"):
        list(stream_tensors(report.tensors))


def test_stopping_in_the_middle_leaves_no_thread(official: Path) -> None:
    stream = stream_tensors(check(official).tensors)
    next(stream)
    assert any(thread.name.startswith("weights") for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name.startswith("weights") for thread in threading.enumerate())


def test_few_tensors_wait_in_memory(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_tensor = shards._read_tensor

    def counted(stored: shards.StoredTensor, *, pinned: bool) -> torch.Tensor:
        read.append(stored.name)
        return read_tensor(stored, pinned=pinned)

    monkeypatch.setattr(shards, "_read_tensor", counted)
    for n_taken, _ in enumerate(stream_tensors(check(official).tensors), start=1):
        assert len(read) <= n_taken + 1


class _WritesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "run"))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "Wan2.1_VAE.pth", tmp_path / "proof"
    torch.save({"conv1.weight": torch.zeros(2), "x": _WritesAFile(proof)}, path)
    with pytest.raises(WeightsError, match="code in it, which was not run"):
        load_pickle(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # it is a real one
    assert proof.read_text() == "run"


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "Wan2.1_VAE.pth", tmp_path / "proof"
    path.write_bytes(pickle.dumps(_WritesAFile(proof)))
    with pytest.raises(WeightsError, match=r"no archive of torch\.save"):
        load_pickle(path)
    assert not proof.exists()


def test_a_state_dict_is_read(official: Path) -> None:
    text = load_pickle(official / "models_t5_umt5-xxl-enc-bf16.pth")
    assert text["token_embedding.weight"].dtype == torch.bfloat16
    assert len(load_pickle(official / "Wan2.1_VAE.pth")) == 194


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_pickle_is_told(official: Path, tmp_path: Path, share: float) -> None:
    whole, path = (official / "Wan2.1_VAE.pth").read_bytes(), tmp_path / "Wan2.1_VAE.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError, match="must be a whole weight file"):
        load_pickle(path)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(1)],
        {"a": 1},
        {1: torch.zeros(1)},
        {"a": torch.zeros(1).expand(1 << 40)},
        {"a": {"b": torch.ones(1)}},
    ],
)
def test_anything_but_plain_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="must be a whole weight file"):
        load_pickle(tmp_path / "x.pth")


def test_a_compressed_archive_is_refused(official: Path, tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with (
        zipfile.ZipFile(official / "Wan2.1_VAE.pth") as whole,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    (tmp_path / "x.pth").write_bytes(bomb.getvalue())
    with pytest.raises(WeightsError, match="compressed archive"):
        load_pickle(tmp_path / "x.pth")


def test_a_pickle_that_is_too_large_is_not_opened(official: Path) -> None:
    with pytest.raises(WeightsError, match="at most 1000 bytes"):
        load_pickle(official / "Wan2.1_VAE.pth", max_bytes=1000)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="must be readable"):
        load_pickle(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="must be readable"):
        read_header(tmp_path / "none.safetensors")
