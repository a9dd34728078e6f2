"""Eyes that blink and look aside, as pictures on a canvas each.

Belongs here: the lids' contours, the eyeball behind them, the lid's skin drawn over it.
Does not belong here: when eyes blink (motion), brows (deform), pasting into the frame (renderer).

A closing upper lid takes its skin from what lies between brow and lashes: the lashes go down unchanged, the skin above
them is stretched, most just above them, and lightened, because a fold in shade becomes a round in light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, feathered_mask, smoothstep
from s2v_pipeline.generation.portrait.warp import blend, blurred, sample

CLOSED_SHARE = 0.86  # of the eye's height down which the lids meet: the lower one comes up little
# Landmarks lie a little inside the eye, so that each lid's edge carries a sliver of the eyeball: a closing lid takes
# its skin from so much farther out, as a share of the eye's height, and covers the other's rim.
INSET = 0.12
LASH_BAND = 0.045  # iod; lashes and the lid's rim, moved without stretching
LID_REACH = 0.24  # iod above the lashes up to which skin is stretched, or to the brow
GAZE_X = 0.060  # iod that the iris moves at gaze_x 1: a tenth of an eye's opening is what speakers do
GAZE_Y = 0.035
LID_FOLLOWS_GAZE = 0.22  # of the eye's height, for a look fully down
LASH_GAPS = 0.022  # iod; lashes stand closer than twice this
MEETS_BEYOND = 0.014  # iod by which a closed upper lid lies over the lower one's edge
LID_HALF_WIDTH = 0.24  # iod
ROUND_LIGHT = 0.17
TONE_SHARE = 0.60  # of clean lid tone in the stretched skin of a closed lid
UNDER_EYE = 0.14  # iod below the lower lid: skin without lashes or bags
LID_SHADE = 0.72  # of that skin's light is the least that a lid has
TONE_DROP = 0.11  # iod; a lid that went down this far shows its own skin
LASH_LINE = 0.012  # iod; half the width of the dark line where the lids meet
LASH_DARKENING = 0.28  # lashes of both lids lie over each other
LASHES_DOWN = 0.045  # iod; how far they hang over the cheek
LASH_ENDS = 0.16
CORNER_SPREAD = 0.030  # iod
OUTER_DROP = 0.035  # iod; lashes of the outer corner point downwards when the eye is closed
EDGE_SOFTNESS = 0.012  # iod
FEATHER = 0.05


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye on its canvas.

    Attributes:
        canvas: where it lies.
        art: (h, w, 3) the portrait there.
        bare: (h, w, 3) the same without lashes.
        upper, lower: (w,) v of the lids' edges; equal at and beyond the corners.
        within: (w,) 0 at and beyond the corners, 1 in the eye.
        beyond: (w,) the same, spread past the corners, where landmarks often leave a little white.
        outer_u: u of the outer corner.
        iris: (u, v, radius).
        reach: (w,) height of skin that a closing lid stretches.
        tone: (1, w, 3) colour of the lid's skin.
        mask: (h, w) how much replaces the frame.
    """

    canvas: Canvas
    art: Floats
    bare: Floats
    upper: Floats
    lower: Floats
    within: Floats
    beyond: Floats
    outer_u: float
    iris: tuple[float, float, float]
    reach: Floats
    tone: Floats
    mask: Floats

    @classmethod
    def build(
        cls, canvas: Canvas, art: Floats, upper_points: Floats, lower_points: Floats, iris: Floats, brow_v: float
    ) -> Eye:
        """From contours (9, 2) and the iris (5, 2), all in face coordinates."""
        upper = _contour(canvas.u, upper_points)
        lower = np.maximum(_contour(canvas.u, lower_points), upper)
        left, right = float(upper_points[0, 0]), float(upper_points[-1, 0])
        within = smoothstep(0.0, 0.10, _from_corner(canvas.u, left, right))
        beyond = gaussian_filter1d(smoothstep(-0.10, 0.30, _from_corner(canvas.u, left, right)), 0.03 * canvas.scale)
        outer = left if left + right < 0 else right
        radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
        reach = np.clip(upper - brow_v - 0.02, 0.10, LID_REACH).astype(np.float32)
        tone = _lid_tone(canvas, art, upper, lower, reach)
        mask = feathered_mask(canvas.height, canvas.width, FEATHER * canvas.scale)
        lash_px = 2 * max(1, round(LASH_GAPS * canvas.scale)) + 1
        bare = cv2.morphologyEx(art, cv2.MORPH_CLOSE, np.ones((1, lash_px), np.uint8))
        bare = blurred(np.asarray(bare, np.float32), LASH_GAPS * canvas.scale)
        return cls(
            canvas,
            art,
            bare,
            upper,
            lower,
            within,
            beyond,
            outer,
            (float(iris[0, 0]), float(iris[0, 1]), radius),
            reach,
            tone,
            mask,
        )

    def compose(self, blink: float, gaze_x: float, gaze_y: float) -> Floats:
        """(h, w, 3): the eye in this state."""
        canvas = self.canvas
        v = np.broadcast_to(canvas.v[:, None], (canvas.height, canvas.width))
        height = self.lower - self.upper
        meeting = self.upper + CLOSED_SHARE * height
        closing = blink + (1 - blink) * LID_FOLLOWS_GAZE * max(gaze_y, 0.0)
        # Lashes stand out past the corners, so the lid takes a little of its surroundings along.
        needed = closing * (meeting - self.upper)
        # Never less than it takes to meet the lower lid: no white may be left in a corner.
        drop = np.maximum(gaussian_filter1d(needed, CORNER_SPREAD * canvas.scale), needed)
        drop = drop + MEETS_BEYOND * closing**2 * self.beyond
        drop = drop + closing * OUTER_DROP * np.exp(-(((canvas.u - self.outer_u) / 0.09) ** 2))
        rim = self.upper + drop
        lower_rim = self.lower + blink * (meeting - self.lower)

        ball = self._ball(v, gaze_x, gaze_y)
        ball = ball * (1 - 0.30 * blink * smoothstep(0.06, 0.0, v - rim)[..., None])  # the lid's shadow
        # The lower lid rises with its rim; the cheek below it does not.
        rise = (lower_rim - self.lower) * smoothstep(0.16, 0.0, v - lower_rim)
        lower_lid = self._at_rows(v - rise + blink * INSET * height * smoothstep(0.16, 0.0, v - lower_rim))
        out = blend(ball, lower_lid, smoothstep(-1.0, 1.0, (v - lower_rim) / EDGE_SOFTNESS))
        out = blend(out, self._upper_lid(v, rim, closing), smoothstep(1.0, -1.0, (v - rim) / EDGE_SOFTNESS))
        return np.asarray(out * (1 - self._lashes(v, rim, closing)[..., None]), np.float32)

    def _ball(self, v: Floats, gaze_x: float, gaze_y: float) -> Floats:
        if gaze_x == 0 and gaze_y == 0:
            return self.art
        canvas = self.canvas
        iris_u, iris_v, radius = self.iris
        distance = np.hypot(canvas.u - iris_u, v - iris_v)
        share = smoothstep(2.4 * radius, 0.9 * radius, distance) * self.within
        source_u = canvas.u - GAZE_X * gaze_x * share
        source_v = v - GAZE_Y * gaze_y * share
        # What a lid hid in the portrait is not known: the nearest visible row stands for it.
        room = np.minimum(0.018, 0.4 * (self.lower - self.upper))
        source_v = np.clip(source_v, np.minimum(self.upper + room, v), np.maximum(self.lower - room, v))
        return sample(self.art, canvas.to_canvas(np.stack([source_u, source_v], axis=-1)).astype(np.float32))

    def _upper_lid(self, v: Floats, rim: Floats, closing: float) -> Floats:
        """Skin above the moved rim."""
        drop = rim - self.upper
        above = np.maximum(rim - v, 0)
        span = np.maximum(self.reach + drop - LASH_BAND, 1e-3)
        beyond_lashes = np.clip((above - LASH_BAND) / span, 0, 1)
        taken = drop * (1 - (1 - beyond_lashes) ** 2)  # all of the drop is taken up where the stretched skin ends
        inset = closing * INSET * (self.lower - self.upper) * (1 - beyond_lashes)
        at_v = v - drop + taken - inset
        lid = self._at_rows(at_v)
        # Skin that was not in sight in the portrait: lightest in the middle of the closed lid.
        # Open lashes point up over the lid; the further it is closed, the less of them may stay there.
        start, full = LASH_BAND * (0.6 - 0.45 * closing), LASH_BAND * (1.8 - 0.8 * closing)
        fresh = smoothstep(start, full, above) * smoothstep(1.0, 0.35, beyond_lashes)
        shown = smoothstep(0.0, TONE_DROP, drop) * fresh
        # Stretched lashes would be streaks: what is stretched is the portrait without its thin dark lines.
        lid = blend(lid, self._at_rows(at_v, self.bare), np.asarray(np.minimum(1.0, 1.6 * shown), np.float32))
        lid = blend(lid, self.tone, np.asarray(TONE_SHARE * shown, np.float32))
        return np.asarray(lid * (1 + self._roundness(beyond_lashes) * shown)[..., None], np.float32)

    def _roundness(self, beyond_lashes: Floats) -> Floats:
        """(h, w): light of a lid over a ball, lit from above: most over the iris, less at corners, rim and fold."""
        x = (self.canvas.u - self.iris[0]) / LID_HALF_WIDTH
        across = np.minimum(x * x, 1.0)
        down = np.exp(-(((beyond_lashes - 0.42) / 0.26) ** 2))
        return np.asarray(ROUND_LIGHT * (down * (1 - across) - 0.22 - 0.35 * across), np.float32)

    def _lashes(self, v: Floats, rim: Floats, closing: float) -> Floats:
        """(h, w): share of light that lashes take: a line along the rim, and their ends, which now point down."""
        line = np.exp(-(((v - rim) / LASH_LINE) ** 2))
        ends = smoothstep(LASHES_DOWN, 0.0, v - rim) * smoothstep(-LASH_LINE, LASH_LINE, v - rim)
        dark = LASH_DARKENING * line + LASH_ENDS * ends
        return np.asarray(dark * self.within * np.float32(max(0.0, (closing - 0.4) / 0.6) ** 2), np.float32)

    def _at_rows(self, v: Floats, art: Floats | None = None) -> Floats:
        canvas = self.canvas
        at = np.stack([np.broadcast_to(canvas.u, v.shape), v], axis=-1)
        return sample(self.art if art is None else art, canvas.to_canvas(at).astype(np.float32))


