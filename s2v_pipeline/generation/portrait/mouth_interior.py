"""What is seen between the lips: teeth, tongue and the dark behind them.

Belongs here: the portrait's own upper teeth as a plate fixed to the skull, drawn teeth where it shows none, the tongue.
Does not belong here: the lips (lips, mouth_patch), where the opening is (mouth_shape).

Sizes are shares of the distance between the eyes (63 mm): a central incisor is 8.5 mm wide and 10 mm high.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import MIXED_EDGE, N_COLUMNS, LipShape, luminance_of
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.warp import blend, blurred, sample

UPPER_WIDTHS = (0.130, 0.100, 0.095, 0.072, 0.060, 0.050)  # from the middle outwards, foreshortened along the arch
UPPER_HEIGHTS = (0.150, 0.138, 0.146, 0.125, 0.112, 0.100)
LOWER_WIDTHS = (0.082, 0.088, 0.090, 0.072, 0.060, 0.050)
INCISAL_BELOW_SEAM = 0.058  # nearly 4 mm: upper front teeth show this much under a lip at rest
ROUND_COVERS = 0.075  # how much lower lips that are pushed forward hang before the teeth
LOWER_ABOVE_INCISAL = 0.040  # lower front teeth stand behind the upper ones
LIGHT_POWER = 0.5
ENAMEL = np.array([224, 212, 190], np.float32)  # of a lit tooth beside light skin
COLOURED_SKIN = 0.12  # (most - least) / most of red, green and blue; skin in colour has 0.25 and more
LIT_SKIN = 195.0  # luminance of light skin in a well exposed portrait, which ENAMEL goes with
TONGUE_SHARE = np.array([0.80, 0.62, 0.62], np.float32)  # of the lips' colour
TONGUE = np.array([168, 88, 86], np.float32)  # lit as ENAMEL is; half of this, half from the lips
GLEAM = 0.20  # of the tongue's brightest channel, without colour
TIP_IN_FRONT = 0.65  # tongue_tip beyond which the tip comes between or before the teeth (L TH DH)
CAVITY_SHARE = np.array([0.30, 0.16, 0.16], np.float32)
# Light that reaches teeth past lips has been reddened by them: shade takes green and blue first.
SHADE_POWER = np.array([0.80, 1.08, 1.15], np.float32)


@dataclass(frozen=True, eq=False)
class MouthInterior:
    """Textures on the mouth's canvas.

    Attributes:
        upper_teeth: (h, w, 3), where they stand in the portrait; they never move on the canvas.
        upper_alpha: (h, w)
        lower_teeth: (h, w, 3), with the jaw closed.
        lower_alpha: (h, w)
        incisal_v: v of the upper front teeth's edge.
        centre_u: u of the middle of the mouth.
        tongue, cavity: (3,) colours.
        colourful: 0 for a portrait in shades of grey, whose mouth has no colour either, 1 for one in colour.
    """

    upper_teeth: Floats
    upper_alpha: Floats
    lower_teeth: Floats
    lower_alpha: Floats
    incisal_v: float
    centre_u: float
    tongue: Floats
    cavity: Floats
    colourful: float

    @classmethod
    def build(cls, canvas: Canvas, art: Floats, lips: LipShape, skin: Floats) -> MouthInterior:
        """From the portrait on the canvas and the mean colour (3,) of its skin."""
        middle = N_COLUMNS // 2
        centre_u = float(lips.u[0] + lips.u[-1]) / 2
        # Skin is dark because of its own colour or of the light; half of each is what this cannot tell apart.
        light = float(np.clip(luminance_of(skin) / LIT_SKIN, 0.1, 1.2)) ** LIGHT_POWER
        # A fifth of the skin's own tint stands for the light that falls on both.
        enamel = np.asarray(ENAMEL * light * (0.8 + 0.2 * skin / max(1.0, float(skin.max()))), np.float32)
        colourful = min(1.0, float(np.ptp(skin)) / max(1.0, float(skin.max())) / COLOURED_SKIN)
        enamel = _toned(enamel, colourful)
        dim_enamel = enamel * np.float32(0.8)
        lip_colour = _lip_colour(canvas, art, lips)
        if lips.shows_teeth:
            upper, alpha = _portrait_plate(canvas, art, lips)
            incisal_v = float(lips.lower_inner[middle])
        else:
            incisal_v = float(lips.seam[middle]) + INCISAL_BELOW_SEAM
            upper, alpha = _drawn_row(canvas, centre_u, incisal_v, enamel, UPPER_WIDTHS, UPPER_HEIGHTS, upper=True)
            upper = _toned(upper, colourful)
        lower, lower_alpha = _drawn_row(
            canvas, centre_u, incisal_v - LOWER_ABOVE_INCISAL, dim_enamel, LOWER_WIDTHS, UPPER_HEIGHTS, upper=False
        )
        return cls(
            upper,
            alpha,
            _toned(lower, colourful),
            lower_alpha,
            incisal_v,
            centre_u,
            _toned((0.5 * (lip_colour * TONGUE_SHARE + TONGUE * light)).astype(np.float32), colourful),
            _toned((lip_colour * CAVITY_SHARE).astype(np.float32), colourful),
            colourful,
        )

    def paint(
        self, canvas: Canvas, pose: MouthPose, lips: LipShape, rows: slice, columns: slice, tongue_tip: float
    ) -> Floats:
        """Colours behind the lips in a part of the canvas."""
        u, v = canvas.u[columns][None, :], canvas.v[rows][:, None]
        upper_edge = np.interp(canvas.u[columns], pose.u, pose.upper_edge).astype(np.float32)[None, :]
        lower_edge = np.interp(canvas.u[columns], pose.u, pose.lower_edge).astype(np.float32)[None, :]
        below_lip, above_lip = v - upper_edge, lower_edge - v

        # The back of the mouth is dark; the floor and the cheeks catch some light.
        lit = (0.65 + 0.9 * (1 - 0.8 * pose.pucker) * smoothstep(0.14, 0.0, above_lip)) * (1 - 0.2 * pose.pucker)
        out = self.cavity * lit[..., None]

        floor_v = self.incisal_v - LOWER_ABOVE_INCISAL + pose.jaw_drop
        lying = 0.45 + 0.55 * min(1.0, pose.opening / 0.30)
        out = self._tongue(out, u, v, floor_v + 0.035, 0.27, 0.135, 0.9 * lying * (1 - 0.7 * pose.pucker), raised=0.0)
        lower = _moved_down(self.lower_teeth, pose.jaw_drop * canvas.scale, rows, columns)
        lower_alpha = _moved_down(self.lower_alpha, pose.jaw_drop * canvas.scale, rows, columns)
        # Teeth of the lower jaw lie in the upper ones' shade until the mouth opens.
        lower_light = 0.50 + 0.40 * min(1.0, pose.opening / 0.25)
        lower = lower * np.asarray(lower_light ** (1 + (SHADE_POWER - 1) * self.colourful), np.float32)
        # The lower lip hides them until the jaw has drawn it down; a raised tongue lies before the gap over them.
        seen = _eased((pose.opening - 0.05) / 0.11) * _eased(pose.jaw_drop / 0.04) * max(0.0, 1 - 1.5 * pose.pucker)
        out = blend(out, lower, lower_alpha * np.float32(seen * (1 - 0.6 * tongue_tip)))

        shade = self._shade(u, below_lip, pose, lips)
        # Lips pushed forward come down before the teeth: on the canvas, where lips are placed, teeth go up.
        up_px = -ROUND_COVERS * _eased((pose.pucker - 0.08) / 0.55) * canvas.scale
        teeth = _moved_down(self.upper_teeth, up_px, rows, columns) * shade[..., None] ** (
            1 + (SHADE_POWER - 1) * np.float32(self.colourful)
        )
        alpha = _moved_down(self.upper_alpha, up_px, rows, columns) * _hidden(pose.pucker)
        reaches = min(1.0, 1.5 * tongue_tip)  # T, D and N raise the tip as high, behind the teeth
        before = _eased((tongue_tip - TIP_IN_FRONT) / (1 - TIP_IN_FRONT))
        # Its rim lies behind the teeth, or (L TH DH) before their edge; the lower lip hides the rest of the round.
        rim_v = self.incisal_v + 0.030 - 0.030 * reaches - 0.022 * before
        out = self._tongue(out, u, v, rim_v + 0.13, 0.23, 0.13, reaches, raised=1.0)
        if before > 0:
            tip = ((u - self.centre_u) / 0.17) ** 2 + ((v - rim_v - 0.10) / 0.10) ** 2
            alpha = alpha * (1 - np.float32(0.92 * before) * smoothstep(1.0, 0.75, tip.astype(np.float32)))
        return blend(out, teeth, alpha)

    def _tongue(
        self,
        under: Floats,
        u: Floats,
        v: Floats,
        at_v: float,
        width: float,
        height: float,
        amount: float,
        *,
        raised: float,
    ) -> Floats:
        """The tongue as a round: lying, its front is lit and its back is dark; raised, its rim catches the light."""
        if amount <= 0:
            return under
        x, y = (u - self.centre_u) / width, (v - at_v) / height
        square = x * x + y * y
        inside = smoothstep(1.0, 0.72, square)
        lying = 0.50 + 0.60 * smoothstep(-0.95, 0.25, y) - 0.15 * smoothstep(0.3, 1.0, y)
        tip = 1.06 - 0.34 * smoothstep(-0.6, 0.6, y) - 0.12 * smoothstep(-0.75, -1.0, y)
        light = lying + (tip - lying) * np.float32(raised)
        light = light - 0.13 * np.exp(-((x / 0.09) ** 2)) * smoothstep(0.9, 0.2, square) - 0.30 * x * x
        # Wet: a soft gleam on either side of the groove.
        gleam = np.exp(-(((np.abs(x) - 0.26) / 0.17) ** 2) - ((y - (0.18 - 0.75 * raised)) / 0.20) ** 2)
        colour = (
            self.tongue * np.clip(light, 0.30, 1.15)[..., None]
            + (GLEAM * (1 - 0.6 * raised) * self.tongue.max()) * gleam[..., None]
        )
        return blend(under, colour.astype(np.float32), inside * np.float32(amount))

    def _shade(self, u: Floats, below_lip: Floats, pose: MouthPose, lips: LipShape) -> Floats:
        """Light on the upper teeth: lips over them throw a shadow, a small or rounded opening lets in little."""
        middle = len(pose.u) // 2
        if lips.shows_teeth:
            covered = max(0.0, float(pose.upper_edge[middle] - lips.upper_inner[middle]))
            narrowed = max(0.0, 1 - pose.opening / max(1e-3, float(lips.gap.max())))
        else:
            covered, narrowed = 0.02, max(0.0, 1 - pose.opening / 0.16)
        lip_shadow = min(0.45, 9.0 * covered) * smoothstep(0.075, 0.0, below_lip)
        half = max(1e-3, float(pose.u[-1] - pose.u[0]) / 2)
        side = smoothstep(0.55, 1.05, np.abs(u - (pose.u[0] + pose.u[-1]) / 2) / half)
        side_shadow = (0.1 if lips.shows_teeth else 0.4) * side + 0.35 * pose.pucker
        light = (1 - lip_shadow) * (1 - side_shadow) * (1 - 0.25 * min(1.0, narrowed))
        return np.asarray(light, np.float32)


def _hidden(pucker: float) -> np.float32:
    return np.float32(1 - 0.95 * _eased((pucker - 0.25) / 0.45))


def _eased(share: float) -> float:
    u = min(1.0, max(0.0, share))
    return u * u * (3 - 2 * u)


def _toned(colours: Floats, colourful: float) -> Floats:
    """Colours (..., 3) with so much of their colour."""
    grey = luminance_of(colours)[..., None]
    return np.asarray(grey + (colours - grey) * np.float32(colourful), np.float32)


def _moved_down(texture: Floats, shift_px: float, rows: slice, columns: slice) -> Floats:
    """A part of a texture that was moved down by a fraction of pixels."""
    matrix = np.array([[1, 0, columns.start], [0, 1, rows.start - shift_px]], np.float32)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(texture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _lip_colour(canvas: Canvas, art: Floats, lips: LipShape) -> Floats:
    middle = slice(N_COLUMNS // 4, -N_COLUMNS // 4)
    v = (lips.lower_inner + 0.5 * (lips.lower_outer - lips.lower_inner))[middle]
    at = canvas.to_canvas(np.stack([lips.u[middle], v], axis=-1))[None].astype(np.float32)
    return np.asarray(np.median(sample(art, at)[0], axis=0), np.float32)


def _portrait_plate(canvas: Canvas, art: Floats, lips: LipShape) -> tuple[Floats, Floats]:
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


def _drawn_row(
    canvas: Canvas,
    centre_u: float,
    edge_v: float,
    enamel: Floats,
    widths: tuple[float, ...],
    heights: tuple[float, ...],
    *,
    upper: bool,
) -> tuple[Floats, Floats]:
    """A row of teeth whose front edge lies at `edge_v`, drawn softly: (h, w, 3) colours and (h, w) alpha."""
    x = np.abs(canvas.u - centre_u)[None, :]
    v = canvas.v[:, None]
    borders = np.concatenate([[0.0], np.cumsum(widths)])
    tooth = np.clip(np.searchsorted(borders, x, side="right") - 1, 0, len(widths) - 1)
    width, height = np.asarray(widths)[tooth], np.asarray(heights)[tooth]
    across = np.clip((x - borders[tooth]) / width, 0, 1)
    roundness = 0.011 * np.abs(2 * across - 1) ** 3.5 + (0.008 if upper else 0.003) * (tooth == 1)
    arch = 0.055 * (x / borders[-1]) ** 2  # the row curves back and up
    into = (edge_v - arch - roundness - v) if upper else (v - edge_v - arch - roundness)  # distance from the edge
    alpha = smoothstep(-0.008, 0.010, into) * smoothstep(float(borders[-1]), 0.8 * float(borders[-1]), x)
    seam = np.exp(-((np.minimum(across, 1 - across) * width / 0.007) ** 2))
    bulge = 1 - 0.08 * (2 * across - 1) ** 2
    back = 1 - 0.62 * smoothstep(0.08, float(borders[-1]), x)
    edge_light = 0.88 + 0.12 * smoothstep(0.0, 0.04, into)  # the thin edge lets the dark through
    neck = smoothstep(0.4, 1.0, (into / height).astype(np.float32))  # towards the gum a tooth is darker and more yellow
    light = (1 - 0.15 * seam) * bulge * back * edge_light * (1 - 0.10 * neck)
    colour = enamel * light[..., None] ** np.array([0.95, 1.0, 1.06], np.float32)
    gum = smoothstep(0.0, 0.03, into - height * (1 - 0.25 * np.abs(2 * across - 1) ** 2))
    gum_colour = enamel * np.array([0.66, 0.40, 0.40], np.float32) * back[..., None]
    colour = blend(colour.astype(np.float32), gum_colour.astype(np.float32), gum)
    blur = 0.006 * canvas.scale + 0.4
    return blurred(colour, blur), blurred(np.asarray(alpha, np.float32), blur)
