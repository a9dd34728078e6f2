"""What makes a chunk anew: settings, weights and LoRAs; and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint
from s2v_pipeline.generation.wan_s2v.convert import convert_checkpoint
from s2v_pipeline.generation.wan_s2v.fingerprints import file_fingerprint, weights_fingerprint
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import generator, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

CHANGES: list[dict[str, object]] = [
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
SAME: list[dict[str, object]] = [
    {"device": "auto"},
    {"device": "cuda"},
    {"offload": "none"},
    {"offload": "layers"},
    {"compile": True},
    {"attention": "math"},
    {"split": "sequence"},
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def weights(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "weights"))


def of(settings: WanSettings, **change: object) -> str:
    return generator(settings.model_copy(update=change)).fingerprint


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_settings(good: Path) -> None:
    base = tiny_settings(good)
    prints = [of(base), *(of(base, **change) for change in CHANGES)]
    assert len(set(prints)) == len(prints)
    assert {of(base, **same) for same in SAME} == {prints[0]}


def test_every_setting_is_thought_of() -> None:
    """A new setting has to be put into one of the lists above."""
    named = {name for change in [*CHANGES, *SAME] for name in change} | {"weights", "loras"}
    assert named == set(WanSettings.model_fields)


def test_place_and_time_do_not_count(good: Path, weights: Path) -> None:
    assert of(tiny_settings(weights)) == of(tiny_settings(good))


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "diffusion_pytorch_model-00001-of-00003.safetensors",
        "diffusion_pytorch_model-00003-of-00003.safetensors",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "Wan2.1_VAE.pth",
        "google/umt5-xxl/tokenizer.json",
        "wav2vec2-large-xlsr-53-english/model.safetensors",
        "wav2vec2-large-xlsr-53-english/preprocessor_config.json",
    ],
)
def test_a_changed_byte_counts(file: str, weights: Path) -> None:
    checkpoint = find_checkpoint(weights)
    path = weights / file
    found = {weights_fingerprint(checkpoint)}
    places = (0, path.stat().st_size // 2, path.stat().st_size - 1)
    for position in places:
        flip(path, position)
        found.add(weights_fingerprint(checkpoint))
        flip(path, position)
    assert len(found) == 1 + len(places)
    path.write_bytes(path.read_bytes() + b"\0")
    assert weights_fingerprint(checkpoint) not in found


def test_only_samples_of_a_huge_file_are_read(weights: Path) -> None:
    """Other weights differ nearly everywhere, so a byte between samples may go unseen; the ends and the length do."""
    checkpoint = find_checkpoint(weights)
    with checkpoint.vae.open("r+b") as file:
        file.truncate(1 << 33)  # sparse
    found = {weights_fingerprint(checkpoint)}
    for position in (0, 1 << 32, (1 << 33) - 1):
        with checkpoint.vae.open("r+b") as file:
            file.seek(position)
            file.write(b"x")
        found.add(weights_fingerprint(checkpoint))
    assert len(found) == 4


def test_the_other_layout_has_one_too(weights: Path, tmp_path: Path) -> None:
    converted = convert_checkpoint(weights, tmp_path / "converted", to="diffusers")
    before = weights_fingerprint(converted)
    flip(converted.shards[-1], converted.shards[-1].stat().st_size // 2)
    assert weights_fingerprint(converted) != before


def test_loras(good: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    base = tiny_settings(good)
    plain = of(base, loras=(str(one),))
    others = [
        of(base),
        of(base, loras=(f"{one}@0.5",)),
        of(base, loras=(str(two),)),
        of(base, loras=(str(one), str(two))),
    ]
    assert len({plain, *others}) == 5
    assert of(base, loras=(f"{one}@1.0",)) == plain
    moved = Path(shutil.copy(one, tmp_path / "moved.safetensors"))
    assert of(base, loras=(str(moved),)) == plain
    one.write_bytes(b"ONE")
    assert of(base, loras=(str(one),)) not in {plain, *others}


def test_what_cannot_be_read_is_said(weights: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint(weights)
    checkpoint.vae.unlink()
    with pytest.raises(WeightsError, match=r"Wan2\.1_VAE\.pth must be readable"):
        weights_fingerprint(checkpoint)
    with pytest.raises(WeightsError, match="must be readable"):
        file_fingerprint(tmp_path)
