"""Portrait, speech and prompt to a talking video: the pipeline as diffusers' users know it.

Belongs here: the whole video in one process, clip after clip, and the comparison with the official code.
Does not belong here: chunks, files and the cluster (the asset graph makes clips through `generator`), weights
(loading), one clip's parts (clips_of_video, sampling).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.clips_of_video import (
    MOTION_FRAMES,
    VideoTerms,
    continued_motion,
    decode_clip,
    encode_portrait,
    encode_pose,
    frames_from_pixels,
    motion_from_portrait,
    no_motion,
    pose_of_clip,
)
from s2v_pipeline.generation.wan_s2v.clock import CLIP_FRAMES, ClipSpan, Clock, lead_frames
from s2v_pipeline.generation.wan_s2v.ranks import WHOLE, Division
from s2v_pipeline.generation.wan_s2v.sampling import Branch, Sampling, make_noise, sample_clip
from s2v_pipeline.generation.wan_s2v.speech_features import SpeechEncoder
from s2v_pipeline.generation.wan_s2v.text_encoder import WanTextEncoder
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae
from s2v_pipeline.generation.wan_s2v.video_plan import plan_video
from s2v_pipeline.inputs.picture_size import official_size, resize_and_crop
from s2v_pipeline.media import Waveform

MAX_AREA_PX = 832 * 480  # of the preset `high`; wan/configs/__init__.py: MAX_AREA_CONFIGS

NEGATIVE_PROMPT = (
    "画面模糊，最差质量，画面模糊，细节模糊不清，情绪激动剧烈，手快速抖动，字幕，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
"""wan/configs/wan_s2v_14B.py: sample_neg_prompt; what the model was trained to be steered away from."""

OnClipStep = Callable[[int, int, int, int], bool | None]
"""Called with (clip, clips, steps done, steps) after each step; False cancels."""


@dataclass(frozen=True, eq=False)
class VideoClip:
    """Frames of one clip.

    Attributes:
        span: which frames of the video they are, and how they were made.
        pixels: (3, frames, height, width) float32 in -1..1, the shown ones alone, on the pipeline's device.
    """

    span: ClipSpan
    pixels: Tensor

    @property
    def frames(self) -> NDArray[np.uint8]:
        """(frames, height, width, 3) uint8."""
        return frames_from_pixels(self.pixels)


class WanSpeechToVideoPipeline(DiffusionPipeline):
    """Wan2.2-S2V; make one with `loading.load_pipeline(folder)`.

    Args:
        transformer, vae: on their devices.
        text_encoder: None where prompts come as embeddings.
        speech_encoder: None where features come ready.
        tiling: of the VAE; None decodes whole frames.
        motion_frames: that a clip continues.
        division: how this process shares a clip with others; all of them make the same calls.
    """

    def __init__(
        self,
        transformer: WanS2VTransformer3DModel,
        vae: WanVae,
        text_encoder: WanTextEncoder | None = None,
        speech_encoder: SpeechEncoder | None = None,
        *,
        tiling: Tiling | None = None,
        motion_frames: int = MOTION_FRAMES,
        division: Division = WHOLE,
    ) -> None:
        super().__init__()
        self._division = division
        self.register_modules(transformer=transformer, vae=vae.model)
        self._wan_vae = vae
        self._text_encoder = text_encoder
        self._speech_encoder = speech_encoder
        self._tiling = tiling
        self._motion_frames = motion_frames

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | NDArray[np.uint8],
        speech: Waveform,
        prompt: str | Tensor,
        *,
        negative_prompt: str | Tensor = NEGATIVE_PROMPT,
        size_px: tuple[int, int] | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        clock: Clock = "aligned",
        clip_frames: int = CLIP_FRAMES,
        max_clips: int | None = None,
        pose_frames: NDArray[np.uint8] | None = None,
        init_first_frame: bool = False,
        noise: Sequence[Tensor] | None = None,
        on_step: OnClipStep | None = None,
        on_clip: Callable[[VideoClip], object] | None = None,
    ) -> NDArray[np.uint8]:
        """The frames (n, height, width, 3) uint8 of the whole video, at 16 frames a second.

        Args:
            image: the portrait, of any size; resized and cropped to the video's.
            speech: 16 kHz mono.
            prompt, negative_prompt: words, or embeddings (tokens, channels) of the text encoder.
            size_px: (height, width), multiples of 16; None takes the official rule with the area of 832x480.
            sampling: None takes the official 40 steps.
            seed: of the first clip's noise; clip k takes seed + k.
            clock: "aligned" shows the mouth with its sound and ends with it; "official" makes the official frames.
            clip_frames: of a whole clip; a multiple of 4.
            max_clips: end after so many clips, at least 1.
            pose_frames: (n, height, width, 3) uint8 at 16 frames a second and the video's size; black after its end.
            init_first_frame: begin at the portrait itself. The first clip then continues it, and drops no frame.
            noise: of each clip, (16, latent frames, height / 8, width / 8), instead of the seeded one.
            on_step: progress; returning False cancels.
            on_clip: given each clip, as float32 pixels, as soon as it is made.

        Raises:
            GenerationError: an input that does not fit; `CancelledError` where `on_step` said so.
        """
        frames: list[NDArray[np.uint8]] = []
        sampling = sampling or Sampling()
        vae, tiling = self._wan_vae, self._tiling
        # 1. size and portrait
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        height_px, width_px = size_px or official_size(picture.height, picture.width, MAX_AREA_PX)
        portrait = resize_and_crop(picture, height_px, width_px)
        # 2. the clips and their speech features
        lead = lead_frames(clock, init_first_frame=init_first_frame)
        spans, features = plan_video(
            self._speech_encoder, speech, clock=clock, clip_frames=clip_frames, init_first_frame=init_first_frame
        )
        spans = spans[: _checked_count(max_clips, spans, noise)]
        # 3. what all clips share
        video = self.video_terms(portrait, prompt, negative_prompt if sampling.is_guided else None)
        motion_px = (motion_from_portrait if init_first_frame else _no_motion_like)(
            portrait, motion_frames=self._motion_frames
        )
        motion = vae.encode(motion_px.to(vae.device), tiling=tiling) if init_first_frame else None
        for span in spans:
            # 4. noise and pose
            start = noise[span.index] if noise is not None else None
            if start is None:
                start = make_noise(
                    seed + span.index, latent_frames=span.latent_frames, height_px=height_px, width_px=width_px
                )
            pose = None
            if pose_frames is not None:
                pose = encode_pose(vae, pose_of_clip(pose_frames, span, lead, portrait.shape), tiling)
            # 5. denoise
            latents = self.sample(
                video,
                features[span.first_feature_frame : span.first_feature_frame + span.n_feature_frames],
                start,
                motion=motion,
                pose=pose,
                sampling=sampling,
                on_step=_of_clip(on_step, span.index, len(spans)),
            )
            # 6. decode, and drop what is not shown
            context = video.reference if motion is None else motion
            pixels = decode_clip(vae, context, latents, tiling, self._division.rows)
            shown = pixels[:, span.drop_first_frames : span.drop_first_frames + len(span.shown)]
            clip = VideoClip(span, shown)
            frames.append(clip.frames)
            if on_clip is not None:
                on_clip(clip)
            # 7. what the next clip continues
            if span is not spans[-1]:
                motion_px = continued_motion(motion_px, shown, motion_frames=self._motion_frames)
                motion = vae.encode(motion_px.to(vae.device), tiling=tiling, peers=self._division.rows)
        return np.concatenate(frames)

    def video_terms(
        self, portrait: NDArray[np.uint8], prompt: str | Tensor, negative: str | Tensor | None
    ) -> VideoTerms:
        """What all clips share: portrait (height, width, 3) uint8 of the video's size, prompts or their embeddings."""
        return VideoTerms(
            reference=encode_portrait(self._wan_vae, portrait, self._tiling),
            prompt=self.transformer.encode_text(self._embedded(prompt)),
            negative=None if negative is None else self.transformer.encode_text(self._embedded(negative)),
        )

    def sample(
        self,
        video: VideoTerms,
        features: Tensor,
        noise: Tensor,
        *,
        motion: Tensor | None,
        sampling: Sampling,
        pose: Tensor | None = None,
        on_step: Callable[[int, int], bool | None] | None = None,
    ) -> Tensor:
        """Latents of one clip.

        Args:
            features: (frames, layers, channels) of the generated frames.
            noise: (16, frames / 4, height / 8, width / 8).
            motion: latents of the frames that the clip continues; None in a clip that continues nothing.
        """
        transformer = self.transformer
        clip = transformer.encode_clip(video.reference, latent_frames=noise.shape[1], motion=motion, pose=pose)
        conditional = Branch(video.prompt, transformer.encode_audio(features, past_frames=self._motion_frames))
        unconditional = None
        if video.negative is not None:
            # Text and sound are left out together: the features are zero, which is not the feature of silence.
            silent = transformer.encode_audio(torch.zeros_like(features), past_frames=self._motion_frames)
            unconditional = Branch(video.negative, silent)
        latents, _ = sample_clip(
            transformer, noise, clip, conditional, unconditional, sampling, on_step, self._division.guidance
        )
        return latents

    def _embedded(self, prompt: str | Tensor) -> Tensor:
        if isinstance(prompt, Tensor):
            return prompt
        if self._text_encoder is None:
            raise GenerationError(
                "a prompt in words needs the text encoder",
                got="a pipeline without one",
                cure="Load the whole checkpoint, or give the embedding of the prompt.",
            )
        return self._text_encoder.encode(prompt)


def _checked_count(max_clips: int | None, spans: Sequence[ClipSpan], noise: Sequence[Tensor] | None) -> int:
    """How many of the clips are made."""
    n_clips = len(spans) if max_clips is None else min(max_clips, len(spans))
    if n_clips < 1 or (noise is not None and len(noise) < n_clips):
        raise GenerationError(
            "at least one clip must be made, each with its noise where noise is given",
            got=f"max_clips {max_clips}, {'no' if noise is None else len(noise)} noise for {len(spans)} clips",
            cure="Leave max_clips and noise out.",
        )
    return n_clips


def _no_motion_like(portrait: NDArray[np.uint8], *, motion_frames: int) -> Tensor:
    return no_motion(*portrait.shape[:2], motion_frames=motion_frames)


def _of_clip(on_step: OnClipStep | None, clip: int, n_clips: int) -> Callable[[int, int], bool | None] | None:
    if on_step is None:
        return None
    return lambda done, total: on_step(clip, n_clips, done, total)
