"""How all clips of a video are encoded.

Belongs here: the value that says so, a clip encoded by it.
Does not belong here: encoding itself (encode), which encoders work (encoders), where clips go (cluster).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.encoders import SOFTWARE
from s2v_pipeline.clips.label import Stamp
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings


@dataclass(frozen=True)
class ClipEncoding:
    """What is the same for all clips of a video.

    Attributes:
        video: codec, quality.
        encoder: FFmpeg's name of the encoder.
        stamp: the visible label.
    """

    video: VideoSettings
    encoder: str = SOFTWARE["h264"]
    stamp: Stamp | None = None

    def encode(
        self,
        path: Path,
        batches: Iterator[FrameBatch],
        request: ChunkRequest,
        on_frame: Callable[[], None] | None = None,
    ) -> None:
        """The clip of a request from its frames, which have the label already; see `encode_clip`."""
        encode_clip(
            batches,
            path,
            frames=request.frames,
            fps=request.fps,
            width_px=request.width_px,
            height_px=request.height_px,
            settings=self.video,
            encoder=self.encoder,
            on_frame=on_frame,
        )
