"""What a request, its carry and its latents must hold for `wan_s2v`.

Belongs here: how many frames are generated for it, names and shapes of its tensors, refusing others.
Does not belong here: making them (generator), which chunks there are (profile).
"""

from __future__ import annotations

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.wan_s2v.clips_of_video import MOTION_FRAMES
from s2v_pipeline.generation.wan_s2v.profile import FIRST_FRAMES_DROPPED, FPS
from s2v_pipeline.generation.wan_s2v.sampling import LATENT_CHANNELS

VIDEO, CONTEXT, MOTION = "video", "context", "motion"
"""Names of the latents: the chunk's own and what they are decoded after; and of the carry. Each (latents, 16, h, w)."""
LATENT_FRAMES = 4
_LATENT_PX = 8


def dropped_frames(request: ChunkRequest) -> int:
    """Frames that are made before the video, or the segment, begins."""
    return 0 if request.continues else FIRST_FRAMES_DROPPED


def generated_frames(request: ChunkRequest) -> int:
    """Whole latents that hold the shown frames."""
    needed = len(request.frames) + dropped_frames(request)
    return -(-needed // LATENT_FRAMES) * LATENT_FRAMES


def check_request(request: ChunkRequest, carry: Carry | None) -> None:
    if request.fps != FPS or request.sound is None:
        raise GenerationError(
            f"wan_s2v makes {FPS} frames a second from the sound itself",
            got=f"{request.fps} frames a second, {'no sound' if request.sound is None else 'with sound'}",
            cure="Leave video.fps out, and make requests for this generator.",
        )
    if (carry is None) is request.continues:
        raise GenerationError(
            "a chunk but the first of a segment continues the one before",
            got=f"chunk {request.index} {'without' if carry is None else 'with'} a carry",
            cure="Give the carry of the chunk before.",
        )
    if not request.is_last and len(request.frames) < MOTION_FRAMES:
        raise GenerationError(
            f"a chunk that another one continues must show at least {MOTION_FRAMES} frames",
            got=f"chunk {request.index} with {len(request.frames)} frames, not the last",
            cure="Choose a longer generation.chunk_s.",
        )
    if carry is not None:
        sides = (request.height_px // _LATENT_PX, request.width_px // _LATENT_PX)
        expected = (_n_context(request), LATENT_CHANNELS, *sides)
        found = carry.tensors[MOTION].shape if MOTION in carry.tensors else ()
        if tuple(found) != expected:
            raise GenerationError(
                f"the carry must hold motion latents {expected}",
                got=f"{sorted(carry.tensors)} {found}",
                cure="Materialise chunk_latents for this partition again.",
            )


def check_chunk(request: ChunkRequest, chunk: GeneratedChunk) -> None:
    n_latents = generated_frames(request) // LATENT_FRAMES
    expected = (n_latents, LATENT_CHANNELS, request.height_px // _LATENT_PX, request.width_px // _LATENT_PX)
    video, context = chunk.latents.get(VIDEO), chunk.latents.get(CONTEXT)
    # A chunk that continues nothing is decoded after one reference latent, the others after their motion latents.
    fits_context = context is not None and context.shape[1:] == expected[1:] and len(context) == _n_context(request)
    if chunk.frames != request.frames or video is None or video.shape != expected or not fits_context:
        raise GenerationError(
            f"latents of chunk {request.index} must hold {VIDEO} {expected} and {CONTEXT} for frames {request.frames}",
            got=f"{ {name: array.shape for name, array in chunk.latents.items()} } for {chunk.frames}",
            cure="Materialise chunk_latents for this partition again.",
        )


def _n_context(request: ChunkRequest) -> int:
    return 1 if not request.continues else 1 + (MOTION_FRAMES - 1) // LATENT_FRAMES
