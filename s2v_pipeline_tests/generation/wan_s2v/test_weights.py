"""`s2v weights`: what verify notices, what fetch says without a network, that convert loses nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from safetensors.torch import load_file, save_file

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v import convert, fetch
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
from s2v_pipeline.generation.wan_s2v.convert import convert_checkpoint
from s2v_pipeline.generation.wan_s2v.fetch import fetch_weights
from s2v_pipeline.generation.wan_s2v.shard_writer import NewTensor, write_shards
from s2v_pipeline.generation.wan_s2v.shards import load_pickle, load_transformer_state, read_header
from s2v_pipeline.generation.wan_s2v.weights import hash_weights, verify_weights, write_hashes
from s2v_pipeline_tests.wan_checkpoint import TINY, write_tiny_checkpoint

VAE, TEXT = "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"
SPEECH = "wav2vec2-large-xlsr-53-english"


# typer takes names from click that click will drop.
FROM_CLICK = pytest.mark.filterwarnings("ignore:.*click.*:DeprecationWarning")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def diffusers(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "diffusers"
    convert_checkpoint(official, out, to="diffusers")
    return out


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(official, tmp_path / "checkpoint")


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def transformer_state(folder: Path) -> dict[str, torch.Tensor]:
    found = find_checkpoint(folder)
    config = read_transformer_config(found.transformer_config)
    return dict(load_transformer_state(found, config, dtype=torch.bfloat16, device=torch.device("cpu")))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    same_types = all(one[name].dtype == other[name].dtype for name in one) if one.keys() == other.keys() else False
    return same_types and all(torch.equal(one[name], other[name]) for name in one)


def test_a_tiny_checkpoint_is_small_and_the_same_for_a_seed(official: Path, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in official.rglob("*") if path.is_file()) < 20e6
    assert contents(write_tiny_checkpoint(tmp_path / "again")) == contents(official)
    assert contents(write_tiny_checkpoint(tmp_path / "other", seed=1)) != contents(official)


def test_no_random_tensor_is_zero_or_one(official: Path) -> None:
    states = [*(load_file(path) for path in official.rglob("*.safetensors"))]
    states += [load_pickle(official / VAE), load_pickle(official / TEXT)]
    for state in states:
        assert all(tensor.float().std() > 0 for tensor in state.values() if tensor.numel() > 1)


@pytest.mark.parametrize("layout", ["official", "diffusers"])
def test_a_whole_checkpoint_is_verified_and_not_touched(layout: str, official: Path, diffusers: Path) -> None:
    folder = official if layout == "official" else diffusers
    before = contents(folder)
    parts = {each.part: each for each in verify_weights(folder)}
    counts = {name: each.n_tensors for name, each in parts.items()}
    assert counts == {"transformer": 141, "VAE": 194, "text encoder": 22, "tokenizer": 0, "speech encoder": 424}
    assert parts["VAE"].detail == "8 channels in its first layer"
    assert contents(folder) == before


def damage_pickle(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = {name: tensor.clone() for name, tensor in load_pickle(path).items()}
    change(state)
    torch.save(state, path)


def damage_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "VAE without a tensor": (
        lambda at: damage_pickle(at / VAE, lambda state: state.pop("conv2.bias")),
        r"1 missing: conv2\.bias",
    ),
    "VAE with another": (
        lambda at: damage_pickle(at / VAE, lambda state: state.update(extra=torch.zeros(1))),
        "extra",
    ),
    "text encoder of another shape": (
        lambda at: damage_pickle(at / TEXT, lambda state: state.update({"norm.weight": torch.zeros(3)})),
        r"norm\.weight",
    ),
    "truncated text encoder": (lambda at: (at / TEXT).write_bytes((at / TEXT).read_bytes()[:-500]), TEXT),
    "tokenizer that is none": (lambda at: (at / "google/umt5-xxl/tokenizer.json").write_text("{}"), "tokenizer"),
    "truncated speech encoder": (
        lambda at: (at / SPEECH / "model.safetensors").write_bytes(b"\0" * 100),
        r"model\.safetensors",
    ),
    "text encoder of another width": (lambda at: _other_text(at), "vectors of 48 values; got 32"),
}


def _other_text(folder: Path) -> None:
    from dataclasses import replace

    other = write_tiny_checkpoint(folder.parent / "other", config=replace(TINY, text_dim=32))
    shutil.copy(other / TEXT, folder / TEXT)


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_noticed(folder: Path, kind: str) -> None:
    damage, named = DAMAGES[kind]
    damage(folder)
    with pytest.raises(WeightsError, match=named):
        verify_weights(folder)


def test_hashes_are_written_compared_and_readable_by_sha256sum(folder: Path) -> None:
    first = hash_weights(folder)
    assert {each.known_from for each in first} == {None}
    write_hashes(folder, first)
    assert {each.known_from for each in hash_weights(folder)} == {"list"}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    changed = bytearray((folder / VAE).read_bytes())
    changed[-5000] ^= 1
    (folder / VAE).write_bytes(changed)
    with pytest.raises(WeightsError, match=f"1 files with another hash: {VAE}"):
        hash_weights(folder)
    (folder / VAE).unlink()
    with pytest.raises(WeightsError, match=f"are missing: {VAE}"):
        hash_weights(folder)


def test_hashes_are_compared_with_the_hubs_notes(folder: Path) -> None:
    notes = folder / ".cache/huggingface/download"
    notes.mkdir(parents=True)
    right = hashlib.sha256((folder / VAE).read_bytes()).hexdigest()
    (notes / f"{VAE}.metadata").write_text(f"{'0' * 40}\n{right}\n1700000000.0\n")
    (notes / "config.json.metadata").write_text(f"{'0' * 40}\n{'1' * 40}\n1700000000.0\n")  # a git blob's mark
    known = {each.file: each.known_from for each in hash_weights(folder)}
    assert (known[VAE], known["config.json"]) == ("hub", None)
    assert not any(name.startswith(".cache") for name in known)
    (notes / f"{VAE}.metadata").write_text(f"{'0' * 40}\n{'1' * 64}\n1700000000.0\n")
    with pytest.raises(WeightsError, match=VAE):
        hash_weights(folder)


def test_progress_of_hashing_ends_at_all_bytes(official: Path) -> None:
    seen: list[tuple[int, int]] = []
    hash_weights(official, on_progress=lambda n_done, n_total: seen.append((n_done, n_total)))
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in official.rglob("*") if path.is_file())


def test_there_and_back_gives_the_same_tensors(official: Path, diffusers: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    assert convert_checkpoint(diffusers, back, to="official").layout == "official"
    assert equal(transformer_state(official), transformer_state(diffusers))
    assert equal(transformer_state(official), transformer_state(back))
    for name in (VAE, TEXT):
        assert equal(load_pickle(official / name), load_pickle(back / name))
    small = {name: value for name, value in contents(official).items() if not name.startswith("diff") and "." in name}
    small = {name: value for name, value in small.items() if name not in (VAE, TEXT)}
    assert small.items() <= contents(back).items()


def test_the_diffusers_folder_opens_in_diffusers_and_transformers(official: Path, diffusers: Path) -> None:
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
    from transformers import UMT5EncoderModel, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    vae, info = AutoencoderKLWan.from_pretrained(diffusers / "vae", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(vae.quant_conv.weight, load_pickle(official / VAE)["conv1.weight"])
    text, info = UMT5EncoderModel.from_pretrained(diffusers / "text_encoder", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]
    assert text.config.num_layers == 2
    speech, info = Wav2Vec2ForCTC.from_pretrained(diffusers / "audio_encoder", output_loading_info=True)
    assert not info["missing_keys"]
    assert speech.config.num_hidden_layers == 24
    assert Wav2Vec2FeatureExtractor.from_pretrained(diffusers / "audio_processor").do_normalize
    assert UniPCMultistepScheduler.from_pretrained(diffusers / "scheduler").config.flow_shift == 3.0


def test_a_type_casts_the_transformer_alone(official: Path, tmp_path: Path) -> None:
    found = convert_checkpoint(official, tmp_path / "out", to="diffusers", dtype=torch.float32)
    assert {each.dtype for path in found.shards for each in read_header(path)} == {"F32"}
    assert {each.dtype for each in read_header(found.text_encoder / "model.safetensors")} == {"BF16"}
    assert equal(transformer_state(tmp_path / "out"), transformer_state(official))


@pytest.mark.parametrize("shard_bytes", [1, 300, 10**9])
def test_shards_are_cut_and_read_by_the_library(tmp_path: Path, shard_bytes: int) -> None:
    state = {"a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.tensor(1.5), "d": torch.zeros(0, 2)}
    state["e"] = torch.randn(4, 6).t()
    names = {torch.float32: "F32", torch.bfloat16: "BF16"}
    named = [NewTensor(name, names[tensor.dtype], tuple(tensor.shape)) for name, tensor in state.items()]
    paths = write_shards(tmp_path, "x", named, iter(state.values()), shard_bytes=shard_bytes)
    assert equal({name: tensor for path in paths for name, tensor in load_file(path).items()}, state)
    assert (tmp_path / "x.safetensors.index.json").exists() == (len(paths) > 1)
    assert (len(paths) > 1) == (shard_bytes == 1)


def test_what_a_writer_says_is_what_it_writes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NewTensor"):
        write_shards(tmp_path, "x", [NewTensor("a", "F32", (2,))], iter([torch.zeros(3)]))


def test_a_conversion_that_fails_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "write_shards", no_room)
    with pytest.raises(OSError, match="No space"):
        convert_checkpoint(folder, tmp_path / "out", to="diffusers")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_damaged_checkpoint_is_not_converted(folder: Path, tmp_path: Path) -> None:
    shard = find_checkpoint(folder).shards[0]
    tensors = load_file(shard)
    tensors.popitem()
    shard.unlink()
    save_file(tensors, shard)
    with pytest.raises(WeightsError, match="1 missing"):
        convert_checkpoint(folder, tmp_path / "out", to="diffusers")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_written_over(official: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="must not exist yet"):
        convert_checkpoint(official, tmp_path, to="diffusers")


def test_the_same_layout_is_refused(official: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the other layout"):
        convert_checkpoint(official, tmp_path / "out", to="official")


def test_room_is_looked_at_before_writing(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(WeightsError, match=r"must have 0\.0 GB of room; got 0\.0 GB free"):
        convert_checkpoint(official, tmp_path / "out", to="diffusers")
    assert list(tmp_path.iterdir()) == []


def hub(monkeypatch: pytest.MonkeyPatch, source: Path, *, interrupted: bool = False) -> list[str]:
    """Stand in for the hub: its files are those of a folder, and a few that nobody needs; returns what was fetched."""
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    names += [f"{SPEECH}/flax_model.msgpack", f"{SPEECH}/language_model/lm.binary", "assets/logo.png", "README.md"]
    siblings = [SimpleNamespace(rfilename=name, size=1) for name in names]
    fetched: list[str] = []

    def download(repository: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert (repository, revision) == ("Wan-AI/Wan2.2-S2V-14B", "c0ffee")
        wanted = [each.rfilename for each in siblings if fetch._is_wanted(each.rfilename)]
        assert allow_patterns == list(fetch.PATTERNS)
        for name in wanted[: len(wanted) // 2] if interrupted else wanted:
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, local_dir / name)
            fetched.append(name)

    monkeypatch.setattr(
        HfApi, "repo_info", lambda *_, **__: SimpleNamespace(siblings=siblings, sha="c0ffee"), raising=True
    )
    monkeypatch.setattr(fetch, "snapshot_download", download)
    return fetched


def test_fetch_takes_what_is_needed_and_nothing_else(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = hub(monkeypatch, official)
    assert fetch_weights(tmp_path / "weights").layout == "official"
    assert set(fetched) == set(contents(official))


def test_a_fetch_that_ends_early_is_not_taken_for_whole(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, official, interrupted=True)
    with pytest.raises(WeightsError, match="missing"):
        fetch_weights(tmp_path / "weights")


@pytest.mark.parametrize("error", [HTTPError("no route"), OfflineModeIsEnabled("offline"), OSError(28, "No space")])
def test_without_the_network_fetch_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "repo_info", fail)
    with pytest.raises(WeightsError) as caught:
        fetch_weights(folder, revision="abc")
    command = "hf download Wan-AI/Wan2.2-S2V-14B --revision abc --local-dir Wan2.2-S2V-14B --exclude '*.msgpack'"
    assert command in caught.value.cure
    assert f"s2v weights verify {folder}" in caught.value.cure


def test_fetch_looks_at_the_room_first(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = hub(monkeypatch, official)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    with pytest.raises(WeightsError, match="GB of room for the weights"):
        fetch_weights(tmp_path / "weights")
    assert fetched == []


def command(capsys: pytest.CaptureFixture[str], *given: str | Path) -> str:
    """What `s2v weights ...` prints; run in this process, as loading torch in another takes seconds."""
    from s2v_pipeline.weights_cli import weights_app

    weights_app([str(each) for each in given], standalone_mode=False)
    return capsys.readouterr().out


@FROM_CLICK
def test_the_command_prints_a_table_and_writes_hashes_when_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = command(capsys, "verify", folder)
    assert [line.split()[0] for line in shown.splitlines()] == [
        *("part", "transformer", "VAE", "text", "tokenizer", "speech", "all")
    ]
    assert not (folder / "SHA256SUMS").exists()
    assert "nothing to compare with" in command(capsys, "verify", folder, "--write-hashes")
    assert (folder / "SHA256SUMS").is_file()
    assert "as in SHA256SUMS" in command(capsys, "verify", folder, "--hashes")


@FROM_CLICK
def test_the_command_converts(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = command(capsys, "convert", official, tmp_path / "out", "--to", "diffusers", "--dtype", "fp32")
    assert shown == f"written: {tmp_path / 'out'}, diffusers layout\n"
    assert find_checkpoint(tmp_path / "out").layout == "diffusers"


@FROM_CLICK
def test_a_failure_reaches_the_entry_point_as_the_packages_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WeightsError, match="the weights must lie in a folder"):
        command(capsys, "verify", tmp_path / "none")


@FROM_CLICK
def test_commands_to_copy_stand_on_lines_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from s2v_pipeline import cli

    def fail(*_: object, **__: object) -> None:
        raise HTTPError("no\nroute")

    monkeypatch.setattr(HfApi, "repo_info", fail)
    monkeypatch.setattr(sys, "argv", ["s2v", "weights", "fetch", str(tmp_path / "to\nhere")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    first, pip, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("s2v: Wan-AI/Wan2.2-S2V-14B must be reachable and ")
    assert "to\\x0ahere writable" in first
    assert pip.startswith("  pip install huggingface_hub && hf download Wan-AI/Wan2.2-S2V-14B ")


def test_the_command_line_loads_no_torch() -> None:
    code = "import sys, s2v_pipeline.weights_cli; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
