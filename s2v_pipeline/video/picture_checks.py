"""Faults of the picture that only its decoded frames show: black frames, a picture that stands still.

Belongs here: measuring brightness and change over a whole video, and the limits of both.
Does not belong here: faces and lips, the container (video.probe).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from s2v_pipeline.clips.container import only_video_stream, open_video
from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_start_s

BLACK_LUMA = 4.0
"""Mean luma (0-255) below which a frame is black. A face of luma 80 on a twentieth of a black picture lies above it."""

STILL_DIFFERENCE = 0.05
"""Mean absolute difference (0-255, at reduced size) up to which a picture counts as unchanged.

Measured with `clips.encode` on a 512x512 portrait at 25 frames a second: a photograph repeated for 5 s, at crf 0 to 40,
never exceeds it between key frames, while a photograph that only breathes (zoom of 0.2 % within 4 s) exceeds it after
0.36 s at the latest.
"""

FROZEN_LIMIT_S = Fraction(1)
"""Longest time without change that a talking portrait may show: its head, eyes or chest always move within a second."""

_SETTLING_FRAMES = 2
"""A key frame and the one after it: x264 draws the picture anew and then refines it, both without any movement."""

_SIDE_PX = 96  # averages away noise of the encoder, keeps a moving mouth


@dataclass(frozen=True)
class PictureReport:
    """What a video's frames look like.

    Attributes:
        n_frames: decoded frames.
        n_black: of them, frames darker than BLACK_LUMA.
        first_black_s: when the first of these appears; None without one.
        frozen_longest_s: longest time during which the picture did not change.
        frozen_start_s: when it begins; None where every frame differs from the one before.
        mean_luma_min, mean_luma_max: of the darkest and the brightest frame, 0-255.
    """

    n_frames: int
    n_black: int
    first_black_s: Fraction | None
    frozen_longest_s: Fraction
    frozen_start_s: Fraction | None
    mean_luma_min: float
    mean_luma_max: float

    @property
    def passed(self) -> bool:
        """No black frame, and never still for longer than FROZEN_LIMIT_S."""
        return self.n_black == 0 and self.frozen_longest_s <= FROZEN_LIMIT_S

    @property
    def summary(self) -> str:
        """The figures as one line."""
        black = "" if self.first_black_s is None else f" from {float(self.first_black_s):.2f} s"
        still = "" if self.frozen_start_s is None else f" from {float(self.frozen_start_s):.2f} s"
        return (
            f"{self.n_black} of {self.n_frames} frames black{black}; longest time without change "
            f"{float(self.frozen_longest_s):.2f} s{still} (limit {float(FROZEN_LIMIT_S):.2f} s); "
            f"mean luma {self.mean_luma_min:.1f} to {self.mean_luma_max:.1f}"
        )


def check_picture(path: Path) -> PictureReport:
    """Decode all frames and measure them; two small frames are held at a time.

    A run without change is counted from its first frame, so that slow movement ends it too. Key frames change the
    picture a little although nothing moved; they never end a run, and the frames after them are compared with them.

    Raises:
        MediaError: not a readable video with one video stream and frames.
    """
    converter = VideoReformatter()
    lumas: list[float] = []
    first_black: int | None = None
    run_start, longest, longest_start = 0, 0, 0
    anchor: NDArray[np.int16] | None = None
    since_key = 0
    with open_video(path) as container:
        stream = only_video_stream(container, path.name)
        fps = stream.average_rate
        for index, frame in enumerate(container.decode(stream)):
            small = _small_luma(converter, frame)
            lumas.append(float(small.mean()))
            if lumas[-1] < BLACK_LUMA and first_black is None:
                first_black = index
            since_key = 0 if frame.key_frame else since_key + 1
            settling = since_key < _SETTLING_FRAMES
            if anchor is None or (not settling and float(np.abs(small - anchor).mean()) > STILL_DIFFERENCE):
                anchor, run_start = small, index
            elif settling:
                anchor = small
            if index - run_start > longest:
                longest, longest_start = index - run_start, run_start
    if not lumas or fps is None:
        raise MediaError(f"{path.name} must hold frames", got="none", cure="Make the video again.")
    return PictureReport(
        n_frames=len(lumas),
        n_black=sum(luma < BLACK_LUMA for luma in lumas),
        first_black_s=None if first_black is None else frame_start_s(first_black, fps),
        frozen_longest_s=Fraction(longest) / fps,
        frozen_start_s=frame_start_s(longest_start, fps) if longest else None,
        mean_luma_min=min(lumas),
        mean_luma_max=max(lumas),
    )


def _small_luma(converter: VideoReformatter, frame: VideoFrame) -> NDArray[np.int16]:
    """(_SIDE_PX, _SIDE_PX) luma, stretched from the video's limited range to 0-255."""
    small = converter.reformat(
        frame,
        width=_SIDE_PX,
        height=_SIDE_PX,
        format="gray",
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA,
        threads=1,
    )
    return small.to_ndarray().astype(np.int16)
