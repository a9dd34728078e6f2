"""The small chained generator, slowed down so that faults meet it at work, and poisoned for one prompt.

Belongs here: how it differs from `chained_generator`. Does not belong here: faults, runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.generation import registry
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import FrameBatch
from s2v_pipeline_tests import chained_generator
from s2v_pipeline_tests.chained_generator import (  # noqa: F401 (this module is the generator's profile, too)
    CHAINED,
    CONTEXT_S,
    ONE_WORKER,
    PACKAGES,
    WANTS_SOUND,
    WANTS_TABLES,
    ChainedGenerator,
    check_video,
    chunk_plan,
    most_workers,
    n_gpus,
    notes,
    words_ignored,
    words_understood,
)

NAME = "slow_chained"
POISON = "poisoned"
POISONED_CHUNK = 1
PAUSE_S = 0.7  # a chunk, its clip too: waiting, so that three runs and their faults fit two cores


@dataclass(frozen=True)
class SlowChained:
    """As `ChainedGenerator`, slower; one that is asked for with the prompt `POISON` never makes its second chunk."""

    inner: ChainedGenerator = field(default_factory=ChainedGenerator)
    chained: bool = True

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        if request.prompt == POISON and request.index == POISONED_CHUNK:
            raise ZeroDivisionError("this input always breaks the generator")
        time.sleep(PAUSE_S)
        # Without frames: clips are a step of their own for the faults to meet.
        return replace(self.inner.generate(request, carry), pixels=None)

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        time.sleep(PAUSE_S)
        yield from self.inner.decode(request, chunk)


def make_generator(spec: GeneratorSpec) -> SlowChained:
    return SlowChained()


def register() -> None:
    """Make the registry of this process know the generator."""
    generators: Any = registry._GENERATORS
    generators[NAME] = registry._Entry(factory_module=__name__, profile_module=__name__)


def register_with_ray() -> None:
    """For a process of its own: the generator, here and in the workers of the Ray that it will start."""
    register()
    hooked = chained_generator.init_with_hook(f"{__name__}.register")
    import ray

    ray.init = hooked
