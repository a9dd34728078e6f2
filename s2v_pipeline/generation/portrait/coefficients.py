"""The portrait generator's chunk latents: face-motion coefficients, one row a frame.

Belongs here: their names, order, ranges and meaning; the frozen table that motion makes and the renderer draws.
Does not belong here: where the values come from (motion), how they look (renderer).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.timebase import FrameSpan


@dataclass(frozen=True)
class Coefficient:
    """One column: its name, the closed range of its values, and what the two ends look like."""

    name: str
    least: float
    most: float
    meaning: str


COEFFICIENTS: tuple[Coefficient, ...] = (
    Coefficient("jaw_open", 0, 1, "0 teeth together, 1 a wide AA; chin and lower lip go down with it"),
    Coefficient("lips_closed", 0, 1, "1 lips touch along their whole length whatever the jaw does (P B M)"),
    Coefficient("lip_press", 0, 1, "1 closed lips are pressed together and thin"),
    Coefficient("lip_width", -1, 1, "-1 corners drawn in (UW), +1 corners spread (IY)"),
    Coefficient("lip_pucker", 0, 1, "1 lips pushed forward and rounded (UW, W, SH)"),
    Coefficient("lip_tuck", 0, 1, "1 lower lip under the upper teeth (F V)"),
    Coefficient("tongue_tip", 0, 1, "1 tip of the tongue at the upper teeth (TH DH L, less for T D N)"),
    Coefficient("smile_relax", 0, 1, "1 the portrait's own smile is relaxed to what speaking leaves of it"),
    Coefficient("lips_apart", -1, 1, "opening of the lips beyond (+) or short of (-) what the slower jaw gives them"),
    Coefficient("blink", 0, 1, "1 eyelids meet"),
    Coefficient("brow_raise", -1, 1, "+1 brows up, -1 brows lowered"),
    Coefficient("gaze_x", -1, 1, "eyeballs towards the image's left (-1) or right (+1)"),
    Coefficient("gaze_y", -1, 1, "eyeballs up (-1) or down (+1)"),
    Coefficient("head_pitch_deg", -15, 15, "nod about the neck; positive looks down"),
    Coefficient("head_yaw_deg", -15, 15, "turn; positive turns the face towards the image's right"),
    Coefficient("head_roll_deg", -15, 15, "tilt; positive is clockwise in the image"),
    Coefficient("breath", 0, 1, "shoulders and chest: 0 breathed out, 1 breathed in"),
)

COEFFICIENT_NAMES: tuple[str, ...] = tuple(coefficient.name for coefficient in COEFFICIENTS)


@dataclass(frozen=True, eq=False)
class FaceMotion:
    """Coefficients of consecutive frames: `values` (len(frames), len(COEFFICIENTS)) float32; stored read-only.

    Raises:
        ValueError: another shape or dtype, a value that is not finite or lies outside its coefficient's range.
    """

    frames: FrameSpan
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = (len(self.frames), len(COEFFICIENTS))
        if self.values.shape != expected or self.values.dtype != np.float32:
            raise ValueError(f"face motion must be {expected} float32; got {self.values.shape} {self.values.dtype}")
        least = np.array([coefficient.least for coefficient in COEFFICIENTS], np.float32)
        most = np.array([coefficient.most for coefficient in COEFFICIENTS], np.float32)
        inside = np.isfinite(self.values) & (self.values >= least) & (self.values <= most)
        if not inside.all():
            column = int(np.argmin(inside.all(axis=0)))
            raise ValueError(
                f"{COEFFICIENT_NAMES[column]} must lie in [{least[column]}, {most[column]}]; "
                f"got {self.values[~inside[:, column], column][:3]}"
            )
        self.values.flags.writeable = False

    def column(self, name: str) -> NDArray[np.float32]:
        """Values of one coefficient, (len(frames),)."""
        return self.values[:, COEFFICIENT_NAMES.index(name)]
