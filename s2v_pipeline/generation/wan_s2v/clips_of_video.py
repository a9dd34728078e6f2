"""One clip of a video: what it continues, its latents, its frames.

Belongs here: the values between the clips of a video, encoding what a clip starts from, decoding what it made.
Does not belong here: the loop over clips (pipeline, or the graph), the steps (sampling), weights (loading).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.clock import ClipSpan
from s2v_pipeline.generation.wan_s2v.ranks import Peers
from s2v_pipeline.generation.wan_s2v.transformer import TextTerms
from s2v_pipeline.generation.wan_s2v.vae import Tiling, WanVae

MOTION_FRAMES = 73
"""Frames that a clip continues (wan/configs/wan_s2v_14B.py: transformer.motion_frames); 19 latents."""
START_FRAMES_OF_REFERENCE = 6
"""Frames of the portrait that stand before the first clip with `init_first_frame` (wan/speech2video.py, generate)."""


@dataclass(frozen=True, eq=False)
class VideoTerms:
    """What all clips of a video share.

    Attributes:
        reference: (16, 1, height / 8, width / 8) latent of the portrait.
        prompt: terms of the prompt.
        negative: of the negative prompt; None where sampling is not guided.
    """

    reference: Tensor
    prompt: TextTerms
    negative: TextTerms | None


def pixels_from_frames(frames: NDArray[np.uint8]) -> Tensor:
    """(n, height, width, 3) uint8 -> (3, n, height, width) float32 in -1..1."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise GenerationError(
            "frames must be (n, height, width, 3) uint8 with n > 0",
            got=f"{frames.shape} {frames.dtype}",
            cure="Give RGB frames of 8 bits.",
        )
    return torch.from_numpy(np.array(frames)).permute(3, 0, 1, 2).float().div(255).mul(2).sub(1)


def frames_from_pixels(pixels: Tensor) -> NDArray[np.uint8]:
    """(3, n, height, width) in -1..1 -> (n, height, width, 3) uint8, rounded to the nearest."""
    scaled = pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    # Put in order before it is copied: a GPU does that in a millisecond, NumPy in a quarter of a second for 80 frames.
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()


def encode_portrait(vae: WanVae, portrait: NDArray[np.uint8], tiling: Tiling | None = None) -> Tensor:
    """The reference latent (16, 1, height / 8, width / 8) of a portrait (height, width, 3) uint8."""
    return vae.encode(pixels_from_frames(portrait[None]).to(vae.device), tiling=tiling)


def encode_pose(vae: WanVae, frames: NDArray[np.uint8], tiling: Tiling | None = None) -> Tensor:
    """Latents (16, n / 4, height / 8, width / 8) of a clip's pose frames (n, height, width, 3), n a multiple of 4.

    The first frame is given twice and the first latent left out, so that every latent stands for four frames
    (wan/speech2video.py, load_pose_cond).
    """
    pixels = pixels_from_frames(frames).to(vae.device)
    return vae.encode(torch.cat((pixels[:, :1], pixels), dim=1), tiling=tiling)[:, 1:]


def decode_clip(
    vae: WanVae, context: Tensor, latents: Tensor, tiling: Tiling | None = None, peers: Peers | None = None
) -> Tensor:
    """All frames (3, 4n, height, width) in -1..1 of a clip's n latents.

    Args:
        context: the reference latent in a clip that continues nothing, else its motion latents.
        peers: who share the work; see `WanVae.decode_tail`.
    """
    return vae.decode_tail(context, latents, tiling=tiling, peers=peers)


def no_motion(height_px: int, width_px: int, *, motion_frames: int = MOTION_FRAMES) -> Tensor:
    """Pixels (3, motion_frames, height, width) before the first clip: zeros, which are mid-grey."""
    return torch.zeros(3, motion_frames, height_px, width_px)


def motion_from_portrait(portrait: NDArray[np.uint8], *, motion_frames: int = MOTION_FRAMES) -> Tensor:
    """Pixels before a first clip that begins at the portrait: zeros, and the portrait in the last frames."""
    pixels = no_motion(*portrait.shape[:2], motion_frames=motion_frames)
    pixels[:, -START_FRAMES_OF_REFERENCE:] = pixels_from_frames(portrait[None])
    return pixels


def continued_motion(before: Tensor | None, shown: Tensor, *, motion_frames: int = MOTION_FRAMES) -> Tensor:
    """Pixels that the next clip continues: the last `motion_frames` of what was before and what was just shown.

    Args:
        before: (3, motion_frames, height, width); None where the shown frames are enough.

    Raises:
        GenerationError: too few frames.
    """
    joined = shown if before is None else torch.cat((before.to(shown.device), shown), dim=1)
    if joined.shape[1] < motion_frames:
        raise GenerationError(
            f"a clip that another one continues must show at least {motion_frames} frames",
            got=str(joined.shape[1]),
            cure="Choose a longer generation.chunk_s.",
        )
    return joined[:, -motion_frames:]


def pose_of_clip(
    frames: NDArray[np.uint8], span: ClipSpan, lead: int, portrait_shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Pose frames of the generated frames of a clip: the first one also before the video's start, black at its end."""
    height_px, width_px = portrait_shape[:2]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (height_px, width_px, 3) or not len(frames):
        raise GenerationError(
            f"pose frames must be {width_px}x{height_px}: (n, {height_px}, {width_px}, 3) uint8 with n > 0",
            got=f"{frames.shape} {frames.dtype}",
            cure="Give RGB frames of 8 bits, resized to the video's size.",
        )
    first = span.first_feature_frame - lead
    wanted = np.maximum(np.arange(first, first + span.generated_frames), 0)
    posed = np.zeros((len(wanted), height_px, width_px, 3), np.uint8)
    known = wanted < len(frames)
    posed[known] = frames[wanted[known]]
    return posed
