"""What every registered generator promises, whatever it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.chunks.latents import load_latents, save_latents
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import GeneratedChunk, Generator
from s2v_pipeline.generation.registry import GeneratorSpec, generator_names, load_generator
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.portrait_requests import request_for, sample_portrait, save_png

MOST_BATCH_BYTES = 64_000_000
FRAMES = FrameSpan(4, 22)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> FileRef:
    return save_png(sample_portrait(256, 256), tmp_path_factory.mktemp("portrait") / "portrait.png")


@pytest.fixture(scope="module")
def request_(portrait: FileRef) -> ChunkRequest:
    return request_for(portrait, FRAMES)


@pytest.fixture(scope="module", params=generator_names())
def generator(request: pytest.FixtureRequest) -> Generator:
    return load_generator(GeneratorSpec(request.param))


def pixels_of(generator: Generator, request: ChunkRequest, chunk: GeneratedChunk) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in generator.decode(request, chunk)])


def same_latents(first: GeneratedChunk, second: GeneratedChunk) -> bool:
    return first.latents.keys() == second.latents.keys() and all(
        first.latents[name].tobytes() == second.latents[name].tobytes() for name in first.latents
    )


def test_is_a_generator(generator: Generator) -> None:
    assert isinstance(generator, Generator)
    assert generator.fingerprint
    assert generator.fingerprint == generator.fingerprint
    assert isinstance(generator.chained, bool)


def test_latents_cover_the_frames(generator: Generator, request_: ChunkRequest) -> None:
    chunk = generator.generate(request_, None)
    assert chunk.frames == FRAMES
    assert chunk.latents
    for latent in chunk.latents.values():
        assert len(latent) > 0
    if not generator.chained:
        assert chunk.carry is None


def test_frames_come_in_order_in_small_batches(generator: Generator, request_: ChunkRequest) -> None:
    expected_frame = FRAMES.start_frame
    for batch in generator.decode(request_, generator.generate(request_, None)):
        assert batch.start_frame == expected_frame
        assert batch.fps == request_.fps
        assert batch.pixels.shape[1:] == (request_.height_px, request_.width_px, 3)
        assert batch.pixels.nbytes < MOST_BATCH_BYTES
        expected_frame = batch.span.stop_frame
    assert expected_frame == FRAMES.stop_frame


def test_the_mouth_moves(generator: Generator, request_: ChunkRequest) -> None:
    pixels = pixels_of(generator, request_, generator.generate(request_, None)).astype(int)
    mouth = pixels[:, 128:200, 90:166]
    assert np.abs(mouth - mouth[0]).mean(axis=(1, 2, 3)).max() > 2


def test_same_request_same_bytes(generator: Generator, request_: ChunkRequest, portrait: FileRef) -> None:
    first = generator.generate(request_, None)
    pixels = pixels_of(generator, request_, first)
    other = request_for(portrait, FrameSpan(0, 3))
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


def test_another_process_gives_the_same_bytes(generator: Generator, request_: ChunkRequest) -> None:
    name = next(n for n in generator_names() if load_generator(GeneratorSpec(n)) is generator)
    code = (
        "import hashlib, sys; from pathlib import Path\n"
        "from s2v_pipeline.chunks.request import FileRef\n"
        "from s2v_pipeline.generation.registry import GeneratorSpec, load_generator\n"
        "from s2v_pipeline.timebase import FrameSpan\n"
        "from s2v_pipeline_tests.generation.portrait_requests import request_for\n"
        f"request = request_for(FileRef(Path(sys.argv[1]), sys.argv[2]), FrameSpan{(4, 22)})\n"
        f"generator = load_generator(GeneratorSpec({name!r}))\n"
        "digest = hashlib.sha256()\n"
        "for batch in generator.decode(request, generator.generate(request, None)):\n"
        "    digest.update(batch.pixels.tobytes())\n"
        "print(generator.fingerprint); print(digest.hexdigest())\n"
    )
    arguments = [str(request_.portrait.path), request_.portrait.sha256]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    fingerprint, digest = done.stdout.split("\n")[:2]
    here = pixels_of(generator, request_, generator.generate(request_, None)).tobytes()
    assert fingerprint == generator.fingerprint
    assert digest == hashlib.sha256(here).hexdigest()


def test_latents_of_other_frames_are_refused(generator: Generator, request_: ChunkRequest) -> None:
    chunk = generator.generate(request_, None)
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, frames=FrameSpan(0, len(FRAMES)))))
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, latents={})))
    shorter = {name: latent[:-1] for name, latent in chunk.latents.items()}
    with pytest.raises(GenerationError):
        list(generator.decode(request_, replace(chunk, latents=shorter)))


def test_a_portrait_with_other_bytes_is_refused(
    generator: Generator, request_: ChunkRequest, portrait: FileRef, tmp_path: Path
) -> None:
    chunk = generator.generate(request_, None)
    (tmp_path / "text.png").write_text("no picture")
    text = FileRef(tmp_path / "text.png", hashlib.sha256(b"no picture").hexdigest())
    other_size = save_png(sample_portrait(512, 512), tmp_path / "large.png")
    for bad in (FileRef(portrait.path, "0" * 64), FileRef(tmp_path / "none.png", "1" * 64), text, other_size):
        with pytest.raises(GenerationError):
            list(generator.decode(replace(request_, portrait=bad), chunk))
