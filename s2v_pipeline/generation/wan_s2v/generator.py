"""The generator `wan_s2v`: VAE latents as a chunk's latents, each chunk continuing the one before.

Belongs here: the protocol's two methods, the fingerprint, models and prompts kept between chunks.
Does not belong here: what a request must hold (requests), how a clip is made (pipeline, clips_of_video), loading, which
chunks there are (profile).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import GenerationError, WeightsError
from s2v_pipeline.generation.framed_portrait import read_portrait
from s2v_pipeline.generation.gpu_needs import GpuFit
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint, read_transformer_config
from s2v_pipeline.generation.wan_s2v.clips_of_video import MOTION_FRAMES, continued_motion, frames_from_pixels
from s2v_pipeline.generation.wan_s2v.clock import tail_frames
from s2v_pipeline.generation.wan_s2v.device_memory import memory_suffices
from s2v_pipeline.generation.wan_s2v.fingerprints import file_fingerprint, weights_fingerprint
from s2v_pipeline.generation.wan_s2v.loading import parse_loras, weights_folder
from s2v_pipeline.generation.wan_s2v.models import LoadedModels
from s2v_pipeline.generation.wan_s2v.noted_needs import NotedNeeds
from s2v_pipeline.generation.wan_s2v.pipeline import NEGATIVE_PROMPT
from s2v_pipeline.generation.wan_s2v.profile import FIRST_FRAMES_DROPPED, FPS
from s2v_pipeline.generation.wan_s2v.ranks import join_ranks
from s2v_pipeline.generation.wan_s2v.requests import (
    CONTEXT,
    LATENT_FRAMES,
    MOTION,
    VIDEO,
    check_chunk,
    check_request,
    dropped_frames,
    generated_frames,
)
from s2v_pipeline.generation.wan_s2v.sampling import Sampling, make_noise
from s2v_pipeline.generation.wan_s2v.speech_features import features_for_frames, normalise
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import WanSettings

__all__ = ["CONTEXT", "MOTION", "VIDEO", "WanGenerator", "join_ranks", "make_generator"]

_log = logging.getLogger(__name__)

CODE_VERSION = "wan_s2v 1"
"""Raised whenever the same request would give other pixels."""

_LOADING = "models and prompt"
_MAX_BATCH_BYTES = 60_000_000
_SEED_BITS = 63  # torch's generators take signed 64-bit seeds
_TAIL_FRAMES = tail_frames("aligned")
# Settings that change no pixel beyond rounding, and those that the fingerprint holds in another form.
_NOT_IN_FINGERPRINT = {"weights", "loras", "device", "offload", "compile", "attention", "split"}


class WanGenerator:
    """Implements `generation.protocol.Generator`; cheap to make: models are loaded for the first chunk.

    Args:
        settings: of the model.

    Raises:
        WeightsError: no weights are named, or files are missing.
    """

    def __init__(self, settings: WanSettings) -> None:
        self._settings = settings
        self._checkpoint = find_checkpoint(weights_folder(settings))
        self._config = read_transformer_config(self._checkpoint.transformer_config)
        depends_on = settings.model_dump(include={"attention", "split", "steps", "step_cache"})
        self._needs = NotedNeeds({**depends_on, "code": f"{CODE_VERSION} {torch.__version__}"})
        self._models = LoadedModels(settings, self._checkpoint, self._config, self._needs)
        self._sampling = Sampling(
            steps=settings.steps,
            solver=settings.solver,
            shift=settings.shift,
            guidance=settings.guidance,
            step_cache=settings.step_cache,
        )
        self._fingerprint: str | None = None
        # A GPU makes one clip at a time; where layers are streamed, two at once would be wrong.
        self._at_work = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Code version and a hash of the settings, the checkpoint's files and the LoRAs."""
        if self._fingerprint is None:
            depends_on = {
                "settings": self._settings.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
                "weights": weights_fingerprint(self._checkpoint),
                "loras": [[file_fingerprint(each.path), each.strength] for each in parse_loras(self._settings.loras)],
            }
            self._fingerprint = f"{CODE_VERSION} {content_key(depends_on)}"
        return self._fingerprint

    @property
    def chained(self) -> bool:
        """Each chunk continues the last frames of the one before."""
        return True

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        """Latents of the request's frames, and the motion latents of the next chunk.

        Raises:
            GenerationError: a request of another frame rate, without sound, or without its carry.
            WeightsError: the model is damaged or does not fit the GPU.
        """
        check_request(request, carry)
        with self._at_work, memory_suffices(self._models.ran_out):
            parts = _Parts()
            # 1. models, portrait and prompts
            n_generated = generated_frames(request)
            pipeline = self._models.pipeline_for(request.width_px, request.height_px, n_generated // LATENT_FRAMES)
            video = self._models.video_terms(
                pipeline,
                read_portrait(request),
                request.portrait.sha256,
                request.prompt,
                self._negative_prompt() if self._sampling.is_guided else None,
            )
            parts.end(_LOADING)
            # 2. noise, sound, what it continues
            noise = make_noise(
                request.seed >> (64 - _SEED_BITS),
                latent_frames=n_generated // LATENT_FRAMES,
                height_px=request.height_px,
                width_px=request.width_px,
            )
            features = self._features(request, n_generated)
            motion = None if carry is None else _latents(carry.tensors[MOTION])
            parts.end("speech features")
            # 3. denoise
            latents = pipeline.sample(
                video,
                features,
                noise,
                motion=motion,
                sampling=self._sampling,
                on_step=_StepLog(request.input_id, request.index),
            )
            context = video.reference if motion is None else motion
            parts.end("denoise")
            # 4. frames, and what the next chunk continues
            pixels = self._models.decode(context, latents, by_all_ranks=True)
            shown = pixels[:, dropped_frames(request) :][:, : len(request.frames)]
            parts.end("decode")
            next_carry = None
            if not request.is_last:
                to_continue = continued_motion(None, shown, motion_frames=MOTION_FRAMES)
                next_motion = self._models.encode(to_continue, by_all_ranks=True)
                key = request.key(self.fingerprint, "" if carry is None else carry.key)
                next_carry = Carry(key, {MOTION: _array(next_motion)})
                parts.end("encode what the next chunk continues")
            work_s = sum(seconds for part, seconds in parts.seconds_s if part != _LOADING)
            gpu_use = self._models.took(work_s / n_generated)
        return GeneratedChunk(
            request.frames,
            {VIDEO: _array(latents), CONTEXT: _array(context)},
            next_carry,
            self._models.notes,
            parts.seconds_s,
            frames_from_pixels(shown),
            gpu_use,
        )

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        """The chunk's frames.

        Raises:
            GenerationError: the latents do not fit the request.
        """
        check_chunk(request, chunk)
        with self._at_work, memory_suffices(self._models.ran_out):
            n_latents = generated_frames(request) // LATENT_FRAMES
            self._models.vae_for(request.width_px, request.height_px, n_latents)
            pixels = self._models.decode(_latents(chunk.latents[CONTEXT]), _latents(chunk.latents[VIDEO]))
            shown = frames_from_pixels(pixels[:, dropped_frames(request) :][:, : len(request.frames)])
        n_batch = max(1, _MAX_BATCH_BYTES // shown[0].nbytes)
        for start in range(0, len(shown), n_batch):
            yield FrameBatch(shown[start : start + n_batch].copy(), request.fps, request.frames.start_frame + start)

    def keep_needs_in(self, folder: Path) -> None:
        """See `UsesGpu`."""
        self._needs.keep_in(folder)

    def fit(self, requests: Sequence[ChunkRequest], n_ranks: int, gpu: str, total_bytes: int) -> GpuFit | None:
        """See `UsesGpu`: level 1 streams layers, 2 works in tiles, 3 does both."""
        longest = max(requests, key=generated_frames)
        demand = self._models.demand(
            longest.width_px, longest.height_px, generated_frames(longest) // LATENT_FRAMES, "cuda"
        )
        try:
            plan = self._models.plan_on(gpu, total_bytes, n_ranks, demand)
        except WeightsError:
            return None
        # The text encoder on the CPU costs seconds a video, which is nothing to choose a host by.
        level = (plan.offload == "layers") + 2 * plan.is_tiled
        s_per_frame = self._needs.s_per_frame(demand, n_ranks, gpu, plan.way)
        return GpuFit(level, plan.way, plan.n_bytes, plan.measured_bytes is not None, s_per_frame)

    def _negative_prompt(self) -> str:
        chosen = self._settings.negative_prompt
        return NEGATIVE_PROMPT if chosen is None else chosen

    def _features(self, request: ChunkRequest, n_generated: int) -> Tensor:
        """Speech features of the generated frames; those before the segment's start hear silence."""
        sound = request.sound
        assert sound is not None  # noqa: S101 (`check_request` refuses a request without it)
        samples = normalise(torch.from_numpy(np.array(sound.samples)), 0.0, sound.level_rms)
        window_start_frame = Fraction(sound.first_sample, sound.rate_hz) * FPS
        if window_start_frame.denominator != 1:
            raise GenerationError(
                "a chunk's sound must begin with a video frame",
                got=f"sample {sound.first_sample} at {sound.rate_hz} Hz",
                cure="Report this: the plan and the generator do not fit each other.",
            )
        # Where the window begins with the segment, silence stands before it: the first frames dropped belong there.
        begins = window_start_frame == request.segment_start_frame
        lead = FIRST_FRAMES_DROPPED if begins else 0
        first = request.frames.start_frame - dropped_frames(request) - int(window_start_frame) + lead
        return features_for_frames(
            self._models.speech_encoder(),
            samples,
            first_frame=first,
            n_frames=n_generated,
            fps=FPS,
            lead_frames=lead,
            tail_frames=_TAIL_FRAMES,
        )


class _Parts:
    """Seconds of the parts of a chunk; the GPU's work is waited for at the end of each."""

    def __init__(self) -> None:
        self._began_at = time.perf_counter()
        self.seconds_s: tuple[tuple[str, float], ...] = ()

    def end(self, part: str) -> None:
        """A part ends, the next one begins."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds_s += ((part, now - self._began_at),)
        self._began_at = now


def make_generator(spec: GeneratorSpec) -> WanGenerator:
    """The generator of a spec.

    Raises:
        WeightsError: see `WanGenerator`.
    """
    return WanGenerator(spec.wan if spec.wan is not None else WanSettings())


def _latents(array: NDArray[np.generic]) -> Tensor:
    """(latents, 16, h, w) -> (16, latents, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(array)).transpose(0, 1).contiguous()


def _array(latents: Tensor) -> NDArray[np.float32]:
    """(16, latents, h, w) -> (latents, 16, h, w) float32."""
    return np.ascontiguousarray(latents.float().transpose(0, 1).cpu().numpy())


class _StepLog:
    """Says how far a chunk is, at every tenth of its steps."""

    def __init__(self, input_id: str, index: int) -> None:
        self._what = f"{input_id} chunk {index}"

    def __call__(self, n_done: int, n_total: int) -> None:
        if n_done * 10 // n_total != (n_done - 1) * 10 // n_total:
            _log.info("%s: step %d of %d", self._what, n_done, n_total)
