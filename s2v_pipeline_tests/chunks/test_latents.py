"""Latents come back bit for bit; what is no latents file is an ArtifactError, never anything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from s2v_pipeline.chunks.latents import load_carry, load_latents, load_notes, save_latents
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.timebase import FrameSpan

FRAMES = FrameSpan(25, 50)
DTYPES = st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.uint8, np.bool_])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("latents")


@given(
    start=st.integers(0, 10**6),
    length=st.integers(0, 1000),
    array=DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=4, max_side=5))),
)
def test_what_was_saved_is_loaded(folder: Path, start: int, length: int, array: np.ndarray) -> None:
    path = folder / "any.safetensors"
    save_latents(path, FrameSpan(start, start + length), {"coefficients": array})
    frames, latents = load_latents(path)
    assert frames == FrameSpan(start, start + length)
    assert list(latents) == ["coefficients"]
    assert latents["coefficients"].dtype == array.dtype
    assert latents["coefficients"].shape == array.shape
    assert latents["coefficients"].tobytes() == np.ascontiguousarray(array).tobytes()


def test_several_arrays_keep_their_names(tmp_path: Path) -> None:
    given_latents = {
        "jaw": np.arange(25.0),
        "head": np.ones((25, 3), np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_latents(tmp_path / "x", FRAMES, given_latents)
    _, latents = load_latents(tmp_path / "x")
    assert latents.keys() == given_latents.keys()
    for name, array in given_latents.items():
        np.testing.assert_array_equal(latents[name], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(4, 6).T,
        np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2],
        np.arange(24, dtype=np.float32)[::-1],
        np.arange(24, dtype=">f4"),
        np.asfortranarray(np.arange(24, dtype=np.float32).reshape(4, 6)),
    ],
    ids=["transposed", "strided", "reversed", "big-endian", "Fortran"],
)
def test_the_layout_in_memory_does_not_matter(tmp_path: Path, array: np.ndarray) -> None:
    save_latents(tmp_path / "x", FRAMES, {"a": array})
    np.testing.assert_array_equal(load_latents(tmp_path / "x")[1]["a"], array)


def test_the_same_latents_make_the_same_bytes(tmp_path: Path) -> None:
    latents = {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.float32)}
    save_latents(tmp_path / "1", FRAMES, latents)
    save_latents(tmp_path / "2", FRAMES, dict(reversed(latents.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_the_carry_lies_beside_the_latents_and_apart_from_them(tmp_path: Path) -> None:
    latents = {"a": np.arange(4.0), "carried": np.arange(3)}
    save_latents(tmp_path / "x", FRAMES, latents, {"a": np.arange(7), "motion": np.ones((2, 3), np.float16)})
    frames, loaded = load_latents(tmp_path / "x")
    carry = load_carry(tmp_path / "x")
    assert frames == FRAMES
    assert set(loaded) == {"a", "carried"}
    assert set(carry) == {"a", "motion"}
    np.testing.assert_array_equal(loaded["a"], np.arange(4.0))
    np.testing.assert_array_equal(carry["a"], np.arange(7))
    assert carry["motion"].dtype == np.float16


def test_without_a_carry_there_is_none(tmp_path: Path) -> None:
    save_latents(tmp_path / "x", FRAMES, {"a": np.zeros(3)})
    assert load_carry(tmp_path / "x") == {}
    (tmp_path / "y").write_bytes(b"nothing")
    with pytest.raises(ArtifactError):
        load_carry(tmp_path / "y")


def test_a_latent_may_not_be_named_as_the_carry_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not start with"):
        save_latents(tmp_path / "x", FRAMES, {"carry.a": np.zeros(3)})


def test_loaded_arrays_outlive_the_file(tmp_path: Path) -> None:
    save_latents(tmp_path / "x", FRAMES, {"a": np.arange(1000.0)})
    _, latents = load_latents(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"something else")
    np.testing.assert_array_equal(latents["a"], np.arange(1000.0))


@pytest.mark.parametrize(
    "frames",
    [
        *("5", "null", "[1]", "[1, 2, 3]", '["0", "4"]', "[0.0, 4.0]", "[true, 4]", "[NaN, 4]", "[4, 0]", "[-1, 4]"),
        *('{"a": 0, "b": 4}', "[0, 4", "", "[[0], [4]]", "[" * 100_000),
    ],
)
def test_a_span_that_is_none(tmp_path: Path, frames: str) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "x", metadata={"frames": frames})
    with pytest.raises(ArtifactError, match="names its frame span"):
        load_latents(tmp_path / "x")


@pytest.mark.parametrize("metadata", [None, {}, {"span": "[0, 4]"}])
def test_a_file_without_a_span(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "x", metadata=metadata)
    with pytest.raises(ArtifactError):
        load_latents(tmp_path / "x")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 60, -1])
def test_a_truncated_file(tmp_path: Path, kept: int) -> None:
    save_latents(tmp_path / "x", FRAMES, {"a": np.arange(100.0)})
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:kept])
    with pytest.raises(ArtifactError) as caught:
        load_latents(tmp_path / "x")
    assert "Materialise chunk_latents" in caught.value.cure


@given(st.binary(max_size=300))
def test_any_bytes_are_latents_or_an_artifact_error(folder: Path, content: bytes) -> None:
    path = folder / "bytes.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        load_latents(path)


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_harmless_or_an_artifact_error(folder: Path, position: int, bit: int) -> None:
    path = folder / "flipped.safetensors"
    save_latents(path, FRAMES, {"a": np.arange(4, dtype=np.float32)})
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        frames, latents = load_latents(path)
    except ArtifactError:
        return
    # In the numbers themselves a flipped bit is another number: that is what the artifact store's hash finds.
    assert isinstance(frames.start_frame, int)
    assert all(isinstance(array, np.ndarray) for array in latents.values())


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1)])
def test_number_formats_that_numpy_lacks(tmp_path: Path, dtype: str, size: int) -> None:
    tensors = {"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * size]}}
    header = json.dumps({"__metadata__": {"frames": "[0, 4]"}, **tensors}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * size))
    with pytest.raises(ArtifactError):
        load_latents(tmp_path / "x")


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ArtifactError):
        load_latents(tmp_path / "x")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ArtifactError):
            load_latents(path)


def test_notes_are_kept_beside_the_latents(tmp_path: Path) -> None:
    path = tmp_path / "chunk.safetensors"
    save_latents(path, FrameSpan(0, 2), {"x": np.zeros(2, np.float32)}, notes=("one", "zwei ü"))
    assert load_notes(path) == ("one", "zwei ü")
    assert load_latents(path)[0] == FrameSpan(0, 2)
    save_latents(path, FrameSpan(0, 2), {"x": np.zeros(2, np.float32)})
    assert load_notes(path) == ()
    path.write_bytes(b"no safetensors")
    with pytest.raises(ArtifactError):
        load_notes(path)
