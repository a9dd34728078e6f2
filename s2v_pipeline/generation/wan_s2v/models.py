"""The models of one checkpoint in one process: loaded when first needed, kept between chunks.

Belongs here: what is loaded when and stays where; prompts and portraits that chunks of one video share.
Does not belong here: how a model is loaded (loading), what fits (memory), making clips (pipeline).
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from typing import Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2v_pipeline.chunks.manifest import GpuUse
from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.gpu_needs import GIB
from s2v_pipeline.generation.wan_s2v.checkpoint import Checkpoint, TransformerConfig
from s2v_pipeline.generation.wan_s2v.clips_of_video import VideoTerms, decode_clip
from s2v_pipeline.generation.wan_s2v.device_memory import read_memory, start_peak, usable_memory
from s2v_pipeline.generation.wan_s2v.loading import (
    DTYPES,
    choose_device,
    load_text_encoder,
    load_transformer,
    load_vae,
)
from s2v_pipeline.generation.wan_s2v.memory import Demand, MemoryPlan, Offload, plan_memory
from s2v_pipeline.generation.wan_s2v.noted_needs import NotedNeeds
from s2v_pipeline.generation.wan_s2v.pipeline import WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.ranks import WHOLE, Division, joined_ranks
from s2v_pipeline.generation.wan_s2v.shards import read_header
from s2v_pipeline.generation.wan_s2v.speech_encoder import SpeechEncoder, load_speech_encoder
from s2v_pipeline.generation.wan_s2v.text_encoder import WanTextEncoder
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae
from s2v_pipeline.setting_groups import WanSettings

_log = logging.getLogger(__name__)

_KEPT_EMBEDDINGS = 16  # prompts, 4 MB each at most
_LATENT_FRAMES_OF_WHOLE_CLIP = 20


class LoadedModels:
    """Models of a checkpoint; not for several threads at once.

    Args:
        settings: of the generator.
        checkpoint, config: where the weights lie, and of which transformer.
        needs: what was measured before; None for estimates alone.
    """

    def __init__(
        self,
        settings: WanSettings,
        checkpoint: Checkpoint,
        config: TransformerConfig,
        needs: NotedNeeds | None = None,
    ) -> None:
        self._needs = needs if needs is not None else NotedNeeds({})
        self._planned: tuple[Demand, MemoryPlan] | None = None
        self._settings = settings
        self._checkpoint = checkpoint
        self._config = config
        self._transformer: WanS2VTransformer3DModel | None = None
        self._offload: Offload | None = None
        self._vae: WanVae | None = None
        self._tiling: Tiling | None = None
        self._speech: SpeechEncoder | None = None
        self._text: WanTextEncoder | None = None
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        # Terms of one video alone: with guidance they hold 0.8 GB at 14B.
        self._terms: tuple[tuple[str, ...], VideoTerms] | None = None

    def pipeline_for(self, width_px: int, height_px: int, latent_frames: int) -> WanSpeechToVideoPipeline:
        """The pipeline, ready for clips of a size.

        Raises:
            WeightsError: weights that are damaged, or do not fit the device.
            SettingsError: no such device.
        """
        plan = self._plan_and_watch(width_px, height_px, latent_frames)
        if self._transformer is None or self._offload != plan.offload:
            self._check_free(plan)
            _log.info("%s", _described(plan))
            # What lies on the device by the old plan goes first: two transformers do not fit.
            self._transformer, self._terms, self._text, self._speech = None, None, None, None
            self._transformer = load_transformer(
                self._checkpoint, self._config, self._settings, self._device(), offload=plan.offload
            )
            self._offload = plan.offload
        division = self._division()
        self._transformer.peers = division.sequence
        return WanSpeechToVideoPipeline(
            self._transformer,
            self._load_vae(plan),
            speech_encoder=self.speech_encoder(),
            tiling=self._tiling,
            division=division,
        )

    def vae_for(self, width_px: int, height_px: int, latent_frames: int) -> None:
        """Make `decode` and `encode` ready for clips of a size, by the same plan as `pipeline_for`."""
        self._load_vae(self._plan_and_watch(width_px, height_px, latent_frames))

    def decode(self, context: Tensor, latents: Tensor, *, by_all_ranks: bool = False) -> Tensor:
        """Frames (3, n, height, width) of latents after their context; after `vae_for` or `pipeline_for`."""
        assert self._vae is not None  # noqa: S101 (said above)
        peers = self._division().rows if by_all_ranks else None
        return decode_clip(self._vae, context, latents, self._tiling, peers)

    def encode(self, pixels: Tensor, *, by_all_ranks: bool = False) -> Tensor:
        """Latents of frames; after `vae_for` or `pipeline_for`."""
        assert self._vae is not None  # noqa: S101 (said above)
        peers = self._division().rows if by_all_ranks else None
        return self._vae.encode(pixels.to(self._vae.device), tiling=self._tiling, peers=peers)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for want of memory and changes pixels."""
        if self._tiling is None or self._settings.vae_tiling == "on":
            return ()
        return ("approximation: the VAE works in tiles, as whole frames do not fit the GPU",)

    def speech_encoder(self) -> SpeechEncoder:
        """wav2vec2; on the CPU where the GPU is too small for the transformer's layers."""
        if self._speech is None:
            device = torch.device("cpu") if self._offload == "layers" else self._device()
            self._speech = load_speech_encoder(self._checkpoint.speech_encoder, device=device)
        return self._speech

    def video_terms(
        self,
        pipeline: WanSpeechToVideoPipeline,
        portrait: NDArray[np.uint8],
        portrait_sha256: str,
        prompt: str,
        negative: str | None,
    ) -> VideoTerms:
        """What all chunks of a video share; kept until another video comes."""
        key = (portrait_sha256, str(portrait.shape), prompt, repr(negative))
        if self._terms is None or self._terms[0] != key:
            self._terms = None
            embedded = [self._embedded(text) for text in (prompt, negative) if text is not None]
            self._release_text_encoder()
            terms = pipeline.video_terms(portrait, embedded[0], embedded[1] if negative is not None else None)
            self._terms = (key, terms)
        return self._terms[1]

    def _embedded(self, text: str) -> Tensor:
        if text not in self._embeddings:
            if self._text is None:
                device = self._device() if self._offload == "none" else torch.device("cpu")
                self._text = load_text_encoder(self._checkpoint, self._settings, device)
            self._embeddings[text] = self._text.encode(text).cpu()
            while len(self._embeddings) > _KEPT_EMBEDDINGS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(text)
        return self._embeddings[text]

    def _release_text_encoder(self) -> None:
        """Prompts of a video are encoded once: unless there is room for all, the 11 GB go."""
        if self._text is not None and self._offload != "none":
            self._text.release()
            self._text = None

    def _load_vae(self, plan: MemoryPlan) -> WanVae:
        self._tiling = Tiling() if plan.is_tiled else None
        for note in self.notes:
            _log.warning("%s", note)
        if self._vae is None:
            self._vae = load_vae(self._checkpoint, self._settings, self._device())
        return self._vae

    def _division(self) -> Division:
        """How this process shares a chunk's work; every rank comes to the same one."""
        ranks = joined_ranks()
        if ranks is None:
            return WHOLE
        is_guided = self._settings.guidance > 1
        return ranks.division(self._settings.split, is_guided=is_guided, n_heads=self._config.num_heads)

    def _device(self) -> torch.device:
        return choose_device(self._settings.device)

    def plan_on(self, gpu: str, total_bytes: int, n_ranks: int, demand: Demand) -> MemoryPlan:
        """How a demand is met on a GPU of a name and memory, by each of so many processes.

        Raises:
            WeightsError: nothing that the settings allow fits.
        """
        noted = self._needs.on(demand, n_ranks, gpu)
        return plan_memory(
            demand, total_bytes, offload=self._settings.offload, tiling=self._settings.vae_tiling, noted=noted
        )

    def demand(self, width_px: int, height_px: int, latent_frames: int, device_type: str) -> Demand:
        """What clips of a size ask of a device."""
        return Demand(
            config=self._config,
            width_px=width_px,
            height_px=height_px,
            # The plan of a whole clip also for a shorter last one: nothing is loaded anew in the middle of a video.
            latent_frames=max(latent_frames, _LATENT_FRAMES_OF_WHOLE_CLIP),
            fp8=self._settings.fp8,
            float32=self._settings.precision == "float32",
            is_compiled=self._settings.compile and device_type == "cuda",
            is_guided=self._settings.guidance > 1,
            text_encoder_bytes=_text_encoder_values(self._checkpoint) * DTYPES[self._settings.precision].itemsize,
        )

    def took(self, s_per_frame: float) -> GpuUse | None:
        """Note what the chunk took that was made since `pipeline_for`; None without a GPU."""
        device = self._device()
        if device.type == "cpu" or self._planned is None:
            return None
        return self._needs.took(self._planned[0], _n_ranks(), self._planned[1], read_memory(device), s_per_frame)

    def ran_out(self) -> None:
        """Note that memory was not enough for what `pipeline_for` or `vae_for` chose."""
        if self._planned is not None:
            self._needs.ran_out(self._planned[0], _n_ranks(), self._planned[1], read_memory(self._device()))

    def _plan_and_watch(self, width_px: int, height_px: int, latent_frames: int) -> MemoryPlan:
        device = self._device()
        demand = self.demand(width_px, height_px, latent_frames, device.type)
        plan = self._plan(demand, device)
        if device.type == "cuda":
            is_new = self._planned is not None and self._planned[0] != demand
            start_peak(device, lets_go=is_new)
        self._planned = demand, plan
        return plan

    def _plan(self, demand: Demand, device: torch.device) -> MemoryPlan:
        if device.type == "cpu":
            offload = "none" if self._settings.offload == "auto" else self._settings.offload
            return plan_memory(
                demand, psutil.virtual_memory().total, offload=offload, tiling=_off_unless_on(self._settings)
            )
        # All of the device, so that every process of a run comes to the same plan and tiles make the same pixels.
        return self.plan_on(*usable_memory(device), _n_ranks(), demand)

    def _check_free(self, plan: MemoryPlan) -> None:
        """Refuse now what would run out of memory after an hour."""
        device = self._device()
        if device.type == "cpu":
            free = psutil.virtual_memory().available
        else:
            free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        # What is measured holds CUDA's share, which is not free any more, and what the allocator could do without.
        needed = plan.n_bytes if plan.measured_bytes is None else min(plan.held_bytes, plan.estimated_bytes)
        if needed > free:
            raise WeightsError(
                f"the {device.type} device must have {needed / GIB:.1f} GiB free for wan_s2v",
                got=f"{free / GIB:.1f} GiB free of {plan.available_bytes / GIB:.1f}",
                cure="End the other processes that use it, or choose a smaller size.",
            )


def _off_unless_on(settings: WanSettings) -> Literal["on", "off"]:
    return "on" if settings.vae_tiling == "on" else "off"


def _text_encoder_values(checkpoint: Checkpoint) -> int:
    """Number of weights, without reading them; the Diffusers layout is found stored in more than one type."""
    part = checkpoint.text_encoder
    if not part.is_dir():
        return part.stat().st_size // torch.bfloat16.itemsize  # as the official file's name says
    return sum(math.prod(each.shape) for path in part.glob("*.safetensors") for each in read_header(path))


def _n_ranks() -> int:
    ranks = joined_ranks()
    return 1 if ranks is None else ranks.rank.n_ranks


def _described(plan: MemoryPlan) -> str:
    by = f"estimated {plan.estimated_bytes / GIB:.1f}"
    if plan.measured_bytes is not None:
        by = f"measured {plan.measured_bytes / GIB:.1f}, {by}"
    return (
        f"memory: {plan.n_bytes / GIB:.1f} GiB of {plan.available_bytes / GIB:.1f} GiB expected ({by}), offload "
        f"{plan.offload}, VAE {'in tiles' if plan.is_tiled else 'whole'}"
    )
