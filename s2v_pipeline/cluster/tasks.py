"""What workers do: make a chunk's latents, render a chunk's clip. A file that is there already is not made again.

Belongs here: look up, make, store, report; one task a chunk.
Does not belong here: where files are looked for and kept (chunk_place), how latents or clips are made (generation,
clips), who runs the task (executor).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.chunks.latents import load_carry, load_latents, load_notes, save_latents
from s2v_pipeline.chunks.manifest import ChunkFile, GpuUse
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.clip_encoding import ClipEncoding
from s2v_pipeline.clips.encoders import ENCODER_SOURCE, encoding_of
from s2v_pipeline.clips.label import stamped
from s2v_pipeline.cluster.chunk_place import ChunkPlace, Found, chunk_file, find, look, part_name
from s2v_pipeline.cluster.clip_ahead import OF_THIS_WORKER
from s2v_pipeline.cluster.executor import Fit
from s2v_pipeline.cluster.frame_counter import FrameCounter
from s2v_pipeline.cluster.timings import Timings
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.gpu_needs import NEEDS_FOLDER, UsesGpu
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk, Generator
from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.generation.registry import (
    generator_names,
    generator_profile,
    import_generator,
    join_ranks,
    load_generator,
)
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import FrameBatch

LATENTS_ASSET = "chunk_latents"
CLIPS_ASSET = "rendered_clips"
CLIP_CODE_VERSION = "1"
"""Raised when encoding changes a clip's bytes for the same latents and settings."""


@dataclass(frozen=True)
class GenerateChunk:
    """Make one chunk's latents and store them, with what the next chunk starts from; a `SplitTask`.

    Attributes:
        spec: what makes them.
        request: of which chunk.
        store: where they go.
        previous_key: key of the chunk before it, of which the store holds the carry; "" for independent chunks and for
            the first of a segment.
        cache: where files of earlier runs and other inputs are kept, too.
        clip: how its clip is encoded, where that is done at once if the generator brings the frames.
        run_id: whose work this is.
    """

    spec: GeneratorSpec
    request: ChunkRequest
    store: ArtifactStore
    previous_key: str = ""
    cache: ChunkCache | None = None
    clip: ClipEncoding | None = None
    run_id: str = ""

    @property
    def label(self) -> str:
        """See `Task`."""
        return f"latents of chunk {self.request.index}"

    @property
    def n_frames(self) -> int:
        """How much work it is, beside others."""
        return len(self.request.frames)

    def run(self) -> ChunkFile:
        """See `Task`."""
        timings = Timings()
        with timings.part("load"):
            generator = _load(self.spec, self.store)
        if bool(self.previous_key) is not (generator.chained and self.request.continues):
            raise GenerationError(
                "a chained generator's chunks need the one before, and no others do",
                got=f"{self.label} of {self.spec.name!r}, " + ("with one" if self.previous_key else "without"),
                cure="Report this: the plan and the generator do not fit each other.",
            )
        place = self._place(generator, timings)
        found, pixels, gpu_use = find(place), None, None
        if found.made:
            with timings.part("generate"):
                chunk = generator.generate(self.request, self._carry())
            for name, seconds in chunk.timings_s:
                timings.add_within("generate", name, seconds)
            if generator.chained and not self.request.is_last and chunk.carry is None:
                raise GenerationError(
                    "a chained generator hands a carry to the next chunk",
                    got=f"none from {self.label} of {self.spec.name!r}",
                    cure="Report this: it is an error of the generator.",
                )
            pixels, gpu_use = chunk.pixels, chunk.gpu_use
            carry = None if chunk.carry is None else chunk.carry.tensors
            place.keep(
                lambda path: save_latents(path, chunk.frames, chunk.latents, carry, chunk.notes),
                made_by=generator.fingerprint,
                sources={"portrait": self.request.portrait.sha256, **self._previous_source()},
            )
        file = self._file(place, found, gpu_use)
        if pixels is not None and self.clip is not None:
            clip = RenderClip(
                self.spec, self.request, file, self.clip, self.store, cache=self.cache, run_id=self.run_id
            )
            OF_THIS_WORKER.start(clip.label, lambda: clip.run_ahead(pixels))
        self._wait_if_last()
        return file

    def join(self, rank: Rank) -> None:
        """See `SplitTask`."""
        join_ranks(self.spec.name, rank)

    def find(self) -> ChunkFile | None:
        """See `SplitTask`."""
        timings = Timings()
        with timings.part("load"):
            generator = _load(self.spec, self.store)
        place = self._place(generator, timings)
        found = look(place)
        if found is None:
            return None
        self._wait_if_last()
        return self._file(place, found)

    def follow(self) -> None:
        """See `SplitTask`."""
        _load(self.spec, self.store).generate(self.request, self._carry())

    def _place(self, generator: Generator, timings: Timings) -> ChunkPlace:
        key = self.request.key(generator.fingerprint, self.previous_key)
        part = part_name(self.request.index, key, ".safetensors")
        return ChunkPlace(self.store, self.cache, LATENTS_ASSET, self.request.input_id, part, key, timings)

    def _file(self, place: ChunkPlace, found: Found, gpu_use: GpuUse | None = None) -> ChunkFile:
        with place.timings.part("look_up"):
            notes = load_notes(self.store.read_path(LATENTS_ASSET, self.request.input_id, place.part))
        return chunk_file(self.request, place, found, notes, gpu_use)

    def _wait_if_last(self) -> None:
        if self.request.is_last:
            OF_THIS_WORKER.wait()  # the worker may end with its last chunk

    def _carry(self) -> Carry | None:
        if not self.previous_key:
            return None
        part = part_name(self.request.index - 1, self.previous_key, ".safetensors")
        tensors = load_carry(self.store.read_path(LATENTS_ASSET, self.request.input_id, part))
        if not tensors:
            raise GenerationError(
                f"{part} must hold what the next chunk starts from",
                got="latents alone",
                cure="Delete the file and materialise chunk_latents for this partition again.",
            )
        return Carry(self.previous_key, tensors)

    def _previous_source(self) -> dict[str, str]:
        return {"previous": self.previous_key} if self.previous_key else {}


