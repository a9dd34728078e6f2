"""What is done to the finished picture: its size and rate afterwards, the stages, what of it belongs into keys.

Belongs here: from settings to stages in their order, how clips are encoded that are encoded once more.
Does not belong here: running the stages (finish), a stage's own work (enhance).

The order: colours first, as what follows compares frames with each other; jumps before anything smooths over them;
noise before sharpening, which would raise it; the rate last, so that new frames are made of finished ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.clips.label import Stamp, label_stamp
from s2v_pipeline.enhance_settings import MEZZANINE_CRF, EnhanceSettings
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import Settings, VideoSettings
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline.video.burned import BurnCaptions
from s2v_pipeline.video.enhance.deflicker import Deflicker
from s2v_pipeline.video.enhance.denoise import FastDenoise, MotionDenoise
from s2v_pipeline.video.enhance.drift import DriftCorrection, DriftSample
from s2v_pipeline.video.enhance.interpolate import Interpolate
from s2v_pipeline.video.enhance.onnx_upscale import OnnxUpscaler
from s2v_pipeline.video.enhance.sharpen import Sharpen
from s2v_pipeline.video.enhance.stage import Enhancement, chained
from s2v_pipeline.video.enhance.tone import LUMA, Tone, grey_world_gains
from s2v_pipeline.video.enhance.upscale import LanczosUpscale, ModelUpscale
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline.video.join_repair import BlendJoins

CODE_VERSION = "1"
"""Raised when a stage gives other pixels for the same frames."""

_LARGEST_PX = 4096  # as video.width_px


def encodes_again(settings: Settings) -> bool:
    """Whether clips are decoded, changed and encoded once more."""
    return settings.enhance.changes_pictures or settings.delivery.burn_captions != "off"


def clip_video(settings: Settings) -> VideoSettings:
    """How clips are encoded: as delivered, or nearly without loss (always H.264) where they are encoded once more."""
    if not encodes_again(settings):
        return settings.video
    update: dict[str, Any] = {"codec": "h264", "bit_depth": 8, "crf": MEZZANINE_CRF, "bitrate_kbps": None}
    return settings.video.model_copy(update={**update, "container": "mp4", "x264_preset": "superfast"})


def output_fps(fps: Fraction, enhance: EnhanceSettings) -> Fraction:
    """Frames a second of the delivered video."""
    return fps if enhance.interpolate_fps is None else enhance.interpolate_fps


def output_size(width_px: int, height_px: int, enhance: EnhanceSettings) -> tuple[int, int]:
    """Width and height of the delivered video; even.

    Raises:
        SettingsError: larger than a video may be.
    """
    scale = Fraction(repr(enhance.upscale))
    if enhance.upscale_to_px is not None:
        scale = max(Fraction(1), Fraction(enhance.upscale_to_px, min(width_px, height_px)))
    if scale == 1:
        return width_px, height_px
    width, height = (2 * round(side * scale / 2) for side in (width_px, height_px))
    if max(width, height) > _LARGEST_PX:
        raise SettingsError(
            f"enhance.upscale must leave both sides at {_LARGEST_PX} pixels or below",
            got=f"{width}x{height}",
            cure="Choose a smaller enhance.upscale or enhance.upscale_to_px.",
        )
    return width, height


def delivered_label(settings: Settings, width_px: int, height_px: int) -> Stamp | None:
    """The visible label in the delivered size, for clips of a size; None where no label is set.

    Raises:
        SettingsError: it cannot be drawn.
    """
    return label_stamp(settings.credentials, *output_size(width_px, height_px, settings.enhance))


def chunk_starts(frame_counts: Sequence[int], fps_in: Fraction, fps_out: Fraction) -> tuple[int, ...]:
    """First frame of each chunk at the new rate: the first one that begins no earlier than the chunk does."""
    return tuple(math.ceil(start * fps_out / fps_in) for start in (0, *accumulate(frame_counts[:-1])))


@dataclass(frozen=True, eq=False)
class PicturePlan:
    """What a video's stages are made from.

    Attributes:
        enhance: which stages.
        portrait: (height, width, 3) uint8 RGB, framed for the clips.
        frame_counts: frames of each clip.
        fps: of the clips.
        n_samples, rate_hz: of the speech.
        captions: drawn into the picture last; None for none.
    """

    enhance: EnhanceSettings
    portrait: NDArray[np.uint8]
    frame_counts: tuple[int, ...]
    fps: Fraction
    n_samples: int
    rate_hz: int
    captions: BurnCaptions | None = None

    @property
    def changes_pictures(self) -> bool:
        """Whether frames are encoded again; so it is, too, where captions are to be drawn and there are none."""
        return self.enhance.changes_pictures or self.captions is not None

    @property
    def joins(self) -> tuple[int, ...]:
        """First frame of each clip but the first."""
        return tuple(accumulate(self.frame_counts[:-1]))

    @property
    def fps_out(self) -> Fraction:
        """Of the delivered video."""
        return output_fps(self.fps, self.enhance)

    @property
    def n_frames_out(self) -> int:
        """Of the delivered video."""
        if self.fps_out == self.fps:
            return sum(self.frame_counts)
        return frames_for_samples(self.n_samples, self.rate_hz, self.fps_out)

    @property
    def size_out(self) -> tuple[int, int]:
        """Width and height of the delivered video."""
        height_px, width_px, _ = self.portrait.shape
        return output_size(width_px, height_px, self.enhance)

    def before_joins(self, on_drift: Callable[[DriftSample], None] | None = None) -> tuple[Enhancement, ...]:
        """What comes before joins are looked at."""
        if not self.enhance.drift:
            return ()
        return (DriftCorrection(self.portrait, self.fps, self.joins, on_drift),)

    def stages(
        self, jumps: Sequence[int], on_drift: Callable[[DriftSample], None] | None = None
    ) -> tuple[Enhancement, ...]:
        """All stages in order; `jumps` are the joins to soften, `on_drift` is told the drift of each frame."""
        wanted = self.enhance
        stages: list[Enhancement] = [*self.before_joins(on_drift)]
        if wanted.joins == "blend" and jumps:
            stages.append(BlendJoins(tuple(jumps)))
        if wanted.deflicker:
            stages.append(Deflicker())
        if wanted.denoise != "off":
            stages.append(FastDenoise() if wanted.denoise == "fast" else MotionDenoise())
        stages += looks(wanted, self.portrait)
        if wanted.sharpen is not None:
            stages.append(Sharpen(wanted.sharpen))
        if self.fps_out != self.fps:
            stages.append(Interpolate(self.fps, self.fps_out, self.n_samples, self.rate_hz))
        if self.captions is not None:
            stages.append(self.captions)
        return tuple(stages)


def looks(enhance: EnhanceSettings, portrait: NDArray[np.uint8]) -> tuple[Enhancement, ...]:
    """Stages that make a picture look otherwise on purpose: tone and size."""
    stages: list[Enhancement] = []
    if enhance.white_balance or (enhance.contrast, enhance.saturation) != (1, 1):
        balance = grey_world_gains(portrait) if enhance.white_balance else (1.0, 1.0, 1.0)
        pivot = float(np.clip(np.dot(portrait.mean(axis=(0, 1)), LUMA), 1, 254))
        stages.append(Tone(enhance.contrast, enhance.saturation, balance, pivot))
    height_px, width_px, _ = portrait.shape
    size = output_size(width_px, height_px, enhance)
    if size != (width_px, height_px):
        if enhance.upscale_model is None:
            stages.append(LanczosUpscale(*size))
        else:
            stages.append(ModelUpscale(OnnxUpscaler(enhance.upscale_model, round(enhance.upscale))))
    return tuple(stages)


def expected_look(enhance: EnhanceSettings, portrait: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The portrait as a delivered frame should show it: what the gate compares with."""
    wanted = looks(enhance, portrait)
    if not wanted:
        return portrait
    return next(chained(wanted, [ShownFrame(0, Fraction(0), portrait)])).pixels


def finish_key(settings: Settings, encoder: str, captions: str, label: str) -> dict[str, object]:
    """What changes the delivered pixels after the clips; {} where nothing does.

    Args:
        settings: of the input.
        encoder: FFmpeg's name of the encoder of the delivered picture.
        captions: text of the captions, for those that are burned in.
        label: hash of the visible label, which is laid over last; "" without one.
    """
    if not encodes_again(settings):
        return {}
    model = settings.enhance.upscale_model
    video = settings.video.model_dump(mode="json", include={"codec", "bit_depth", "crf", "bitrate_kbps", "x264_preset"})
    burned = settings.delivery.model_dump(mode="json", include={"burn_captions", "burn_place"})
    return {
        "enhance": {
            **settings.enhance.model_dump(mode="json"),
            "upscale_model": None if model is None else file_sha256(model),
        },
        "enhance_code": f"{CODE_VERSION} OpenCV {cv2.__version__}",
        "final_encoding": {**video, "encoder": encoder},
        "final_label": label,
        "burned": {**burned, "text": captions} if settings.delivery.burn_captions != "off" else None,
    }
