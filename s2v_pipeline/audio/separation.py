"""Where the separation of a voice from music would come in.

Belongs here: the protocol. Does not belong here: an implementation; none is shipped.

No separator with weights of a clear licence is to be had without a download, and so no setting names one either. A
caller in Python can pass its own to `tracks.make_tracks`, which runs it before anything else of the clean-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks


class VoiceSeparator(Protocol):
    """Takes music and everything else that is not a voice out of a sound.

    Attributes:
        name: what the metadata calls it, with its version: what it gives must follow from the samples and the name.
    """

    name: str

    def voice(self, blocks: SoundBlocks, rate_hz: int) -> Iterator[SoundBlock]:
        """The voice alone: as many samples and channels as came in, none of them moved."""
        ...