@dataclass(frozen=True)
class RenderClip:
    """Decode one chunk's latents to frames and encode them to one clip, with a visible label where there is one.

    Attributes:
        spec: what made the latents.
        request: of which chunk.
        latents: their file.
        encoding: how the clip is encoded.
        store: where it goes.
        counter: told about every frame.
        cache: where files of earlier runs and other inputs are kept, too.
        run_id: whose work this is.
    """

    spec: GeneratorSpec
    request: ChunkRequest
    latents: ChunkFile
    encoding: ClipEncoding
    store: ArtifactStore
    counter: FrameCounter | None = None
    cache: ChunkCache | None = None
    run_id: str = ""

    @property
    def label(self) -> str:
        """See `Task`."""
        return f"clip of chunk {self.request.index}"

    @property
    def n_frames(self) -> int:
        """How much work it is, beside others."""
        return len(self.request.frames)

    @property
    def key(self) -> str:
        """Hash of what the clip depends on: the latents and everything that changes their encoding."""
        encoding = encoding_of(self.encoding.video, self.encoding.encoder)
        label = {} if self.encoding.stamp is None else {"label": self.encoding.stamp.sha256}
        return content_key({"latents": self.latents.key, "encoding": encoding, "code": CLIP_CODE_VERSION, **label})

    def run(self) -> ChunkFile:
        """See `Task`; what this run did ahead counts as done here."""
        file = self._run(None)
        if file.made or file.cached or not self.run_id:
            return file
        return self._place(Timings()).told(self.run_id) or file

    def run_ahead(self, pixels: NDArray[np.uint8]) -> None:
        """`run` before its step, with the frames (n, height, width, 3) that the latents decode to."""
        file = self._run(pixels)
        if self.run_id and (file.made or file.cached):
            self._place(Timings()).tell(file, self.run_id)

    def is_made(self) -> bool:
        """Whether `run` would only find what is there."""
        part = part_name(self.request.index, self.key, ".mp4")
        return self.store.holds(CLIPS_ASSET, self.request.input_id, part, key=self.key)

    def _place(self, timings: Timings) -> ChunkPlace:
        part = part_name(self.request.index, self.key, ".mp4")
        return ChunkPlace(self.store, self.cache, CLIPS_ASSET, self.request.input_id, part, self.key, timings)

    def _run(self, pixels: NDArray[np.uint8] | None) -> ChunkFile:
        timings = Timings()
        place = self._place(timings)
        found = find(place)
        if found.made:
            with timings.part("load"):
                generator = _load(self.spec, self.store)
            if pixels is None:
                with timings.part("look_up"):
                    latents_path = self.store.read_path(LATENTS_ASSET, self.request.input_id, self.latents.part)
                    frames, latents = load_latents(latents_path)
                decoded = timings.each("decode", iter(generator.decode(self.request, GeneratedChunk(frames, latents))))
            else:
                decoded = iter([FrameBatch(pixels, self.request.fps, self.request.frames.start_frame)])
            batches = stamped(decoded, self.encoding.stamp)
            with nullcontext() if self.counter is None else self.counter.counting() as on_frame:

                def write(path: Path) -> None:
                    with timings.part("encode"):
                        self.encoding.encode(path, batches, self.request, on_frame)

                place.keep(
                    write,
                    made_by=generator.fingerprint,
                    sources={LATENTS_ASSET: self.latents.key, ENCODER_SOURCE: self.encoding.encoder},
                )
        elif self.counter is not None:
            self.counter.fill(len(self.request.frames))
        return chunk_file(self.request, place, found, self.latents.notes)


def _load(spec: GeneratorSpec, store: ArtifactStore) -> Generator:
    """The generator; one for GPUs notes beside the artifacts what it takes of them."""
    generator = load_generator(spec)
    if isinstance(generator, UsesGpu):
        generator.keep_needs_in(store.root / NEEDS_FOLDER)
    return generator


def gpu_fit(spec: GeneratorSpec, requests: Sequence[ChunkRequest], store: ArtifactStore, n_gpus: int) -> Fit | None:
    """How chunks would be made on a GPU, each by so many; None where the generator takes any, or none."""
    generator: object = _load(spec, store) if n_gpus else None
    if not isinstance(generator, UsesGpu):
        return None
    return partial(generator.fit, tuple(requests), n_gpus)


@dataclass(frozen=True)
class WarmUp:
    """What a new worker does first: load this module and the generator's code, so that no chunk waits for them.

    What one worker loads alone is not loaded here, where it would take memory in all of them.
    """

    generator: str

    def __call__(self) -> None:
        """Import; an unknown name is left to the first chunk to refuse."""
        if self.generator in generator_names() and not generator_profile(self.generator).ONE_WORKER:
            import_generator(self.generator)
