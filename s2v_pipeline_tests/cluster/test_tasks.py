"""What a worker does with a chunk: look up, make, store; and what it refuses."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.cluster import tasks
from s2v_pipeline.cluster.tasks import GenerateChunk, RenderClip
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.registry import GeneratorSpec
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.settings import VideoSettings
from s2v_pipeline.timebase import FrameSpan

N_FRAMES = 6


@dataclass
class Ramp:
    """A small generator whose frames are grey ramps; counts what it was asked for."""

    fingerprint: str = "ramp 1"
    chained: bool = False
    n_generated: int = 0
    n_decoded: int = 0

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        self.n_generated += 1
        levels = np.arange(request.frames.start_frame, request.frames.stop_frame, dtype=np.float32)
        return GeneratedChunk(request.frames, {"levels": levels})

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        self.n_decoded += 1
        for offset, level in enumerate(chunk.latents["levels"]):
            pixels = np.full((1, request.height_px, request.width_px, 3), 40 + 10 * int(level), np.uint8)
            yield FrameBatch(pixels, request.fps, request.frames.start_frame + offset)


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> Ramp:
    """The tasks find this generator under any name."""
    generator = Ramp()
    monkeypatch.setattr(tasks, "load_generator", lambda spec: generator)
    return generator


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def request_(tmp_path: Path) -> ChunkRequest:
    portrait = tmp_path / "framed.png"
    portrait.write_bytes(b"not looked at by the ramp")
    frames = np.arange(N_FRAMES)
    return ChunkRequest(
        input_id="anna",
        index=0,
        frames=FrameSpan(0, N_FRAMES),
        fps=Fraction(25),
        width_px=64,
        height_px=64,
        seed=1,
        input_seed=2,
        prompt="",
        portrait=FileRef(portrait, file_sha256(portrait)),
        phonemes=pd.DataFrame({"phone": ["SIL"], "start_s": [0.0], "end_s": [0.24]}),
        features=pd.DataFrame(
            {
                "frame": frames,
                "time_s": (frames + 0.5) / 25,
                **dict.fromkeys(("rms_db", "speech_probability", "f0_hz", "onset"), 0.0),
            }
        ),
        speech_level_db=-20,
        median_f0_hz=0,
    )


def test_latents_are_made_once(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    task = GenerateChunk(GeneratorSpec("ramp"), request_, store)
    first, second = task.run(), task.run()
    assert (first.made, second.made, ramp.n_generated) == (True, False, 1)
    assert first.part == second.part
    assert store.holds("chunk_latents", "anna", first.part, key=first.key)


def test_another_fingerprint_is_another_file(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    task = GenerateChunk(GeneratorSpec("ramp"), request_, store)
    first = task.run()
    ramp.fingerprint = "ramp 2"
    second = task.run()
    assert second.made
    assert first.part != second.part
    assert store.holds("chunk_latents", "anna", first.part, key=first.key)


def test_a_clip_is_made_once_and_again_when_it_was_damaged(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    spec, video = GeneratorSpec("ramp"), VideoSettings(width_px=64, height_px=64)
    latents = GenerateChunk(spec, request_, store).run()
    task = RenderClip(spec, request_, latents, video, store)
    first = task.run()
    assert first.made
    assert not task.run().made
    path = store.path("rendered_clips", "anna", first.part)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert task.run().made
    assert path.read_bytes() == content
    assert ramp.n_decoded == 2


def test_sound_settings_do_not_remake_the_picture(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    spec = GeneratorSpec("ramp")
    latents = GenerateChunk(spec, request_, store).run()
    quiet, loud, sharp = (
        RenderClip(spec, request_, latents, VideoSettings(width_px=64, height_px=64, **changed), store).key
        for changed in ({"audio_kbps": 64}, {"audio_kbps": 192}, {"crf": 12})
    )
    assert quiet == loud
    assert sharp != quiet


def test_tasks_travel_to_workers(store: ArtifactStore, request_: ChunkRequest) -> None:
    task = pickle.loads(pickle.dumps(GenerateChunk(GeneratorSpec("portrait"), request_, store)))  # noqa: S301
    assert task.request.key("g") == request_.key("g")
    assert task.label == "latents of chunk 0"


def test_a_chained_generator_is_refused_rather_than_run_without_its_carry(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    ramp.chained = True
    with pytest.raises(GenerationError, match="chunks must be independent"):
        GenerateChunk(GeneratorSpec("ramp"), request_, store).run()
    assert ramp.n_generated == 0
