"""What is seen between the lips: teeth, tongue and the dark behind them.

Belongs here: their order and the shade on them. Upper teeth are fixed to the skull, lower ones to the jaw.
Does not belong here: each by itself (teeth, tongue), the lips (lips, mouth_patch), where the opening is (mouth_shape).

Sizes are shares of the distance between the eyes (63 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import N_COLUMNS, LipShape, luminance_of
from s2v_pipeline.generation.portrait.mouth_shape import MouthPose
from s2v_pipeline.generation.portrait.painting import Part, tinted
from s2v_pipeline.generation.portrait.teeth import FaceLight, drawn_row, portrait_plate
from s2v_pipeline.generation.portrait.tongue import TIP_REDDER, Tongue
from s2v_pipeline.generation.portrait.warp import four_channels, sample

INCISAL_BELOW_SEAM = 0.058  # nearly 4 mm: upper front teeth show this much under a lip at rest
ROUND_COVERS = 0.075  # how much lower lips that are pushed forward hang before the teeth
LOWER_ABOVE_INCISAL = 0.040  # lower front teeth stand behind the upper ones
LOWER_LIGHT = 0.8  # of the upper teeth's
COLOURED_SKIN = 0.12  # (most - least) / most of red, green and blue; skin in colour has 0.25 and more
TONGUE_SHARE = np.array([0.80, 0.62, 0.62], np.float32)  # of the lips' colour
TONGUE = np.array([178, 86, 86], np.float32)  # lit as ENAMEL is; half of this, half from the lips
TIP_IN_FRONT = 0.65  # tongue_tip beyond which the tip comes between the teeth (TH DH)
TIP_OUT_UP_TO, TIP_GOES_WITHIN = 0.115, 0.03  # iod of opening; a wider mouth is an L's, whose tip is behind the teeth
TIP_BEHIND_TEETH = 0.016  # iod of it that the upper teeth cover
TIP_LEAST, TIP_OVER_LIP = 0.055, 0.036  # iod below the teeth's edge, and over the lower lip's
TEETH_SHADOW, TEETH_SHADOW_DARK = 0.014, 0.38  # iod that it reaches below the upper teeth, and how dark it is
SHADOW_OF_RED = 0.6  # of what it takes from the other colours
LIP_HIDES = 0.03  # iod below its edge a lower lip hides all for certain
CAVITY_SHARE = np.array([0.30, 0.16, 0.16], np.float32)
# Light that reaches teeth past lips has been reddened by them: shade takes green and blue first.
SHADE_POWER = np.array([0.80, 1.08, 1.15], np.float32)


@dataclass(frozen=True, eq=False)
class MouthInterior:
    """Textures on the mouth's canvas.

    Attributes:
        upper_teeth: (h, w, 4), where they stand in the portrait; they never move on the canvas.
        upper_alpha: (h, w)
        lower_teeth: (h, w, 4), with the jaw closed.
        lower_alpha: (h, w)
        incisal_v: v of the upper front teeth's edge.
        light: that falls on the face.
        tongue: lies behind the lower teeth.
        cavity: (3,) colour of the dark.
        colourful: 0 for a portrait in shades of grey, whose mouth has no colour either, 1 for one in colour.
    """

    upper_teeth: Floats
    upper_alpha: Floats
    lower_teeth: Floats
    lower_alpha: Floats
    incisal_v: float
    light: FaceLight
    tongue: Tongue
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
            four_channels(upper),
            alpha,
            four_channels(_toned(lower * np.float32(LOWER_LIGHT), colourful)),
            lower_alpha,
            incisal_v,
            light,
            Tongue(
                _toned(tongue.astype(np.float32), colourful),
                _toned((tongue * TIP_REDDER).astype(np.float32), colourful),
                colourful,
                light.centre_u,
            ),
            _toned((lip_colour * CAVITY_SHARE).astype(np.float32), colourful),
            colourful,
        )

    def paint(self, part: Part, pose: MouthPose, lips: LipShape, tongue_tip: float) -> None:
        """What lies behind the lips, on a part of the canvas."""
        lower_edge = np.interp(part.u[0], pose.u, pose.lower_edge).astype(np.float32)[None, :]
        # The back of the mouth is dark; the floor and the cheeks catch some light.
        lit = 0.65 + 0.9 * (1 - 0.8 * pose.pucker) * smoothstep(0.14, 0.0, lower_edge - part.v)
        part.pixels[:] = tinted(self.cavity, lit * np.float32(1 - 0.2 * pose.pucker))

        hidden_v = float(pose.lower_edge.max()) + LIP_HIDES
        lower_v = self.incisal_v - LOWER_ABOVE_INCISAL + pose.jaw_drop
        lying = (0.45 + 0.55 * min(1.0, pose.opening / 0.30)) * (1 - 0.7 * pose.pucker)
        self.tongue.paint(part, lower_v + 0.035, 0.27, 0.135, 0.9 * lying, raised=0.0, nothing_below_v=hidden_v)
        # The lower lip hides them until the jaw has drawn it down; a raised tongue lies before the gap over them.
        seen = _eased((pose.opening - 0.05) / 0.11) * _eased(pose.jaw_drop / 0.04) * max(0.0, 1 - 1.5 * pose.pucker)
        teeth = part.within(-np.inf, lower_v - 0.03, np.inf, hidden_v)
        if seen > 0 and not teeth.is_empty:
            down_px = pose.jaw_drop * part.canvas.scale
            # Teeth of the lower jaw lie in the upper ones' shade until the mouth opens.
            lower_light = 0.50 + 0.40 * min(1.0, pose.opening / 0.25)
            power = np.append(1 + (SHADE_POWER - 1) * self.colourful, 1.0)
            colours = teeth.texture(self.lower_teeth, down_px) * np.asarray(lower_light**power, np.float32)
            alpha = teeth.texture(self.lower_alpha, down_px)
            teeth.lay(colours, alpha * np.float32(seen * (1 - 0.6 * tongue_tip)))

        reaches = min(1.0, 1.5 * tongue_tip)  # T, D and N raise the tip nearly as high, behind the teeth
        rim_v = self.incisal_v + 0.030 - 0.040 * reaches
        self.tongue.paint(part, rim_v + 0.13, 0.23, 0.13, reaches, raised=1.0, nothing_below_v=hidden_v)
        self._paint_upper(part, pose, lips, None)

    def paint_before_lip(self, part: Part, pose: MouthPose, lips: LipShape, tongue_tip: float) -> None:
        """What lies before the lower lip: the tongue's tip between the teeth (TH DH), upper teeth on the lip (F V)."""
        between = _between(pose, tongue_tip)
        amount = max(between, pose.tuck)
        if amount <= 0:
            return
        if between > 0:
            lip_v = float(pose.lower_edge[len(pose.lower_edge) // 2])
            bottom_v = max(self.incisal_v + TIP_LEAST, lip_v + TIP_OVER_LIP)
            self.tongue.paint_tip(part, self.incisal_v - TIP_BEHIND_TEETH, bottom_v, between)
        centre_u = self.light.centre_u
        front = part.within(centre_u - 0.30, -np.inf, centre_u + 0.30, self.incisal_v + 0.05)
        if front.is_empty:
            return
        near = smoothstep(0.30, 0.16, np.abs(front.u - centre_u)) * np.float32(amount)
        # Teeth throw a narrow shadow on what they stand on.
        shadow = front.texture(self.upper_alpha, TEETH_SHADOW * part.canvas.scale)
        front.take_light(shadow * (near * np.float32(TEETH_SHADOW_DARK)), 1 - (1 - SHADOW_OF_RED) * self.colourful)
        self._paint_upper(front, pose, lips, near)

    def _paint_upper(self, part: Part, pose: MouthPose, lips: LipShape, share: Floats | None) -> None:
        """Upper teeth in this pose's light, `share` (1, w) of them."""
        hidden = _hidden(pose.pucker)
        # Lips pushed forward come down before the teeth: on the canvas, where lips are placed, teeth go up.
        up = ROUND_COVERS * _eased((pose.pucker - 0.08) / 0.55)
        lowest_v = max(self.incisal_v, float(lips.lower_inner.max()) if lips.shows_teeth else 0.0) + 0.04 - up
        part = part.within(-np.inf, -np.inf, np.inf, lowest_v)
        if part.is_empty:
            return
        light = self._shaded(part, pose, lips)
        teeth = cv2.multiply(part.texture(self.upper_teeth, -up * part.canvas.scale), light)
        alpha = part.texture(self.upper_alpha, -up * part.canvas.scale) * hidden
        part.lay(np.asarray(teeth, np.float32), alpha if share is None else alpha * share)

    def _shaded(self, part: Part, pose: MouthPose, lips: LipShape) -> Floats:
        """(h, w, 4): light on the upper teeth by channel.

        Lips over them throw a shadow, a small or rounded opening lets in little.
        """
        middle = len(pose.u) // 2
        if lips.shows_teeth:
            covered = max(0.0, float(pose.upper_edge[middle] - lips.upper_inner[middle]))
            narrowed = max(0.0, 1 - pose.opening / max(1e-3, float(lips.gap.max())))
        else:
            covered, narrowed = 0.015, max(0.0, 1 - pose.opening / 0.16)
        half = max(1e-3, float(pose.u[-1] - pose.u[0]) / 2)
        side = smoothstep(0.55, 1.05, np.abs(part.u - (pose.u[0] + pose.u[-1]) / 2) / half)
        side_shadow = (0.1 if lips.shows_teeth else 0.4) * side + 0.35 * pose.pucker
        across = (1 - side_shadow) * (1 - 0.12 * min(1.0, narrowed))
        upper_edge = np.interp(part.u[0], pose.u, pose.upper_edge).astype(np.float32)[None, :]
        down = 1 - min(0.45, 9.0 * covered) * smoothstep(0.075, 0.0, part.v - upper_edge)
        power = 1 + (SHADE_POWER - 1) * np.float32(self.colourful)
        # Powers of the shadow by a table: its values are few between black and white.
        index = np.asarray(cv2.convertScaleAbs(down, alpha=255.0), np.uint8)
        steps = np.arange(256, dtype=np.float32) / 255
        table = np.stack([*(steps**each for each in power), steps], axis=-1).astype(np.float32)
        by_channel = cv2.LUT(cv2.merge((index, index, index, index)), table[None])
        sides = np.stack([*(across[0] ** each for each in power), across[0]], axis=-1).astype(np.float32)
        return np.asarray(by_channel * sides[None], np.float32)


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


def _lip_colour(canvas: Canvas, art: Floats, lips: LipShape) -> Floats:
    middle = slice(N_COLUMNS // 4, -N_COLUMNS // 4)
    v = (lips.lower_inner + 0.5 * (lips.lower_outer - lips.lower_inner))[middle]
    at = canvas.to_canvas(np.stack([lips.u[middle], v], axis=-1))[None].astype(np.float32)
    return np.asarray(np.median(sample(art, at)[0], axis=0), np.float32)
