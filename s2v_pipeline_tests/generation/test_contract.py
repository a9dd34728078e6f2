"""What every registered generator promises, whatever it is."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.chunks.latents import load_carry, load_latents, save_latents
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk, Generator
from s2v_pipeline.generation.registry import generator_names, generator_profile, load_generator
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.contract_cases import CASES, Case, missing_modules
from s2v_pipeline_tests.generation.portrait_requests import request_for, sample_portrait, save_png

MOST_BATCH_BYTES = 64_000_000


@pytest.fixture(scope="module", params=generator_names())
def name(request: pytest.FixtureRequest) -> str:
    missing = missing_modules(request.param)
    if missing:
        pytest.skip(f"{request.param} needs {', '.join(missing)}")
    return str(request.param)


@pytest.fixture(scope="module")
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture(scope="module")
def portrait(case: Case, tmp_path_factory: pytest.TempPathFactory) -> FileRef:
    folder = tmp_path_factory.mktemp("portrait")
    return save_png(sample_portrait(case.size_px, case.size_px), folder / "portrait.png")


@pytest.fixture(scope="module")
def request_(case: Case, portrait: FileRef) -> ChunkRequest:
    return case.make_request(portrait, case.frames)


@pytest.fixture(scope="module")
def spec(case: Case, tmp_path_factory: pytest.TempPathFactory) -> GeneratorSpec:
    return case.make_spec(tmp_path_factory.mktemp("spec"))


@pytest.fixture(scope="module")
def generator(spec: GeneratorSpec) -> Generator:
    return load_generator(spec)


@pytest.fixture(scope="module")
def chain(case: Case, generator: Generator, portrait: FileRef) -> tuple[ChunkRequest, GeneratedChunk, ChunkRequest]:
    """Of a chained generator: a first chunk with its request, and the request that follows."""
    if not generator.chained:
        pytest.skip("its chunks are independent")
    assert case.first_frames is not None
    assert case.next_frames is not None
    first = replace(case.make_request(portrait, case.first_frames), is_last=False)
    following = replace(case.make_request(portrait, case.next_frames), index=1, seed=2)
    return first, generator.generate(first, None), following


def pixels_of(generator: Generator, request: ChunkRequest, chunk: GeneratedChunk) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in generator.decode(request, chunk)])


def same_latents(first: GeneratedChunk, second: GeneratedChunk) -> bool:
    return first.latents.keys() == second.latents.keys() and all(
        first.latents[name].tobytes() == second.latents[name].tobytes() for name in first.latents
    )


def test_every_registered_generator_has_its_case() -> None:
    assert set(CASES) == set(generator_names())


def test_is_a_generator(generator: Generator, name: str) -> None:
    assert isinstance(generator, Generator)
    assert generator.fingerprint
    assert generator.fingerprint == generator.fingerprint
    assert generator.chained is generator_profile(name).CHAINED


def test_latents_cover_the_frames(generator: Generator, request_: ChunkRequest, case: Case) -> None:
    chunk = generator.generate(request_, None)
    assert chunk.frames == case.frames
    assert chunk.latents
    for latent in chunk.latents.values():
        assert len(latent) > 0
    assert chunk.carry is None  # independent, or the last one


def test_frames_come_in_order_in_small_batches(generator: Generator, request_: ChunkRequest, case: Case) -> None:
    expected_frame = case.frames.start_frame
    for batch in generator.decode(request_, generator.generate(request_, None)):
        assert batch.start_frame == expected_frame
        assert batch.fps == request_.fps
        assert batch.pixels.shape[1:] == (request_.height_px, request_.width_px, 3)
        assert batch.pixels.nbytes < MOST_BATCH_BYTES
        expected_frame = batch.span.stop_frame
    assert expected_frame == case.frames.stop_frame


def test_the_mouth_moves(generator: Generator, request_: ChunkRequest, case: Case) -> None:
    pixels = pixels_of(generator, request_, generator.generate(request_, None)).astype(int)
    top, bottom, left, right = case.moving_px
    mouth = pixels[:, top:bottom, left:right]
    assert np.abs(mouth - mouth[0]).mean(axis=(1, 2, 3)).max() > case.least_movement


def test_same_request_same_bytes(generator: Generator, request_: ChunkRequest, portrait: FileRef, case: Case) -> None:
    first = generator.generate(request_, None)
    pixels = pixels_of(generator, request_, first)
    other = case.make_request(portrait, case.other_frames)
    list(generator.decode(other, generator.generate(other, None)))
    again = generator.generate(request_, None)
    assert same_latents(first, again)
    assert np.array_equal(pixels_of(generator, request_, again), pixels)


def test_latents_survive_the_disk(generator: Generator, request_: ChunkRequest, tmp_path: Path) -> None:
    chunk = generator.generate(request_, None)
    save_latents(tmp_path / "chunk.safetensors", chunk.frames, chunk.latents)
    loaded = GeneratedChunk(*load_latents(tmp_path / "chunk.safetensors"))
    assert same_latents(chunk, loaded)
    assert np.array_equal(pixels_of(generator, request_, loaded), pixels_of(generator, request_, chunk))


def test_independent_chunks_meet_without_a_step(generator: Generator, portrait: FileRef) -> None:
    if generator.chained:
        pytest.skip("a chained generator's chunks need their carry")
    whole = request_for(portrait, FrameSpan(0, 12))
    parts = [request_for(portrait, FrameSpan(0, 5)), request_for(portrait, FrameSpan(5, 12), index=1)]
    together = pixels_of(generator, whole, generator.generate(whole, None))
    apart = [pixels_of(generator, part, generator.generate(part, None)) for part in reversed(parts)][::-1]
    assert np.array_equal(np.concatenate(apart), together)


def test_another_process_gives_the_same_bytes(
    generator: Generator, spec: GeneratorSpec, request_: ChunkRequest, tmp_path: Path
) -> None:
    (tmp_path / "spec and request").write_bytes(pickle.dumps((spec, request_)))
    code = (
        "import hashlib, pickle, sys; from pathlib import Path\n"
        "from s2v_pipeline.generation.registry import load_generator\n"
        "spec, request = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "generator = load_generator(spec)\n"
        "digest = hashlib.sha256()\n"
        "for batch in generator.decode(request, generator.generate(request, None)):\n"
        "    digest.update(batch.pixels.tobytes())\n"
        "print(generator.fingerprint); print(digest.hexdigest())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "spec and request")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    fingerprint, digest = done.stdout.split("\n")[:2]
    here = pixels_of(generator, request_, generator.generate(request_, None)).tobytes()
    assert fingerprint == generator.fingerprint
    assert digest == hashlib.sha256(here).hexdigest()


def test_the_carry_belongs_to_its_chunk(
    generator: Generator, chain: tuple[ChunkRequest, GeneratedChunk, ChunkRequest]
) -> None:
    first, chunk, _ = chain
    assert chunk.carry is not None
    assert chunk.carry.tensors
    assert chunk.carry.key == first.key(generator.fingerprint)


def test_being_the_last_changes_no_latent(
    generator: Generator, chain: tuple[ChunkRequest, GeneratedChunk, ChunkRequest]
) -> None:
    first, chunk, _ = chain
    alone = generator.generate(replace(first, is_last=True), None)
    assert alone.carry is None
    assert same_latents(alone, chunk)


def test_the_next_chunk_starts_from_the_carry_and_takes_it_from_the_disk(
    generator: Generator, chain: tuple[ChunkRequest, GeneratedChunk, ChunkRequest], tmp_path: Path
) -> None:
    _, chunk, following = chain
    assert chunk.carry is not None
    path = tmp_path / "chunk.safetensors"
    save_latents(path, chunk.frames, chunk.latents, chunk.carry.tensors)
    second = generator.generate(following, chunk.carry)
    from_disk = generator.generate(following, Carry(chunk.carry.key, load_carry(path)))
    assert second.frames == following.frames
    assert same_latents(second, from_disk)
    assert len(pixels_of(generator, following, second)) == len(following.frames)

    darker = {name: np.asarray(array * 0.5, array.dtype) for name, array in chunk.carry.tensors.items()}
    other = generator.generate(following, Carry(chunk.carry.key, darker))
    assert not same_latents(second, other)


def test_a_carry_that_does_not_fit_is_refused(
    generator: Generator, chain: tuple[ChunkRequest, GeneratedChunk, ChunkRequest]
) -> None:
    first, chunk, following = chain
    assert chunk.carry is not None
    cut = {name: array[:-1] for name, array in chunk.carry.tensors.items()}
    for request, carry in (
        (following, None),
        (first, chunk.carry),
        (following, Carry(chunk.carry.key, {})),
        (following, Carry(chunk.carry.key, cut)),
    ):
        with pytest.raises(GenerationError):
            generator.generate(request, carry)


def test_latents_of_other_frames_are_refused(generator: Generator, request_: ChunkRequest, case: Case) -> None:
    chunk = generator.generate(request_, None)
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, frames=FrameSpan(1, 1 + len(case.frames)))))
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, latents={})))
    shorter = {name: latent[:-1] for name, latent in chunk.latents.items()}
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, latents=shorter)))


def test_a_portrait_with_other_bytes_is_refused(
    generator: Generator, request_: ChunkRequest, portrait: FileRef, case: Case, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    text = FileRef(tmp_path / "text.png", hashlib.sha256(b"no picture").hexdigest())
    other_size = save_png(sample_portrait(2 * case.size_px, 2 * case.size_px), tmp_path / "large.png")
    for bad in (FileRef(portrait.path, "0" * 64), FileRef(tmp_path / "none.png", "1" * 64), text, other_size):
        request = replace(request_, portrait=bad)
        with pytest.raises(GenerationError):
            list(generator.decode(request, generator.generate(request, None)))
