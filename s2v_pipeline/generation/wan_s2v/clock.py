"""Which frames each clip generates, which of them are shown, and which audio they belong to.

Belongs here: integer arithmetic of clips, frames and feature frames.
Does not belong here: the features themselves (speech_features), how a clip is generated (pipeline).

The first clip's first 3 generated frames are dropped. The official code drops them from the picture but not from the
sound, so that output frame n shows the mouth for audio time (n + 3)/16 s: 187.5 ms early
(Wan-Video/Wan2.2 wan/speech2video.py, generate: in clip 0 `image[:, :, 3:]`; no reason is stated). Two clocks:

- "aligned": 3 frames of silence stand before the speech when its features are made, so output frame n belongs to audio
  time n/16 s in every clip. Just as many frames are generated as the audio needs.
- "official": no silence, only whole clips; the frames of the official code, for comparison.

With `init_first_frame` the first clip keeps its motion tokens, made from the reference picture; then the official code
drops nothing, so nothing is early, and neither clock has silence before the speech.

Feature frames are counted from the first frame of that silence, so generated frame i of a clip uses feature frame
`first_feature_frame + i` in both clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from s2v_pipeline.timebase import FrameSpan

Clock = Literal["aligned", "official"]

CLIP_FRAMES = 80  # Wan-Video/Wan2.2 wan/speech2video.py, generate: infer_frames
FRAMES_PER_LATENT = 4  # the VAE's stride in time, wan/configs/wan_s2v_14B.py: vae_stride
DROPPED_FIRST_FRAMES = 3  # generate: `if (drop_first_motion and r == 0)`, false with init_first_frame

# The last clip generates up to 3 frames past the video, which ends up to half a frame past the audio; a feature reaches
# another half frame, and the encoder leaves out up to one.
_TAIL_FRAMES = 5


@dataclass(frozen=True)
class ClipSpan:
    """What one clip generates and shows.

    Attributes:
        index: 0 for the first clip.
        shown: frames of the video; generated frames `drop_first_frames` onwards, as many as `shown` holds.
        generated_frames: multiple of 4; what is beyond `shown` is cut.
        latent_frames: `generated_frames` / 4.
        drop_first_frames: 3 in the first clip (0 with `init_first_frame`), 0 in the others.
        first_feature_frame: feature frame of the first generated frame.
        n_feature_frames: one feature frame for each generated frame.

    Raises:
        ValueError: numbers that contradict each other.
    """

    index: int
    shown: FrameSpan
    generated_frames: int
    latent_frames: int
    drop_first_frames: int
    first_feature_frame: int
    n_feature_frames: int

    def __post_init__(self) -> None:
        if not (
            self.index >= 0
            and self.first_feature_frame >= 0
            and self.drop_first_frames >= 0
            and 0 < len(self.shown) <= self.generated_frames - self.drop_first_frames
            and self.generated_frames == self.latent_frames * FRAMES_PER_LATENT == self.n_feature_frames
        ):
            raise ValueError(f"the numbers of a clip contradict each other: {self}")


def lead_frames(clock: Clock, *, init_first_frame: bool = False) -> int:
    """Frames of silence before the speech: as many as the first clip drops, or none with the official clock."""
    return _dropped_frames(init_first_frame) if clock == "aligned" else 0


def tail_frames(clock: Clock) -> int:
    """Frames of silence after the speech, so that every generated frame has a feature; the official code has none."""
    return _TAIL_FRAMES if clock == "aligned" else 0


def plan_clips(
    n_frames: int, *, clip_frames: int = CLIP_FRAMES, clock: Clock, init_first_frame: bool = False
) -> tuple[ClipSpan, ...]:
    """The clips of a video of `n_frames` frames, in order; each frame is shown once.

    The first clip shows `clip_frames` - 3 frames (all with `init_first_frame`), the others `clip_frames`. The last clip
    generates what it shows, rounded up to 4 frames ("aligned"), or a whole clip ("official").

    Raises:
        ValueError: `n_frames` is not positive, `clip_frames` is not a positive multiple of 4, or an unknown clock.
    """
    _check_clip_frames(clip_frames)
    if n_frames < 1:
        raise ValueError(f"n_frames must be positive; got {n_frames}")
    if clock not in get_args(Clock):
        raise ValueError(f"the clock must be one of {get_args(Clock)}; got {clock!r}")
    clips: list[ClipSpan] = []
    start = 0
    while start < n_frames:
        dropped = 0 if clips else _dropped_frames(init_first_frame)
        stop = min(start + clip_frames - dropped, n_frames)
        needed = clip_frames if clock == "official" else stop - start + dropped
        latent_frames = -(-needed // FRAMES_PER_LATENT)
        generated_frames = latent_frames * FRAMES_PER_LATENT
        clips.append(
            ClipSpan(
                index=len(clips),
                shown=FrameSpan(start, stop),
                generated_frames=generated_frames,
                latent_frames=latent_frames,
                drop_first_frames=dropped,
                first_feature_frame=len(clips) * clip_frames,
                n_feature_frames=generated_frames,
            )
        )
        start = stop
    return tuple(clips)


def official_clips(
    n_clips: int, *, clip_frames: int = CLIP_FRAMES, init_first_frame: bool = False
) -> tuple[ClipSpan, ...]:
    """The clips of the official code: `n_clips` whole ones, of which all frames but the dropped ones are shown.

    Raises:
        ValueError: `n_clips` is not positive, or `clip_frames` is not a positive multiple of 4.
    """
    _check_clip_frames(clip_frames)
    if n_clips < 1:
        raise ValueError(f"n_clips must be positive; got {n_clips}")
    n_frames = n_clips * clip_frames - _dropped_frames(init_first_frame)
    return plan_clips(n_frames, clip_frames=clip_frames, clock="official", init_first_frame=init_first_frame)


def _dropped_frames(init_first_frame: bool) -> int:
    return 0 if init_first_frame else DROPPED_FIRST_FRAMES


def _check_clip_frames(clip_frames: int) -> None:
    if clip_frames < 1 or clip_frames % FRAMES_PER_LATENT:
        raise ValueError(f"clip_frames must be a positive multiple of {FRAMES_PER_LATENT}; got {clip_frames}")
