"""A small chained generator for tests of the graph: no weights, but a chain that can be seen in every frame.

Belongs here: the generator, its profile, and how processes of a test come to know it.
Does not belong here: tests.

The brightness of each frame goes on from the frame before, by what the sound says: whoever loses the carry, or takes
that of another chunk, makes other frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from s2v_pipeline.chunks.plan import ChunkPlan, plan_chunks
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.cluster import ray_environment
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation import registry
from s2v_pipeline.generation.framed_portrait import read_portrait
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.timebase import first_sample_of_frame

NAME = "chained"
CHUNK_TIME_S = 0.3  # long enough for a test to come between two chunks

CONTEXT_S = 0.5
CHAINED = True
ONE_WORKER = True
WANTS_SOUND = True
WANTS_TABLES = False
PACKAGES: tuple[str, ...] = ()


def check_video(settings: Settings) -> None:
    pass


def chunk_plan(n_frames: int, settings: Settings, cuts: Sequence[int] = ()) -> ChunkPlan:
    chunk_frames = int(Fraction(repr(settings.generation.chunk_s)) * settings.video.fps)
    return plan_chunks(n_frames, chunk_frames=chunk_frames, first_chunk_frames=chunk_frames - 3, cuts=cuts)


def n_gpus(settings: Settings) -> int:
    return 0


def most_workers(settings: Settings) -> int | None:
    return None


def words_understood(prompt: str) -> tuple[str, ...]:
    return ()


def words_ignored(prompt: str) -> tuple[str, ...]:
    """All of them."""
    return tuple(prompt.split())


def notes(settings: Settings) -> tuple[str, ...]:
    """None."""
    return ()


@dataclass(frozen=True)
class ChainedGenerator:
    fingerprint: str = "chained 1"
    chained: bool = True

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        if (carry is None) is request.continues or request.sound is None:
            raise GenerationError("a chunk goes on from the one before", got=f"{carry}", cure="Give it.")
        time.sleep(CHUNK_TIME_S)
        brightness = 0.0 if carry is None else float(carry.tensors["brightness"][0])
        values = []
        for frame in range(request.frames.start_frame, request.frames.stop_frame):
            at = first_sample_of_frame(frame, request.sound.rate_hz, request.fps) - request.sound.first_sample
            heard = float(np.abs(request.sound.samples[at : at + 1000]).mean()) / request.sound.level_rms
            brightness = 0.95 * brightness + 4 * heard
            values.append(brightness)
        latents = {"brightness": np.array(values, np.float32)}
        chunk = GeneratedChunk(request.frames, latents)
        pixels = np.concatenate([batch.pixels for batch in self.decode(request, chunk)])
        if request.is_last:
            return replace(chunk, pixels=pixels)
        key = request.key(self.fingerprint, carry.key if carry else "")
        return replace(chunk, carry=Carry(key, {"brightness": latents["brightness"][-1:]}), pixels=pixels)

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        portrait = read_portrait(request).astype(np.float32)
        for offset, value in enumerate(chunk.latents["brightness"]):
            pixels = np.clip(portrait * 0.7 + float(value), 0, 255).astype(np.uint8)[None]
            yield FrameBatch(pixels, request.fps, request.frames.start_frame + offset)


def make_generator(spec: GeneratorSpec) -> ChainedGenerator:
    return ChainedGenerator()


def known_generators() -> Mapping[str, object]:
    """What the registry of this process holds."""
    return registry._GENERATORS


def register() -> None:
    """Make the registry of this process know the generator."""
    generators: Any = registry._GENERATORS
    generators[NAME] = registry._Entry(factory_module=__name__, profile_module=__name__)


def init_with_hook(hook: str = f"{__name__}.register") -> Callable[..., Any]:
    """`ray.init` for a local Ray whose workers know the generator, too; `hook` is what each of them calls first."""
    # Ray reads how it authenticates when it is imported.
    ray_environment.set_environment(local=True)
    import ray

    init = ray.init

    def hooked(*args: Any, **named: Any) -> Any:
        return init(*args, **named, runtime_env={"worker_process_setup_hook": hook})

    return hooked


def register_with_ray() -> None:
    """For a process of its own: the generator, here and in the workers of the Ray that it will start."""
    register()
    hooked = init_with_hook()
    import ray

    ray.init = hooked
