"""Rows of teeth as textures on the mouth's canvas, and the light that falls on them.

Belongs here: the portrait's own upper teeth as a plate, drawn teeth where it shows none, the face's light on them.
Does not belong here: tongue, shade and order of what lies in a mouth (mouth_interior), where lips go (mouth_shape).

Sizes are shares of the distance between the eyes (63 mm): a central incisor is 8.5 mm wide and 10 mm high.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import MIXED_EDGE, LipShape, luminance_of
from s2v_pipeline.generation.portrait.warp import blend, blurred, sample

UPPER_WIDTHS = (0.130, 0.100, 0.095, 0.072, 0.060, 0.050)  # from the middle outwards, foreshortened along the arch
HEIGHTS = (0.150, 0.138, 0.146, 0.125, 0.112, 0.100)
LOWER_WIDTHS = (0.082, 0.088, 0.090, 0.072, 0.060, 0.050)
ENAMEL = np.array([228, 213, 188], np.float32)  # of a lit tooth beside light skin
LIGHT_POWER = 0.5
LIT_SKIN = 195.0  # luminance of light skin in a well exposed portrait, which ENAMEL goes with
SKIN_TINT = 0.34  # of the skin's own colour in its teeth: light is coloured alike on both, and lips colour it more
GUM = np.array([0.66, 0.40, 0.40], np.float32)  # of the enamel's colour
GLEAM = 0.10  # of enamel, on the bulge of the front teeth: they are wet
# Skin at both sides of the mouth whose brightness is compared, in half widths of the mouth from its middle, and iod
# below its seam. Many pairs, and their median: a shadow of the nose, a beard's edge or hair falls on few of them.
BESIDE = (0.55, 0.8, 1.15, 1.35, 1.5)
BELOW_SEAM = (-0.22, -0.12, 0.0, 0.12, 0.25, 0.35)
STEEPEST_LIGHT = 2.2  # most change of the light's logarithm over one iod: a face lit from one side only
LIGHT_ON_TEETH = 0.8  # of that change: a row of teeth is flatter than the cheeks
LIGHT_LEAST, LIGHT_MOST = 0.35, 1.25


@dataclass(frozen=True, eq=False)
class FaceLight:
    """How a face is lit around its mouth.

    Attributes:
        enamel: (3,) colour of a tooth that the light falls on.
        level: brightness of the light, 1 where `ENAMEL` is right.
        slope: change of its logarithm towards the image's right, per iod.
        centre_u: where the light is `level`.
    """

    enamel: Floats
    level: float
    slope: float
    centre_u: float

    @classmethod
    def of(cls, canvas: Canvas, art: Floats, lips: LipShape, skin: Floats) -> FaceLight:
        """From the portrait on the canvas and the mean colour (3,) of its skin."""
        # Skin is dark because of its own colour or of the light; half of each is what this cannot tell apart.
        level = float(np.clip(luminance_of(skin) / LIT_SKIN, 0.1, 1.2)) ** LIGHT_POWER
        tint = (1 - SKIN_TINT) + SKIN_TINT * skin / max(1.0, float(skin.max()))
        centre_u = float(lips.u[0] + lips.u[-1]) / 2
        return cls((ENAMEL * level * tint).astype(np.float32), level, _slope(canvas, art, lips, centre_u), centre_u)

    def across(self, u: Floats) -> Floats:
        """Light at u on teeth, as a share of that at the middle of the mouth."""
        light = np.exp(LIGHT_ON_TEETH * self.slope * (u - self.centre_u))
        return np.asarray(np.clip(light, LIGHT_LEAST, LIGHT_MOST), np.float32)


def _slope(canvas: Canvas, art: Floats, lips: LipShape, centre_u: float) -> float:
    seam_v = float(lips.seam[len(lips.seam) // 2])
    off, below = np.meshgrid(np.array(BESIDE) * lips.half_width, np.array(BELOW_SEAM))
    off, below = off.ravel(), below.ravel()
    soft = blurred(art, 0.03 * canvas.scale)
    sides = [
        luminance_of(sample(soft, canvas.to_canvas(_points(centre_u + side * off, seam_v + below))[None])[0])
        for side in (-1, 1)
    ]
    left, right = (np.maximum(side, 4.0) for side in sides)
    slope = float(np.median(np.log(right / left) / (2 * off)))
    return float(np.clip(slope, -STEEPEST_LIGHT, STEEPEST_LIGHT))


def _points(u: Floats, v: Floats) -> Floats:
    return np.stack([u, v], axis=-1).astype(np.float32)


def portrait_plate(canvas: Canvas, art: Floats, lips: LipShape) -> tuple[Floats, Floats]:
    """The portrait's own teeth, continued upwards under the lip, ending where the portrait's lower lip hid them."""
    margin = np.minimum(0.6 * MIXED_EDGE, 0.3 * lips.gap)
    top = np.interp(canvas.u, lips.u, lips.upper_inner + margin).astype(np.float32)
    bottom = np.interp(canvas.u, lips.u, lips.lower_inner - margin).astype(np.float32)
    v = np.broadcast_to(canvas.v[:, None], (canvas.height, canvas.width))
    source_v = np.clip(v, top, np.maximum(bottom, top))
    map_y = ((source_v - canvas.v0) * canvas.scale).astype(np.float32)
    map_x = np.ascontiguousarray(np.broadcast_to(np.arange(canvas.width, dtype=np.float32), map_y.shape))
    plate = cv2.remap(art, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    above = (top - v)[..., None]
    plate = plate * (1 - 0.25 * smoothstep(0.0, 0.10, above))
    edge = np.interp(canvas.u, lips.u, lips.lower_inner + 0.006).astype(np.float32)
    alpha = smoothstep(0.012, -0.012, v - edge)
    inside = smoothstep(0.0, 0.10, np.interp(canvas.u, lips.u, 1 - np.abs(lips.s), left=0, right=0).astype(np.float32))
    return np.asarray(plate, np.float32), np.asarray(alpha * inside, np.float32)


def drawn_row(canvas: Canvas, light: FaceLight, edge_v: float, *, upper: bool) -> tuple[Floats, Floats]:
    """A row of teeth whose front edge lies at `edge_v`, drawn softly: (h, w, 3) colours and (h, w) alpha."""
    widths = UPPER_WIDTHS if upper else LOWER_WIDTHS
    x = np.abs(canvas.u - light.centre_u)[None, :]
    v = canvas.v[:, None]
    borders = np.concatenate([[0.0], np.cumsum(widths)])
    tooth = np.clip(np.searchsorted(borders, x, side="right") - 1, 0, len(widths) - 1)
    width, height = np.asarray(widths)[tooth], np.asarray(HEIGHTS)[tooth]
    across = np.clip((x - borders[tooth]) / width, 0, 1)
    roundness = 0.011 * np.abs(2 * across - 1) ** 3.5 + (0.008 if upper else 0.003) * (tooth == 1)
    arch = 0.055 * (x / borders[-1]) ** 2  # the row curves back and up
    into = (edge_v - arch - roundness - v) if upper else (v - edge_v - arch - roundness)  # distance from the edge
    alpha = smoothstep(-0.008, 0.010, into) * smoothstep(float(borders[-1]), 0.8 * float(borders[-1]), x)
    gap = np.exp(-((np.minimum(across, 1 - across) * width / 0.007) ** 2))
    bulge = 1 - 0.10 * (2 * across - 1) ** 2
    # Back along the arch teeth lie deeper in the cheeks' shade; a tooth that turns away is darker, too.
    back = 1 - 0.70 * smoothstep(0.08, float(borders[-1]), x)
    edge_light = 0.86 + 0.14 * smoothstep(0.0, 0.04, into)  # the thin edge lets the dark through
    neck = smoothstep(0.4, 1.0, (into / height).astype(np.float32))  # towards the gum a tooth is darker and more yellow
    gleam = GLEAM * np.exp(-(((into - 0.42 * height) / 0.022) ** 2) - ((across - 0.42) / 0.22) ** 2) * (tooth <= 2)
    lit = (1 - 0.18 * gap) * bulge * back * edge_light * (1 - 0.10 * neck) + gleam * back
    warmer = np.array([0.88, 1.0, 1.14], np.float32)  # shade is warm: what light reaches it has touched lips and gums
    colour = light.enamel * np.asarray(lit, np.float32)[..., None] ** warmer
    gum = smoothstep(0.0, 0.03, into - height * (1 - 0.25 * np.abs(2 * across - 1) ** 2))
    gum_colour = light.enamel * GUM * back[..., None]
    colour = blend(colour.astype(np.float32), gum_colour.astype(np.float32), gum)
    colour = colour * light.across(canvas.u)[None, :, None]
    blur = 0.006 * canvas.scale + 0.4
    return blurred(np.asarray(colour, np.float32), blur), blurred(np.asarray(alpha, np.float32), blur)
