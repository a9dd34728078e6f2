"""What is seen between the lips: teeth, tongue and the dark behind them.

Belongs here: their order, the shade on them, the tongue. Upper teeth are fixed to the skull, lower ones to the jaw.
Does not belong here: teeth by themselves (teeth), the lips (lips, mouth_patch), where the opening is (mouth_shape).

Sizes are shares of the distance between the eyes (63 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import N_COLUMNS, LipShape, luminance_of
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.teeth import FaceLight, drawn_row, portrait_plate
from s2v_pipeline.generation.portrait.warp import blend, sample

INCISAL_BELOW_SEAM = 0.058  # nearly 4 mm: upper front teeth show this much under a lip at rest
ROUND_COVERS = 0.075  # how much lower lips that are pushed forward hang before the teeth
LOWER_ABOVE_INCISAL = 0.040  # lower front teeth stand behind the upper ones
LOWER_LIGHT = 0.8  # of the upper teeth's
COLOURED_SKIN = 0.12  # (most - least) / most of red, green and blue; skin in colour has 0.25 and more
TONGUE_SHARE = np.array([0.80, 0.62, 0.62], np.float32)  # of the lips' colour
TONGUE = np.array([178, 86, 86], np.float32)  # lit as ENAMEL is; half of this, half from the lips
GLEAM = 0.20  # of the tongue's brightest channel, without colour
TIP_IN_FRONT = 0.65  # tongue_tip beyond which the tip comes between the teeth (TH DH)
TIP_OUT_UP_TO, TIP_GOES_WITHIN = 0.115, 0.05  # iod of opening; a wider mouth is an L's, whose tip is behind the teeth
TIP_HALF_WIDTH = 0.165  # iod
TIP_BEHIND_TEETH = 0.016  # iod of it that the upper teeth cover
TIP_REDDER = np.array([0.98, 0.84, 0.86], np.float32)  # than the tongue: it must be told from a lip beside it
TIP_LEAST, TIP_OVER_LIP = 0.055, 0.036  # iod below the teeth's edge, and over the lower lip's
TEETH_SHADOW, TEETH_SHADOW_DARK = 0.014, 0.38  # iod that it reaches below the upper teeth, and how dark it is
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
        light: that falls on the face.
        tongue, cavity: (3,) colours.
        colourful: 0 for a portrait in shades of grey, whose mouth has no colour either, 1 for one in colour.
    """

    upper_teeth: Floats
    upper_alpha: Floats
    lower_teeth: Floats
    lower_alpha: Floats
    incisal_v: float
    light: FaceLight
    tongue: Floats
    cavity: Floats
    colourful: float

    @classmethod
    def build(cls, canvas: Canvas, art: Floats, lips: LipShape, skin: Floats) -> MouthInterior:
        """From the portrait on the canvas and the mean colour (3,) of its skin."""
        light = FaceLight.of(canvas, art, lips, skin)
        colourful = min(1.0, float(np.ptp(skin)) / max(1.0, float(skin.max())) / COLOURED_SKIN)
        lip_colour = _lip_colour(canvas, art, lips)
        middle = N_COLUMNS // 2
        if lips.shows_teeth:
            upper, alpha = portrait_plate(canvas, art, lips)
            incisal_v = float(lips.lower_inner[middle])
        else:
            incisal_v = float(lips.seam[middle]) + INCISAL_BELOW_SEAM
            upper, alpha = drawn_row(canvas, light, incisal_v, upper=True)
            upper = _toned(upper, colourful)
        lower, lower_alpha = drawn_row(canvas, light, incisal_v - LOWER_ABOVE_INCISAL, upper=False)
        tongue = 0.5 * (lip_colour * TONGUE_SHARE + TONGUE * light.level)
        return cls(
            upper,
            alpha,
            _toned(lower * np.float32(LOWER_LIGHT), colourful),
            lower_alpha,
            incisal_v,
            light,
            _toned(tongue.astype(np.float32), colourful),
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

        reaches = min(1.0, 1.5 * tongue_tip)  # T, D and N raise the tip nearly as high, behind the teeth
        rim_v = self.incisal_v + 0.030 - 0.040 * reaches
        out = self._tongue(out, u, v, rim_v + 0.13, 0.23, 0.13, reaches, raised=1.0)
        teeth, alpha = self._upper(canvas, pose, lips, rows, columns, below_lip)
        return blend(out, teeth, alpha)

    def paint_before_lip(
        self,
        part: Floats,
        canvas: Canvas,
        pose: MouthPose,
        lips: LipShape,
        rows: slice,
        columns: slice,
        tongue_tip: float,
    ) -> Floats:
        """What lies before the lower lip: the tongue's tip between the teeth (TH DH), upper teeth on the lip (F V).

        Args:
            part: colours of this part of the canvas with the lower lip.
        """
        between = _between(pose, tongue_tip)
        amount = max(between, pose.tuck)
        if amount <= 0:
            return part
        u, v = canvas.u[columns][None, :], canvas.v[rows][:, None]
        upper_edge = np.interp(canvas.u[columns], pose.u, pose.upper_edge).astype(np.float32)[None, :]
        off = np.abs(u - self.light.centre_u)
        out = part
        if between > 0:
            lip_v = float(pose.lower_edge[len(pose.lower_edge) // 2])
            bottom_v = max(self.incisal_v + TIP_LEAST, lip_v + TIP_OVER_LIP)
            out = self._tip(out, u, v, self.incisal_v - TIP_BEHIND_TEETH, bottom_v, between)
        teeth, alpha = self._upper(canvas, pose, lips, rows, columns, v - upper_edge)
        alpha = alpha * (smoothstep(0.30, 0.16, off) * np.float32(amount))
        # Teeth throw a narrow shadow on what they stand on.
        under_px = TEETH_SHADOW * canvas.scale
        shadow = _moved_down(self.upper_alpha, under_px, rows, columns) * smoothstep(0.30, 0.16, off)
        dark = np.asarray(shadow * np.float32(TEETH_SHADOW_DARK * amount), np.float32)
        out = out * (1 - dark[..., None] * np.asarray(1 - 0.4 * (SHADE_POWER < 1), np.float32))
        return blend(out, teeth, alpha)

    def _upper(
        self, canvas: Canvas, pose: MouthPose, lips: LipShape, rows: slice, columns: slice, below_lip: Floats
    ) -> tuple[Floats, Floats]:
        """Upper teeth in this pose's light, and how much of them is seen."""
        shade = self._shade(canvas.u[columns][None, :], below_lip, pose, lips)
        # Lips pushed forward come down before the teeth: on the canvas, where lips are placed, teeth go up.
        up_px = -ROUND_COVERS * _eased((pose.pucker - 0.08) / 0.55) * canvas.scale
        power = 1 + (SHADE_POWER - 1) * np.float32(self.colourful)
        teeth = _moved_down(self.upper_teeth, up_px, rows, columns) * shade[..., None] ** power
        alpha = _moved_down(self.upper_alpha, up_px, rows, columns) * _hidden(pose.pucker)
        return teeth.astype(np.float32), alpha

    def _tip(self, under: Floats, u: Floats, v: Floats, top_v: float, bottom_v: float, amount: float) -> Floats:
        """The tongue's tip from under the upper teeth over the lower lip, with its shadow on the lip."""
        x = (u - self.light.centre_u) / TIP_HALF_WIDTH
        y = (v - top_v) / (bottom_v - top_v)
        # Flat at the teeth, round below: a superellipse's lower half.
        square = np.abs(x) ** 2.6 + np.maximum(y, 0) ** 3.0
        below_teeth = smoothstep(0.0, 0.12, y)
        shadow = smoothstep(2.6, 0.6, square) * below_teeth * np.float32(0.34 * amount)
        out = under * (1 - shadow[..., None] * np.asarray([0.8, 1.0, 1.0], np.float32))
        # Shaded by the teeth above, round at the sides, wet where it turns down.
        light = 0.55 + 0.60 * smoothstep(0.25, 0.66, y) - 0.34 * smoothstep(0.78, 1.05, y) - 0.25 * x * x
        light = light - 0.07 * np.exp(-((x / 0.12) ** 2))
        gleam = np.exp(-(((np.abs(x) - 0.30) / 0.20) ** 2) - (((y - 0.72) / 0.10) ** 2))
        colour = self.tongue * TIP_REDDER * light[..., None] + (0.5 * GLEAM * self.tongue.max()) * gleam[..., None]
        inside = smoothstep(1.15, 0.75, square) * below_teeth * np.float32(amount)
        return blend(out.astype(np.float32), colour.astype(np.float32), inside)

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
        x, y = (u - self.light.centre_u) / width, (v - at_v) / height
        square = x * x + y * y
        inside = smoothstep(1.0, 0.72, square)
        lying = 0.50 + 0.60 * smoothstep(-0.95, 0.25, y) - 0.15 * smoothstep(0.3, 1.0, y)
        tip = 1.16 - 0.40 * smoothstep(-0.6, 0.6, y) - 0.12 * smoothstep(-0.75, -1.0, y)
        light = lying + (tip - lying) * np.float32(raised)
        light = light - 0.13 * np.exp(-((x / 0.09) ** 2)) * smoothstep(0.9, 0.2, square) - 0.30 * x * x
        # Wet: a soft gleam on either side of the groove.
        gleam = np.exp(-(((np.abs(x) - 0.26) / 0.17) ** 2) - ((y - (0.18 - 0.75 * raised)) / 0.20) ** 2)
        colour = (
            self.tongue * np.clip(light, 0.30, 1.20)[..., None]
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
            covered, narrowed = 0.015, max(0.0, 1 - pose.opening / 0.16)
        lip_shadow = min(0.45, 9.0 * covered) * smoothstep(0.075, 0.0, below_lip)
        half = max(1e-3, float(pose.u[-1] - pose.u[0]) / 2)
        side = smoothstep(0.55, 1.05, np.abs(u - (pose.u[0] + pose.u[-1]) / 2) / half)
        side_shadow = (0.1 if lips.shows_teeth else 0.4) * side + 0.35 * pose.pucker
        light = (1 - lip_shadow) * (1 - side_shadow) * (1 - 0.12 * min(1.0, narrowed))
        return np.asarray(light, np.float32)


def _between(pose: MouthPose, tongue_tip: float) -> float:
    """How far the tongue's tip is out between the teeth: with an open mouth (L) it is behind them."""
    near = 1 - _eased((pose.opening - TIP_OUT_UP_TO) / TIP_GOES_WITHIN)
    apart = _eased(pose.opening / 0.05)
    return _eased((tongue_tip - TIP_IN_FRONT) / (1 - TIP_IN_FRONT)) * near * apart * max(0.0, 1 - 2 * pose.pucker)


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
