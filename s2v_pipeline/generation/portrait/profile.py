"""What is known of `portrait` before it is loaded; see `GeneratorProfile`.

Belongs here: its facts. Does not belong here: any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from s2v_pipeline.chunks.plan import ChunkPlan, plan_chunks
from s2v_pipeline.generation.portrait import motion
from s2v_pipeline.generation.portrait.style import style_from_prompt
from s2v_pipeline.generation.portrait.style import words_ignored as words_without_effect
from s2v_pipeline.setting_groups import Settings

CONTEXT_S = motion.CONTEXT_S
CHAINED = False
ONE_WORKER = False
WANTS_SOUND = False
WANTS_TABLES = True
PACKAGES: tuple[str, ...] = ()


def check_video(settings: Settings) -> None:
    """Every size and rate that the settings allow can be drawn."""


def chunk_plan(n_frames: int, settings: Settings, cuts: Sequence[int] = ()) -> ChunkPlan:  # noqa: ARG001 (no chain)
    """Chunks of `generation.chunk_s`, rounded to whole frames."""
    chunk_frames = max(1, round(Fraction(repr(settings.generation.chunk_s)) * settings.video.fps))
    return plan_chunks(n_frames, chunk_frames=chunk_frames)


def n_gpus(settings: Settings) -> int:
    """None: it draws on CPUs."""
    del settings
    return 0


def most_workers(settings: Settings) -> int | None:  # noqa: ARG001 (of the protocol)
    """As many as there are CPUs."""
    return None


def words_understood(prompt: str) -> tuple[str, ...]:
    """The cues that were found."""
    return style_from_prompt(prompt).understood


def words_ignored(prompt: str) -> tuple[str, ...]:
    """The words that no cue took."""
    return words_without_effect(prompt)


def notes(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 (of the protocol)
    """Nothing: it makes no approximations that a setting could turn off."""
    return ()
