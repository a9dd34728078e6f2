"""Where lips go: contours of the mouth for one row of coefficients.

Belongs here: the geometry of opening, closing, rounding, spreading and tucking, in face coordinates.
Does not belong here: pixels, fields (deform), teeth and tongue (mouth_interior).

Amounts are shares of the distance between the eyes (about 63 mm in adults), so 0.1 is about 6 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2v_pipeline.generation.portrait.canvas import Floats, smoothstep
from s2v_pipeline.generation.portrait.lips import LipShape

JAW_GAP = 0.31  # with PARTED 21 mm between the lips: a loud, clear AA
PARTED, PARTED_AT = 0.03, 0.10  # lips part this much as soon as the jaw starts: S and T show teeth, not a hairline
CHIN_DROP = 0.31  # the chin follows the jaw, a little less than the lower lip does
UPPER_SHARE = 0.13  # of the jaw's gap by which the upper lip rises
TEETH_DROP = 0.78  # of the jaw's gap: the lower lip is drawn off the lower teeth's edge as the jaw opens
GAP_GONE = 0.5  # smile_relax at which nothing is left of the opening that the portrait came with
SMILE_GAP = 0.17  # iod
OWN_JAW_SHARE = 0.75  # of it that the chin takes back: more would pull it to a point
SMILE_ELEVATION = 0.10  # corners this much above the middle of the seam are a full smile
NEUTRAL_HALF_WIDTH = 0.40  # mouths are about 50 mm wide at rest
RELAXED_SHARE = 0.80  # of a smile's width that speaking takes away
RELAXED_ARC = 0.95  # of its lift at the corners
OPEN_NARROWS = 0.20  # of the half width, by a wide open jaw: cheeks are drawn long
SPREAD = 0.15  # of the half width, at lip_width +1
NARROW = 0.20  # of the half width, at lip_width -1
PUCKER = 0.17  # of the half width, at lip_pucker 1, on top of the narrowing
CORNER_DROP = 0.30  # of the jaw's gap
PUCKER_TOUCHES = 0.42  # of the mouth's half width at either side, where puckered lips touch: what is left is round
PUCKER_LOWERS = 0.045  # lips pushed forward; the upper one comes down before the teeth
ROUND_UPPER_SHARE = 0.32  # of a rounded opening: both lips make the ring, but more of it would bare the teeth
ROUND_SPREADS = 0.8  # of a narrowed opening's shape that the lip's outer contour does not follow
ROUND_FLATTENS = 0.95  # of a smile's arc that rounded lips lose
ROUND_LIP_MOST = 0.10  # of a lip's thickness that rounding swells: more makes a full lip hang to a point
TUCK_GAP = 0.048  # teeth that show between an upper lip and a lower lip tucked under them
TUCK_ROLL = 0.28  # of the lower lip's thickness that goes under the teeth
ROUND_TALLER = 0.20  # of the opening: what it loses in width
PRESS_ROLLS, PRESS_THINS = 0.36, 0.16  # of each lip: rolled inwards, and drawn in from outside, when fully pressed
PUCKER_GAP = 0.065  # rounded lips that are not closed leave at least this


@dataclass(frozen=True, eq=False)
class MouthPose:
    """Contours of the moved mouth, (N_COLUMNS,) each, in face coordinates.

    Attributes:
        u: columns of the visible slit.
        upper_edge, lower_edge: v of the lips' visible inner edges; equal where lips touch.
        upper_roll, lower_roll: how far the portrait's inner edge lies beyond the visible one (positive: rolled in).
        upper_outer, lower_outer: v of the outer contours.
        chin_drop: how far the chin goes down.
        jaw_drop: how far the lower teeth go down.
        pucker: 0..1.
        tuck: 0..1, lower lip under the upper teeth.
        smile_gone: 0..1, share of a full smile that the portrait has and this mouth has not.
        gap_gone: 0..1, share of the portrait's own opening that this mouth has not.
        opening: largest distance of the edges.
    """

    u: Floats
    upper_edge: Floats
    lower_edge: Floats
    upper_roll: Floats
    lower_roll: Floats
    upper_outer: Floats
    lower_outer: Floats
    chin_drop: float
    jaw_drop: float
    pucker: float
    tuck: float
    smile_gone: float
    gap_gone: float

    @property
    def opening(self) -> float:
        """Largest distance between the edges."""
        return float((self.lower_edge - self.upper_edge).max())


@dataclass(frozen=True)
class MouthCommand:
    """The coefficients that shape a mouth; ranges as in `coefficients.COEFFICIENTS`."""

    jaw_open: float
    lips_closed: float
    lip_press: float
    lip_width: float
    lip_pucker: float
    lip_tuck: float
    smile_relax: float
    lips_apart: float = 0.0


def smile_of(lips: LipShape) -> float:
    """0..1: how much a portrait smiles, by its corners' lift over the middle of the mouth."""
    seam = lips.seam
    lift = float(seam[len(seam) // 2] - (seam[0] + seam[-1]) / 2)
    return float(np.clip(lift / SMILE_ELEVATION, 0.0, 1.0))


def own_jaw(lips: LipShape) -> float:
    """0..1: `jaw_open` of the portrait itself; a smile parts the lips by about `SMILE_GAP` without it."""
    return float(np.clip((float(lips.gap.max()) - SMILE_GAP) / JAW_GAP, 0.0, 1.0))


def pose_mouth(lips: LipShape, command: MouthCommand, incisal_v: float) -> MouthPose:
    """Contours of `lips` moved as commanded; `incisal_v` is where the upper front teeth end."""
    s, closed, jaw, pucker = lips.s, command.lips_closed, command.jaw_open, command.lip_pucker
    opening = min(1.0, max(0.0, jaw + command.lips_apart))
    # A mouth that opens wide or rounds cannot keep its smile: laid over what is asked, not in its place.
    smile_gone = 1 - (1 - command.smile_relax) * (1 - 0.9 * pucker) * (1 - 0.8 * opening)
    relaxed = smile_gone * smile_of(lips)

    width = _width_factor(lips, command, opening, relaxed)
    centre = float(lips.u[0] + lips.u[-1]) / 2
    u = (centre + s * lips.half_width * width).astype(np.float32)

    # What speech makes replaces the portrait's own opening: a laughing portrait must not say AA with both.
    left = max(0.0, 1 - command.smile_relax / GAP_GONE) ** 2 * (1 - 0.8 * pucker)
    rest_gap = lips.gap * np.float32(left)
    gap_gone = 1 - (1 - closed) * left
    jaw_gap = _spoken_gap(opening) * (1 + ROUND_TALLER * pucker) * _profile(s, max(pucker, 0.6 * opening), pucker)
    jaw_gap = np.maximum(jaw_gap, PUCKER_GAP * pucker * _profile(s, 1.0, pucker))
    speech_gap = np.hypot(jaw_gap, rest_gap) - rest_gap
    tuck = command.lip_tuck * (1 - closed)

    seam = lips.seam
    flattened = max(RELAXED_ARC * relaxed, ROUND_FLATTENS * pucker)
    drop = flattened * (seam[len(seam) // 2] - seam)
    # Lips held together over an opening jaw are pulled down by it, the corners less.
    seam = seam + drop + 0.30 * CHIN_DROP * jaw * closed * (1 - 0.6 * s**2)
    # An opening jaw draws the corners down, a rounded mouth draws them level.
    seam = seam + CORNER_DROP * JAW_GAP * opening * np.abs(s) ** 2

    # Pushed forward, the upper lip comes down over the teeth.
    seam = seam + PUCKER_LOWERS * pucker
    apart = 1 - closed
    seam_share = lips.seam_share
    upper_share = UPPER_SHARE + (ROUND_UPPER_SHARE - UPPER_SHARE) * pucker
    upper_edge = seam - apart * (seam_share * rest_gap + upper_share * speech_gap)
    lower_edge = seam + apart * ((1 - seam_share) * rest_gap + (1 - upper_share) * speech_gap)

    # F and V: the lower lip touches the edge of the upper teeth, whatever the jaw does.
    touching = tuck * smoothstep(1.0, 0.80, np.abs(s))
    lower_edge = lower_edge + touching * (
        np.clip(incisal_v - 0.006, upper_edge + 0.012, upper_edge + TUCK_GAP) - lower_edge
    )

    upper_thickness = np.maximum(lips.upper_inner - lips.upper_outer, 0)
    lower_thickness = np.maximum(lips.lower_outer - lips.lower_inner, 0)
    press = command.lip_press * closed
    upper_roll = (PRESS_ROLLS * press - 0.10 * pucker) * upper_thickness
    lower_roll = (PRESS_ROLLS * press - 0.12 * pucker + TUCK_ROLL * tuck) * lower_thickness
    upper_move = upper_edge - lips.upper_inner
    lower_move = lower_edge - lips.lower_inner
    # A portrait with its jaw down comes up with the chin first, or the lip would be folded over it.
    chin_drop = CHIN_DROP * (jaw - OWN_JAW_SHARE * gap_gone * own_jaw(lips))
    bell = 1 - s**2
    upper_outer = lips.upper_outer + 0.72 * upper_move + drop * 0.2
    upper_outer = upper_outer + (PRESS_THINS * press - 0.22 * pucker) * upper_thickness
    # The opening narrows more than the lip around it: the outer contour follows what the opening was before that.
    wide = np.hypot(_spoken_gap(opening) * _profile(s, 0.6 * opening, 0.0), rest_gap) - rest_gap
    around = lower_move + pucker * apart * (1 - upper_share) * ROUND_SPREADS * (wide - speech_gap)
    lower_outer = lips.lower_outer + np.where(around > 0, 0.88, 0.60) * around
    rounded = 0.18 - 0.45 * s**2  # fuller in the middle, less at the sides, or a narrow lip would be a block
    lower_outer = lower_outer + rounded * pucker * np.minimum(lower_thickness, ROUND_LIP_MOST)
    lower_outer = lower_outer - (PRESS_THINS * press + 0.10 * tuck) * lower_thickness
    lower_outer = lower_outer + 0.30 * max(0.0, chin_drop) * closed * bell
    return MouthPose(
        u=u,
        upper_edge=upper_edge.astype(np.float32),
        lower_edge=np.maximum(lower_edge, upper_edge).astype(np.float32),
        upper_roll=upper_roll.astype(np.float32),
        lower_roll=lower_roll.astype(np.float32),
        upper_outer=upper_outer.astype(np.float32),
        lower_outer=lower_outer.astype(np.float32),
        chin_drop=chin_drop,
        jaw_drop=JAW_GAP * TEETH_DROP * jaw,
        pucker=pucker,
        tuck=tuck,
        smile_gone=relaxed,
        gap_gone=gap_gone,
    )


def _spoken_gap(opening: float) -> float:
    """Distance of the lips' edges in the middle of the mouth."""
    return JAW_GAP * opening + PARTED * min(1.0, opening / PARTED_AT)


def _width_factor(lips: LipShape, command: MouthCommand, opening: float, relaxed: float) -> float:
    half = lips.half_width
    factor = 1 - RELAXED_SHARE * relaxed * max(0.0, 1 - NEUTRAL_HALF_WIDTH / half)
    # A small mouth has less to draw in.
    narrow = min(1.0, half / NEUTRAL_HALF_WIDTH) ** 2
    factor *= 1 + (SPREAD if command.lip_width > 0 else NARROW * narrow) * command.lip_width
    factor *= 1 - PUCKER * narrow * command.lip_pucker
    return factor * (1 - OPEN_NARROWS * opening * (1 - command.lip_pucker))


def _profile(s: Floats, roundness: float, pucker: float) -> Floats:
    """Share of the opening along the mouth: a lens, or an ellipse when rounded; puckered lips touch beside it."""
    lens = np.clip(1 - np.abs(s / (1 - PUCKER_TOUCHES * pucker)) ** 2.2, 0, 1)
    return np.asarray(lens ** (0.85 - 0.35 * roundness), np.float32)
