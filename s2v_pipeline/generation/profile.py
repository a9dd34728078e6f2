"""What is known of a generator before it is loaded.

Belongs here: the facts that planning, placing and checking need.
Does not belong here: any implementation, and any import of one; what a loaded generator does (protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from s2v_pipeline.chunks.plan import ChunkPlan
from s2v_pipeline.setting_groups import Settings


class GeneratorProfile(Protocol):
    """A module `profile` in a generator's package; importing it loads neither torch nor a model.

    Attributes:
        CONTEXT_S: seconds of phonemes, features and sound that a request holds on both sides of its frames.
        CHAINED: whether chunk k needs the carry of chunk k-1; as `Generator.chained`.
        ONE_WORKER: whether loading costs so much that one worker makes all chunks of a step.
        WANTS_SOUND: whether requests hold the sound itself.
        WANTS_TABLES: whether requests hold phonemes, features and what is derived from them. Where not, an edit of the
            transcript leaves the chunks as they are.
        PACKAGES: what must be installed beyond the package's own dependencies.
    """

    @property
    def CONTEXT_S(self) -> float: ...  # noqa: N802 (a constant of a module)

    @property
    def CHAINED(self) -> bool: ...  # noqa: N802

    @property
    def ONE_WORKER(self) -> bool: ...  # noqa: N802

    @property
    def WANTS_SOUND(self) -> bool: ...  # noqa: N802

    @property
    def WANTS_TABLES(self) -> bool: ...  # noqa: N802

    @property
    def PACKAGES(self) -> tuple[str, ...]: ...  # noqa: N802

    def check_video(self, settings: Settings) -> None:
        """See that the generator can make what the settings ask for.

        Raises:
            SettingsError: it cannot.
        """
        ...

    def chunk_plan(self, n_frames: int, settings: Settings, cuts: Sequence[int] = ()) -> ChunkPlan:
        """Which frames each chunk makes; a longer video leaves all chunks but the last as they are.

        Args:
            n_frames: of the video.
            settings: of the input.
            cuts: frames at which a chain starts anew; of no matter where chunks are independent.
        """
        ...

    def n_gpus(self, settings: Settings) -> int:
        """GPUs that one worker takes."""
        ...

    def most_workers(self, settings: Settings) -> int | None:
        """Most workers that may have it loaded for one video; None for as many as there are GPUs, or CPUs."""
        ...

    def words_understood(self, prompt: str) -> tuple[str, ...]:
        """Words of a prompt that the generator acts on; the others change nothing."""
        ...

    def words_ignored(self, prompt: str) -> tuple[str, ...]:
        """Words of a prompt that change nothing."""
        ...

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """What people should know about videos made with these settings: approximations, poor choices."""
        ...
