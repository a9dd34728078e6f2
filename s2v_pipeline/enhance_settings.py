"""Settings of what is done to the finished picture, and the set that each generator's videos gain from.

Belongs here: the group `enhance`, sensible sets, whether anything is on.
Does not belong here: the stages themselves (video.enhance), their order (video.finish).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from s2v_pipeline.setting_values import Group, Rate

MEZZANINE_CRF = 4
"""x264's quality of clips that are encoded once more: on a small textured picture 0.1 dB below lossless 4:2:0 (40.7 and
40.8 dB, where halving the colours' resolution is nearly all that is lost)."""


class EnhanceSettings(Group):
    """What is done to the finished picture, in this order; everything is off unless it is asked for."""

    drift: bool = Field(False, description="colours that wander from chunk to chunk, back to the portrait's")
    joins: Literal["off", "measure", "blend"] = Field(
        "off", description="measure: jumps where chunks meet are looked for and named; blend: and softened"
    )
    deflicker: bool = Field(False, description="brightness that trembles from frame to frame, made steady")
    denoise: Literal["off", "fast", "motion"] = Field(
        "off", description="noise, where there is some; motion follows what moves: better, and slow"
    )
    contrast: float = Field(1.0, ge=0.5, le=2, description="slope around the portrait's brightness; 1 changes nothing")
    saturation: float = Field(1.0, ge=0, le=2, description="distance of colours from grey; 1 changes nothing")
    white_balance: bool = Field(
        False, description="a portrait's cast of colour taken out, by 12 % of a channel at most"
    )
    upscale: float = Field(1.0, ge=1, le=4, description="times that each side becomes larger")
    upscale_to_px: int | None = Field(
        None, ge=64, le=4096, multiple_of=2, description="shorter side afterwards, instead of upscale; never smaller"
    )
    upscale_model: Path | None = Field(
        None, description="ONNX super-resolution model (RGB of 0 to 1 in and out), for upscale 2, 3 or 4"
    )
    sharpen: float | None = Field(None, ge=0, le=0.8, description="strength; 0 is the mildest, none is none")
    interpolate_fps: Rate | None = Field(
        None, description="frames a second of the delivered video, made along the movement; none keeps video.fps"
    )

    @field_validator("interpolate_fps")
    @classmethod
    def _sane_rate(cls, value: Fraction | None) -> Fraction | None:
        if value is not None and not (1 <= value <= 120 and value.numerator <= 10**6):
            raise ValueError("must lie between 1 and 120, such as 25, 50 or 30000/1001")
        return value

    @model_validator(mode="after")
    def _a_model_has_a_factor(self) -> EnhanceSettings:
        if self.upscale_model is not None and (self.upscale not in (2, 3, 4) or self.upscale_to_px is not None):
            raise ValueError("upscale_model needs upscale = 2, 3 or 4, what it was trained for, and no upscale_to_px")
        return self

    @property
    def changes_pictures(self) -> bool:
        """Whether frames are decoded, changed and encoded again; `joins` "measure" alone changes none."""
        neutral = EnhanceSettings(joins=self.joins)
        return self.joins == "blend" or self != neutral


ENHANCED: Mapping[str, Mapping[str, Any]] = {
    # Its frames neither flicker nor drift, and its rate is a setting: what warping blurs is all there is to gain.
    "portrait": {"sharpen": 0.0},
    "wan_s2v": {
        "drift": True,
        "joins": "blend",
        "deflicker": True,
        "denoise": "fast",
        "sharpen": 0.0,
        "interpolate_fps": 25,
    },
}
"""Generator -> what `generation.enhance_quality` sets; explicit values win over it."""
