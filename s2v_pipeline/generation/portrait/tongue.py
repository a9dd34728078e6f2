"""The tongue: lying in the mouth, raised to the teeth, its tip between them.

Belongs here: its shapes and how they are lit.
Does not belong here: when it moves (mouth), what lies before and behind it (mouth_interior).

Sizes are shares of the distance between the eyes (63 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2v_pipeline.generation.portrait.canvas import Floats, smoothstep
from s2v_pipeline.generation.portrait.painting import Part, tinted

GLEAM = 0.20  # of the tongue's brightest channel, without colour
TIP_HALF_WIDTH = 0.165
TIP_REDDER = np.array([0.98, 0.84, 0.86], np.float32)  # than the tongue: it must be told from a lip beside it
TIP_SHADOW, TIP_SHADOW_OF_RED = 0.34, 0.8  # of light that it takes from the lip under it


@dataclass(frozen=True, eq=False)
class Tongue:
    """A tongue.

    Attributes:
        colour: (3,)
        tip: (3,) colour of the tip beside a lip.
        colourful: 0 in a portrait in shades of grey, 1 in one in colour.
        centre_u: u of its middle.
    """

    colour: Floats
    tip: Floats
    colourful: float
    centre_u: float

    def paint(
        self,
        part: Part,
        at_v: float,
        width: float,
        height: float,
        amount: float,
        *,
        raised: float,
        nothing_below_v: float,
    ) -> None:
        """A round: lying (`raised` 0), its front is lit and its back is dark; raised, its rim catches the light."""
        if amount <= 0:
            return
        part = part.within(
            self.centre_u - width, at_v - height, self.centre_u + width, min(at_v + height, nothing_below_v)
        )
        if part.is_empty:
            return
        x, y = (part.u - self.centre_u) / width, (part.v - at_v) / height
        square = x * x + y * y
        inside = smoothstep(1.0, 0.72, square)
        lying = 0.50 + 0.60 * smoothstep(-0.95, 0.25, y) - 0.15 * smoothstep(0.3, 1.0, y)
        tip = 1.16 - 0.40 * smoothstep(-0.6, 0.6, y) - 0.12 * smoothstep(-0.75, -1.0, y)
        light = lying + (tip - lying) * np.float32(raised)
        light = light - 0.13 * np.exp(-((x / 0.09) ** 2)) * smoothstep(0.9, 0.2, square) - 0.30 * x * x
        # Wet: a soft gleam on either side of the groove.
        gleam = np.exp(-(((np.abs(x) - 0.26) / 0.17) ** 2)) * np.exp(-(((y - (0.18 - 0.75 * raised)) / 0.20) ** 2))
        white = gleam * np.float32(GLEAM * (1 - 0.6 * raised) * self.colour.max())
        part.lay(tinted(self.colour, np.clip(light, 0.30, 1.20), white), inside * np.float32(amount))

    def paint_tip(self, part: Part, top_v: float, bottom_v: float, amount: float) -> None:
        """The tip from under the upper teeth over the lower lip, with its shadow on the lip."""
        half = 1.5 * TIP_HALF_WIDTH
        part = part.within(self.centre_u - half, top_v, self.centre_u + half, bottom_v + 0.5 * (bottom_v - top_v))
        if part.is_empty:
            return
        x = (part.u - self.centre_u) / TIP_HALF_WIDTH
        y = (part.v - top_v) / (bottom_v - top_v)
        # Flat at the teeth, round below: a superellipse's lower half.
        square = np.abs(x) ** 2.6 + np.maximum(y, 0) ** 3.0
        below_teeth = smoothstep(0.0, 0.12, y)
        part.take_light(
            smoothstep(2.6, 0.6, square) * (below_teeth * np.float32(TIP_SHADOW * amount)),
            1 - (1 - TIP_SHADOW_OF_RED) * self.colourful,
        )
        # Shaded by the teeth above, round at the sides, wet where it turns down.
        light = 0.55 + 0.60 * smoothstep(0.25, 0.66, y) - 0.34 * smoothstep(0.78, 1.05, y) - 0.25 * x * x
        light = light - 0.07 * np.exp(-((x / 0.12) ** 2))
        gleam = np.exp(-(((np.abs(x) - 0.30) / 0.20) ** 2)) * np.exp(-(((y - 0.72) / 0.10) ** 2))
        white = gleam * np.float32(0.5 * GLEAM * self.colour.max())
        inside = smoothstep(1.15, 0.75, square) * (below_teeth * np.float32(amount))
        part.lay(tinted(self.tip, light, white), inside)
