"""The portrait generator: coefficients as latents, a warped portrait as frames.

Belongs here: the protocol's two methods, the fingerprint, face models kept between the chunks of one portrait.
Does not belong here: motion, drawing (renderer), the registry.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.framed_portrait import read_portrait
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENTS, FaceMotion
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import FrameBatch

CODE_VERSION = "portrait 5"
"""Raised whenever the same request would give other pixels."""

MOTION = "motion"
"""Name of the only latent: (frames, coefficients) float32."""

MAX_BATCH_FRAMES = 25
MAX_BATCH_BYTES = 64_000_000
CACHED_MODELS = 2  # the present portrait and the one before; a model of a 512 x 512 portrait holds about 20 MB


class RendererCache:
    """Renderers of the portraits used last, by SHA-256 and size; safe for several threads.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int = CACHED_MODELS) -> None:
        self._size = size
        self._kept: OrderedDict[str, Renderer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Renderer | None:
        """The renderer kept under `key`."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, renderer: Renderer) -> None:
        """Keep a renderer; the one unused for longest goes."""
        with self._lock:
            self._kept[key] = renderer
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)


class PortraitGenerator:
    """Implements `generation.protocol.Generator` on the CPU.

    Args:
        face_model_path: another copy of face_landmarker.task; None takes the packaged one.
        cache: of renderers; None makes one of its own.

    Raises:
        ArtifactError: the face model is missing, damaged or another model.
    """

    def __init__(self, face_model_path: Path | None = None, *, cache: RendererCache | None = None) -> None:
        self._landmarker = FaceLandmarker(face_model_path)
        self._landmarker_lock = threading.Lock()
        self._cache = cache or RendererCache()

    @property
    def fingerprint(self) -> str:
        """Code version and a hash of the face model and the coefficients' table."""
        depends_on = {
            "coefficients": [[c.name, c.least, c.most] for c in COEFFICIENTS],
            "face_model": self._landmarker.model_sha256,
        }
        return f"{CODE_VERSION} {content_key(depends_on)}"

    @property
    def chained(self) -> bool:
        """Chunks are independent."""
        return False

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        """Coefficients of the request's frames.

        Raises:
            GenerationError: a carry was given, which this generator has no use for.
        """
        if carry is not None:
            raise GenerationError(
                "portrait chunks are independent",
                got=f"the carry {carry.key[:12]}…",
                cure="Generate the chunk without a carry.",
            )
        motion = make_motion(request)
        return GeneratedChunk(motion.frames, {MOTION: motion.values})

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        """Frames of the chunk, at most 25 and less than 64 MB a batch.

        Raises:
            GenerationError: latents that do not fit the request, a portrait that is missing or has other bytes or
                another size than the request says.
            FaceError: the portrait shows no face that can be moved.
        """
        motion = _motion_of(request, chunk)
        renderer = self._renderer_of(request)
        frame_bytes = request.width_px * request.height_px * 3
        batch_frames = max(1, min(MAX_BATCH_FRAMES, (MAX_BATCH_BYTES - 1) // frame_bytes))
        for first in range(0, len(motion.frames), batch_frames):
            rows = motion.values[first : first + batch_frames]
            pixels = np.empty((len(rows), request.height_px, request.width_px, 3), np.uint8)
            for index, row in enumerate(rows):
                renderer.render(row, pixels[index])
            yield FrameBatch(pixels, request.fps, motion.frames.start_frame + first)

    def _renderer_of(self, request: ChunkRequest) -> Renderer:
        key = f"{request.portrait.sha256} {request.width_px}x{request.height_px}"
        renderer = self._cache.get(key)
        if renderer is None:
            pixels = read_portrait(request)
            with self._landmarker_lock:
                model = FaceModel.from_portrait(pixels, self._landmarker)
            renderer = Renderer(model)
            self._cache.put(key, renderer)
        return renderer


def make_generator(spec: GeneratorSpec) -> PortraitGenerator:
    """What the registry calls."""
    return PortraitGenerator(spec.face_model_path)


def _motion_of(request: ChunkRequest, chunk: GeneratedChunk) -> FaceMotion:
    cure = "Materialise chunk_latents for this partition again."
    if chunk.frames != request.frames or set(chunk.latents) != {MOTION}:
        raise GenerationError(
            f"portrait latents are {MOTION!r} for frames {request.frames}",
            got=f"{sorted(chunk.latents)} for {chunk.frames}",
            cure=cure,
        )
    try:
        return FaceMotion(chunk.frames, np.array(chunk.latents[MOTION]))
    except ValueError as error:
        raise GenerationError("portrait latents must be face motion", got=str(error), cure=cure) from error