def _lid_tone(canvas: Canvas, art: Floats, upper: Floats, lower: Floats, reach: Floats) -> Floats:
    """(1, w, 3): the lightest skin over the eye, for lashes, folds and low brows are darker than the lid itself.

    Where even that is much darker than the skin under the eye, it is a brow, and the skin below stands for the lid.
    """
    soft = blurred(art, 0.02 * canvas.scale)
    rows = np.concatenate([_row(canvas, soft, upper - share * reach) for share in (0.3, 0.45, 0.6, 0.75)])
    tone = np.take_along_axis(rows, rows.sum(axis=-1).argmax(axis=0)[None, :, None], axis=0)
    below = _row(canvas, soft, lower + UNDER_EYE) * np.float32(LID_SHADE)
    lighter = tone.sum(axis=-1, keepdims=True) > below.sum(axis=-1, keepdims=True)
    return np.asarray(gaussian_filter1d(np.where(lighter, tone, below), 0.10 * canvas.scale, axis=1), np.float32)


def eye_canvas(upper_points: Floats, lower_points: Floats, scale: float) -> Canvas:
    """Canvas around an eye with room for its lids."""
    points = np.concatenate([upper_points, lower_points])
    (u0, v0), (u1, v1) = points.min(axis=0), points.max(axis=0)
    return Canvas.spanning(u0 - 0.10, v0 - LID_REACH - 0.10, u1 + 0.10, v1 + 0.20, scale)


def _from_corner(u: Floats, left: float, right: float) -> Floats:
    """Distance from the nearer corner as a share of the eye's width, negative beyond it."""
    return np.asarray(np.minimum(u - left, right - u) / (right - left), np.float32)


def _contour(u: Floats, points: Floats) -> Floats:
    points = points[np.argsort(points[:, 0])].astype(np.float64)
    points = points[np.concatenate([[True], np.diff(points[:, 0]) > 1e-4])]
    curve = PchipInterpolator(points[:, 0], points[:, 1])
    return np.asarray(curve(np.clip(u, points[0, 0], points[-1, 0])), np.float32)


def _row(canvas: Canvas, art: Floats, v: Floats) -> Floats:
    """(1, w, 3): colours along a line over the canvas."""
    at = canvas.to_canvas(np.stack([canvas.u, v], axis=-1))[None].astype(np.float32)
    return sample(art, at)
