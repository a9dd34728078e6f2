"""What is known of `wan_s2v` before it is loaded; see `GeneratorProfile`.

Belongs here: its facts, without torch. Does not belong here: any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from s2v_pipeline.chunks.plan import ChunkPlan, plan_chunks
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import Settings

CONTEXT_S = 8.0
"""Sound on both sides of a chunk that its features are computed from. wav2vec2 attends to all of what it is given, and
a chunk's file must depend on a bounded part of the speech, so that a longer one leaves earlier chunks as they are."""
CHAINED = True
ONE_WORKER = True
WANTS_SOUND = True
WANTS_TABLES = False
PACKAGES = ("torch", "diffusers", "transformers")

FPS = Fraction(16)
"""The one rate that the model was trained at (Wan-Video/Wan2.2 wan/configs/wan_s2v_14B.py, sample_fps)."""
CHUNK_FRAMES = 80
"""Frames of a chunk at the default chunk_s of 5 (infer_frames)."""
FIRST_FRAMES_DROPPED = 3
"""The first chunk has no frames before it: its first latent stands for one frame, all others for four."""
FIRST_CHUNK_FRAMES = CHUNK_FRAMES - FIRST_FRAMES_DROPPED

_SIZE_STEP_PX = 16  # 8 pixels a latent, 2 latents a patch
_LATENT_FRAMES = 4
_FEWEST_STEPS = 10  # below it the trained model, which learnt with many steps, leaves noise and blur
# The next chunk starts from the last 73 frames, which even the first chunk must have. From the 31st latent on a frame's
# position in time would be that of the reference, 30 (transformer.REFERENCE_TIME).
_FEWEST_FRAMES, _MOST_FRAMES = 76, 120


def check_video(settings: Settings) -> None:
    """See `GeneratorProfile.check_video`.

    Raises:
        SettingsError: a rate, size or chunk length that the model does not know.
    """
    video = settings.video
    if video.fps != FPS:
        raise SettingsError(
            f"video.fps must be {FPS} for the generator wan_s2v",
            got=f"{video.fps}",
            cure=f"Leave video.fps out; set enhance.interpolate_fps to {video.fps} for a video of that rate.",
        )
    if video.width_px % _SIZE_STEP_PX or video.height_px % _SIZE_STEP_PX:
        raise SettingsError(
            f"video.width_px and video.height_px must be multiples of {_SIZE_STEP_PX} for the generator wan_s2v",
            got=f"{video.width_px}x{video.height_px}",
            cure="Take the size of a preset, such as 832x448.",
        )
    frames = _chunk_frames(settings)
    if frames.denominator != 1 or frames % _LATENT_FRAMES or not _FEWEST_FRAMES <= frames <= _MOST_FRAMES:
        shortest_s, longest_s = float(_FEWEST_FRAMES / FPS), float(_MOST_FRAMES / FPS)
        raise SettingsError(
            f"generation.chunk_s must be a multiple of {float(_LATENT_FRAMES / FPS)} from {shortest_s} to {longest_s} "
            "for the generator wan_s2v",
            got=str(settings.generation.chunk_s),
            cure=f"Leave generation.chunk_s out: {float(CHUNK_FRAMES / FPS):g} is what the model was trained on.",
        )


def chunk_plan(n_frames: int, settings: Settings, cuts: Sequence[int] = ()) -> ChunkPlan:
    """Chunks of `generation.chunk_s`; in each segment the first one is `FIRST_FRAMES_DROPPED` frames shorter, and the
    last one holds the rest."""
    chunk_frames = int(_chunk_frames(settings))
    return plan_chunks(
        n_frames, chunk_frames=chunk_frames, first_chunk_frames=chunk_frames - FIRST_FRAMES_DROPPED, cuts=cuts
    )


def n_gpus(settings: Settings) -> int:
    """As many as the settings give to one video, unless the CPU is asked for."""
    return 0 if settings.wan.device == "cpu" else settings.cluster.gpus_per_video


def most_workers(settings: Settings) -> int | None:
    """On the CPU one: it takes all of them, and the model fills the memory of most machines once."""
    return 1 if settings.wan.device == "cpu" else None


def words_understood(prompt: str) -> tuple[str, ...]:
    """The text encoder reads all of it."""
    return ("the whole prompt",) if prompt.strip() else ()


def words_ignored(prompt: str) -> tuple[str, ...]:  # noqa: ARG001 (of the protocol)
    """None."""
    return ()


def notes(settings: Settings) -> tuple[str, ...]:
    """See `GeneratorProfile.notes`."""
    wan, found = settings.wan, []
    if wan.steps < _FEWEST_STEPS and not wan.loras:
        found.append(
            f"{wan.steps} steps without a LoRA that was distilled for so few: the picture is poor (set wan.loras)"
        )
    if wan.fp8:
        found.append("approximation: 8-bit products (wan.fp8); their effect on pictures was not judged")
    if wan.step_cache > 0:
        found.append(
            f"approximation: steps that change less than {wan.step_cache:g} are not computed (wan.step_cache); "
            "its effect on pictures was not judged"
        )
    if wan.vae_tiling == "on":
        found.append("approximation: the VAE works in tiles (wan.vae_tiling)")
    return tuple(found)


def _chunk_frames(settings: Settings) -> Fraction:
    return Fraction(repr(settings.generation.chunk_s)) * FPS
