"""What workers do: make a chunk's latents, render a chunk's clip. A file that is there already is not made again.

Belongs here: look up, make, store, report; one task a chunk.
Does not belong here: where files are looked for and kept (chunk_place), how latents or clips are made (generation,
clips), who runs the task (executor).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.chunks.latents import load_carry, load_latents, load_notes, save_latents
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.encoders import ENCODER_SOURCE, SOFTWARE, encoding_of
from s2v_pipeline.clips.label import Stamp, stamped
from s2v_pipeline.cluster.chunk_place import ChunkPlace
from s2v_pipeline.cluster.frame_counter import FrameCounter
from s2v_pipeline.cluster.timings import Timings
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.registry import generator_names, generator_profile, import_generator, load_generator
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.gpus import gpus_of_this_process
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings

_log = logging.getLogger(__name__)

LATENTS_ASSET = "chunk_latents"
CLIPS_ASSET = "rendered_clips"
CLIP_CODE_VERSION = "1"
"""Raised when encoding changes a clip's bytes for the same latents and settings."""
_KEY_LETTERS_IN_NAME = 16  # 64 bits: enough that two keys of one input never share a file name


@dataclass(frozen=True)
class GenerateChunk:
    """Make one chunk's latents and store them, with what the next chunk starts from.

    Attributes:
        spec: what makes them.
        request: of which chunk.
        store: where they go.
        previous_key: key of the chunk before it, of which the store holds the carry; "" for independent chunks and for
            the first of a chain.
        cache: where files of earlier runs and other inputs are kept, too.
    """

    spec: GeneratorSpec
    request: ChunkRequest
    store: ArtifactStore
    previous_key: str = ""
    cache: ChunkCache | None = None

    @property
    def label(self) -> str:
        """See `Task`."""
        return f"latents of chunk {self.request.index}"

    def run(self) -> ChunkFile:
        """See `Task`."""
        timings = Timings()
        with timings.part("load"):
            generator = load_generator(self.spec)
        if bool(self.previous_key) is not (generator.chained and self.request.index > 0):
            raise GenerationError(
                "a chained generator's chunks need the one before, and no others do",
                got=f"{self.label} of {self.spec.name!r}, " + ("with one" if self.previous_key else "without"),
                cure="Report this: the plan and the generator do not fit each other.",
            )
        key = self.request.key(generator.fingerprint, self.previous_key)
        part = _part_name(self.request.index, key, ".safetensors")
        place = ChunkPlace(self.store, self.cache, LATENTS_ASSET, self.request.input_id, part, key, timings)
        found = _find(place)
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
            carry = None if chunk.carry is None else chunk.carry.tensors
            place.keep(
                lambda path: save_latents(path, chunk.frames, chunk.latents, carry, chunk.notes),
                made_by=generator.fingerprint,
                sources={"portrait": self.request.portrait.sha256, **self._previous_source()},
            )
        with timings.part("look_up"):
            notes = load_notes(self.store.read_path(LATENTS_ASSET, self.request.input_id, part))
        return _chunk_file(self.request, place, found, notes)

    def _carry(self) -> Carry | None:
        if not self.previous_key:
            return None
        part = _part_name(self.request.index - 1, self.previous_key, ".safetensors")
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
        video: how the clip is encoded.
        store: where it goes.
        encoder: FFmpeg's name of the encoder, the same for all clips of a video.
        counter: told about every frame.
        stamp: the label.
        cache: where files of earlier runs and other inputs are kept, too.
    """

    spec: GeneratorSpec
    request: ChunkRequest
    latents: ChunkFile
    video: VideoSettings
    store: ArtifactStore
    encoder: str = SOFTWARE["h264"]
    counter: FrameCounter | None = None
    stamp: Stamp | None = None
    cache: ChunkCache | None = None

    @property
    def label(self) -> str:
        """See `Task`."""
        return f"clip of chunk {self.request.index}"

    @property
    def key(self) -> str:
        """Hash of what the clip depends on: the latents and everything that changes their encoding."""
        encoding = encoding_of(self.video, self.encoder)
        label = {} if self.stamp is None else {"label": self.stamp.sha256}
        return content_key({"latents": self.latents.key, "encoding": encoding, "code": CLIP_CODE_VERSION, **label})

    def run(self) -> ChunkFile:
        """See `Task`."""
        timings, key = Timings(), self.key
        part = _part_name(self.request.index, key, ".mp4")
        place = ChunkPlace(self.store, self.cache, CLIPS_ASSET, self.request.input_id, part, key, timings)
        found = _find(place)
        if found.made:
            with timings.part("load"):
                generator = load_generator(self.spec)
            with timings.part("look_up"):
                latents_path = self.store.read_path(LATENTS_ASSET, self.request.input_id, self.latents.part)
                frames, latents = load_latents(latents_path)
            decoded = timings.each("decode", iter(generator.decode(self.request, GeneratedChunk(frames, latents))))
            batches = stamped(decoded, self.stamp)
            with nullcontext() if self.counter is None else self.counter.counting() as on_frame:

                def write(path: Path) -> None:
                    with timings.part("encode"):
                        _encode(path, batches, self.request, self.video, self.encoder, on_frame)

                place.keep(
                    write,
                    made_by=generator.fingerprint,
                    sources={LATENTS_ASSET: self.latents.key, ENCODER_SOURCE: self.encoder},
                )
        elif self.counter is not None:
            self.counter.fill(len(self.request.frames))
        return _chunk_file(self.request, place, found, self.latents.notes)


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


def _encode(
    path: Path,
    batches: Iterator[FrameBatch],
    request: ChunkRequest,
    video: VideoSettings,
    encoder: str,
    on_frame: Callable[[], None] | None,
) -> None:
    encode_clip(
        batches,
        path,
        frames=request.frames,
        fps=request.fps,
        width_px=request.width_px,
        height_px=request.height_px,
        settings=video,
        encoder=encoder,
        on_frame=on_frame,
    )


def _part_name(index: int, key: str, suffix: str) -> str:
    return f"{index:05d}-{key[:_KEY_LETTERS_IN_NAME]}{suffix}"


@dataclass(frozen=True)
class _Found:
    """Whether a chunk's file must be made or came from the cache, and tries before this one."""

    made: bool
    cached: bool = False
    retries: int = 0


def _find(place: ChunkPlace) -> _Found:
    if place.holds():
        return _Found(made=False)
    if place.fetch():
        return _Found(made=False, cached=True)
    return _Found(made=True, retries=place.begin())


def _chunk_file(request: ChunkRequest, place: ChunkPlace, found: _Found, notes: tuple[str, ...]) -> ChunkFile:
    return ChunkFile(
        index=request.index,
        frames=request.frames,
        part=place.part,
        key=place.key,
        made=found.made,
        seconds_s=round(place.timings.total_s, 3),
        notes=(*notes, *(note for note in place.notes if note not in notes)),
        worker=f"{socket.gethostname()}:{os.getpid()}",
        cached=found.cached,
        retries=found.retries,
        timings_s=place.timings.values(),
        gpus=gpus_of_this_process() if found.made else (),
    )
