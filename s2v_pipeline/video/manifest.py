"""What final_videos hands on: the delivered files of one input.

Belongs here: the manifest value. Does not belong here: making the files (mux, frames).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class FinalVideo:
    """The delivered video of one input and its sidecars, as part names in the artifact store.

    Attributes:
        input_id: partition key.
        video_part, poster_part, contact_sheet_part, metadata_part: names of the files.
        caption_parts: names of the captions' files beside the video, named as players look for them; () without any.
        no_captions: why there are none; '' where there are.
        credentials: "signed", or "off" and why.
        sha256: of the video file.
        size_bytes: of the video file.
        n_frames, fps, width_px, height_px: of the picture.
        video_s, audio_s: exact lengths as a player sees them.
        audio_channels: "source" where the sound has the recording's channels, else "mono" or "stereo".
        stats_part: file that says where the time went; '' for videos of versions without one.
        extra_parts: what `delivery` asked for beside it; "streaming.json" lists the files of the folder streaming/.
    """

    input_id: str
    video_part: str
    poster_part: str
    contact_sheet_part: str
    metadata_part: str
    caption_parts: tuple[str, ...]
    no_captions: str
    credentials: str
    sha256: str
    size_bytes: int
    n_frames: int
    fps: Fraction
    width_px: int
    height_px: int
    video_s: Fraction
    audio_s: Fraction
    extra_parts: tuple[str, ...] = ()
    audio_channels: str = "source"
    stats_part: str = ""

    @property
    def delivered_parts(self) -> tuple[str, ...]:
        """The video, then its captions: what a viewer needs."""
        return (self.video_part, *self.caption_parts)
