"""Eyes that blink and look aside, as pictures on a canvas each.

Belongs here: the lids' contours, the eyeball behind them, the lid's skin drawn over it.
Does not belong here: when eyes blink (eyes), the skin that comes into sight (lid_skin), brows (deform), pasting into
the frame (renderer).

A closing upper lid takes its skin from what lies between brow and lashes: the lashes go down unchanged, the skin above
them is stretched, most just above them, and lightened, because a fold in shade becomes a round in light.

Only rows in which something moves are drawn; the others are the portrait's. Colours have a fourth, unused channel:
OpenCV samples and blends four floats faster than three.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, feathered_mask, smoothstep
from s2v_pipeline.generation.portrait.lid_skin import (
    corner_without_white,
    lid_crease,
    lid_tone,
    lid_without_lashes,
    skin_grain,
)
from s2v_pipeline.generation.portrait.warp import dimmed, four_channels, mixed, to_pixels

CLOSED_SHARE = 0.86  # of the eye's height down which the lids meet: the lower one comes up little
# Landmarks lie a little inside the eye, so that each lid's edge carries a sliver of the eyeball: a closing lid takes
# its skin from so much farther out, as a share of the eye's height, and covers the other's rim.
INSET = 0.12
LASH_BAND = 0.045  # iod; lashes and the lid's rim, moved without stretching
LID_REACH = 0.24  # iod above the lashes up to which skin is stretched, or to the brow
GAZE_X = 0.060  # iod that the iris moves at gaze_x 1: a tenth of an eye's opening is what speakers do
GAZE_Y = 0.035
LID_FOLLOWS_GAZE = 0.22  # of the eye's height, for a look fully down
MEETS_BEYOND = 0.014  # iod by which a closed upper lid lies over the lower one's edge
LID_HALF_WIDTH = 0.24  # iod
ROUND_LIGHT = 0.14
TONE_SHARE = 0.55  # of clean lid tone in the stretched skin of a closed lid
TONE_DROP = 0.11  # iod; a lid that went down this far shows its own skin
LASH_LINE = 0.012  # iod; half the width of the dark line where the lids meet
LASH_DARKENING = 0.34  # lashes of both lids lie over each other
LASHES_DOWN = 0.045  # iod; how far they hang over the cheek
LASH_ENDS = 0.16
LASHES_SEEN_FROM = 0.4  # of the way down
BALL_SHADOW, SHADOW_REACH = 0.30, 0.06  # of light that a lid's shadow takes from the ball, and iod below the lid
CHEEK_RISES = 0.16  # iod below the lower lid over which it takes the skin along
CORNER_SPREAD = 0.030  # iod
OUTER_DROP = 0.035  # iod; lashes of the outer corner point downwards when the eye is closed
EDGE_SOFTNESS = 0.012  # iod
FEATHER = 0.05


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye on its canvas.

    Attributes:
        canvas: where it lies.
        art: (h, w, 4) the portrait there.
        still: the same in bytes.
        bare: (h, w, 4) the same without lashes.
        grain: (h, w) texture of the lid's skin, from its rim upwards.
        crease: (h, w) share of light that a closed lid's fold takes.
        corner: (h, w, 4) what takes white out of the outer corner, where landmarks often leave a little.
        upper, lower: (w,) v of the lids' edges; equal at and beyond the corners.
        within: (w,) 0 at and beyond the corners, 1 in the eye.
        beyond: (w,) the same, spread past the corners.
        outer_drop: (w,) how much farther the lashes of the outer corner go.
        iris: (u, v, radius).
        reach: (w,) height of skin that a closing lid stretches.
        tone: (h, w, 4) colour of the lid's skin, the same in each row.
        mask: (h, w) how much replaces the frame.
        columns_px: (h, w) x of each pixel.
    """

    canvas: Canvas
    art: Floats
    still: NDArray[np.uint8]
    bare: Floats
    grain: Floats
    crease: Floats
    corner: Floats
    upper: Floats
    lower: Floats
    within: Floats
    beyond: Floats
    outer_drop: Floats
    iris: tuple[float, float, float]
    reach: Floats
    tone: Floats
    mask: Floats
    columns_px: Floats

    @classmethod
    def build(
        cls, canvas: Canvas, art: Floats, upper_points: Floats, lower_points: Floats, iris: Floats, brow_v: float
    ) -> Eye:
        """From contours (9, 2) and the iris (5, 2), all in face coordinates."""
        upper = _contour(canvas.u, upper_points)
        lower = np.maximum(_contour(canvas.u, lower_points), upper)
        left, right = float(upper_points[0, 0]), float(upper_points[-1, 0])
        from_corner = _from_corner(canvas.u, left, right)
        within = smoothstep(0.0, 0.10, from_corner)
        outer = left if left + right < 0 else right
        reach = np.clip(upper - brow_v - 0.02, 0.10, LID_REACH).astype(np.float32)
        tone = np.broadcast_to(lid_tone(canvas, art, upper, lower, reach), art.shape)
        return cls(
            canvas=canvas,
            art=four_channels(art),
            still=to_pixels(four_channels(art)),
            bare=four_channels(lid_without_lashes(canvas, art)),
            grain=skin_grain(canvas, art, lower),
            crease=lid_crease(canvas, upper, within),
            corner=four_channels(corner_without_white(canvas, art, upper_points[0 if outer == left else -1])),
            upper=upper,
            lower=lower,
            within=within,
            beyond=gaussian_filter1d(smoothstep(-0.10, 0.30, from_corner), 0.03 * canvas.scale),
            outer_drop=(OUTER_DROP * np.exp(-(((canvas.u - outer) / 0.09) ** 2))).astype(np.float32),
            iris=(float(iris[0, 0]), float(iris[0, 1]), float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())),
            reach=reach,
            tone=four_channels(np.ascontiguousarray(tone)),
            mask=feathered_mask(canvas.height, canvas.width, FEATHER * canvas.scale),
            columns_px=np.ascontiguousarray(
                np.broadcast_to(np.arange(canvas.width, dtype=np.float32), (canvas.height, canvas.width))
            ),
        )

    def compose(self, blink: float, gaze_x: float, gaze_y: float) -> NDArray[np.uint8]:
        """(h, w, 4) uint8: the eye in this state."""
        height = self.lower - self.upper
        closing = blink + (1 - blink) * LID_FOLLOWS_GAZE * max(gaze_y, 0.0)
        rim = (self.upper + self._drop(closing)).astype(np.float32)
        lower_rim = self.lower + np.float32(blink * (CLOSED_SHARE - 1)) * height
        art = cv2.scaleAdd(self.corner, blink * blink, self.art) if blink > 0 else self.art
        art = np.asarray(art, np.float32)

        top_v = float((self.upper - self.reach if closing > 0 else self.upper).min()) - 2 * EDGE_SOFTNESS
        bottom_v = float(np.maximum(rim, self.lower).max()) + (CHEEK_RISES if blink > 0 else 2 * EDGE_SOFTNESS)
        rows = self._rows(top_v, bottom_v)
        v = self.canvas.v[rows][:, None]
        out = self._ball(art, rows, v, gaze_x, gaze_y)
        if blink > 0:
            out = dimmed(out, np.float32(BALL_SHADOW * blink) * smoothstep(SHADOW_REACH, 0.0, v - rim))
        lower_lid = self._lower_lid(art, rows, v, lower_rim, blink) if blink > 0 else art[rows]
        out = mixed(out, lower_lid, smoothstep(-EDGE_SOFTNESS, EDGE_SOFTNESS, v - lower_rim))
        upper_lid = self._upper_lid(art, rows, v, rim, closing) if closing > 0 else art[rows]
        out = mixed(out, upper_lid, smoothstep(EDGE_SOFTNESS, -EDGE_SOFTNESS, v - rim))
        if closing > LASHES_SEEN_FROM:
            out = dimmed(out, self._lashes(v, rim, closing))
        whole = to_pixels(art) if blink > 0 else self.still.copy()
        whole[rows] = to_pixels(out)
        return whole

    def _drop(self, closing: float) -> Floats:
        """(w,): how far the upper lid's edge goes down."""
        # Lashes stand out past the corners, so the lid takes a little of its surroundings along.
        needed = np.float32(closing * CLOSED_SHARE) * (self.lower - self.upper)
        # Never less than it takes to meet the lower lid: no white may be left in a corner.
        drop = np.maximum(gaussian_filter1d(needed, CORNER_SPREAD * self.canvas.scale), needed)
        return np.asarray(drop + MEETS_BEYOND * closing**2 * self.beyond + closing * self.outer_drop, np.float32)

    def _ball(self, art: Floats, rows: slice, v: Floats, gaze_x: float, gaze_y: float) -> Floats:
        if gaze_x == 0 and gaze_y == 0:
            return art[rows]
        iris_u, iris_v, radius = self.iris
        distance = cv2.magnitude(*np.broadcast_arrays(self.canvas.u - iris_u, v - iris_v))
        share = smoothstep(2.4 * radius, 0.9 * radius, np.asarray(distance, np.float32)) * self.within
        x = self.columns_px[rows] - np.float32(GAZE_X * gaze_x * self.canvas.scale) * share
        source_v = v - np.float32(GAZE_Y * gaze_y) * share
        # What a lid hid in the portrait is not known: the nearest visible row stands for it.
        room = np.minimum(0.018, 0.4 * (self.lower - self.upper))
        source_v = np.clip(source_v, np.minimum(self.upper + room, v), np.maximum(self.lower - room, v))
        return self._sampled(art, x, source_v)

    def _lower_lid(self, art: Floats, rows: slice, v: Floats, rim: Floats, blink: float) -> Floats:
        """The lower lid rises with its rim; the cheek below it does not."""
        height = self.lower - self.upper
        share = smoothstep(CHEEK_RISES, 0.0, v - rim)
        taken_from = self.lower - rim + np.float32(blink * INSET) * height
        return self._sampled(art, self.columns_px[rows], np.asarray(v + taken_from * share, np.float32))

    def _upper_lid(self, art: Floats, rows: slice, v: Floats, rim: Floats, closing: float) -> Floats:
        """Skin above the moved rim."""
        drop = rim - self.upper
        above = np.maximum(rim - v, 0)
        span = np.maximum(self.reach + drop - LASH_BAND, 1e-3)
        beyond_lashes = np.clip((above - LASH_BAND) / span, 0, 1)
        left = 1 - beyond_lashes
        # All of the drop is taken up where the stretched skin ends.
        at_v = v - (drop * left + np.float32(closing * INSET) * (self.lower - self.upper)) * left
        x = self.columns_px[rows]
        lid = self._sampled(art, x, at_v)
        # Skin that was not in sight in the portrait: lightest in the middle of the closed lid.
        # Open lashes point up over the lid; the further it is closed, the less of them may stay there.
        start, full = LASH_BAND * (0.6 - 0.45 * closing), LASH_BAND * (1.8 - 0.8 * closing)
        fresh = smoothstep(start, full, above) * smoothstep(1.0, 0.35, beyond_lashes)
        dropped = smoothstep(0.0, TONE_DROP, drop)
        shown = np.asarray(dropped * fresh, np.float32)
        # Stretched lashes would be streaks: what is stretched is the portrait without its thin dark lines.
        lid = mixed(lid, self._sampled(self.bare, x, at_v), np.asarray(np.minimum(1.0, 1.6 * shown), np.float32))
        lid = mixed(lid, self.tone[rows], np.float32(TONE_SHARE) * shown)
        grain_y = above * np.float32(self.canvas.scale)
        grain = cv2.remap(self.grain, x, grain_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return dimmed(lid, self.crease[rows] * dropped - (self._roundness(beyond_lashes) + grain) * shown)

    def _roundness(self, beyond_lashes: Floats) -> Floats:
        """(h, w): light of a lid over a ball, lit from above: most over the iris, less at corners, rim and fold."""
        x = (self.canvas.u - self.iris[0]) / LID_HALF_WIDTH
        across = np.minimum(x * x, 1.0)
        down = np.exp(-(((beyond_lashes - 0.42) / 0.26) ** 2))
        return np.asarray(ROUND_LIGHT * (down * (1 - across) - 0.22 - 0.35 * across), np.float32)

    def _lashes(self, v: Floats, rim: Floats, closing: float) -> Floats:
        """(h, w): share of light that lashes take: a line along the rim, and their ends, which now point down."""
        below = v - rim
        line = np.exp(-((below / LASH_LINE) ** 2))
        ends = smoothstep(LASHES_DOWN, 0.0, below) * smoothstep(-LASH_LINE, LASH_LINE, below)
        seen = np.float32(((closing - LASHES_SEEN_FROM) / (1 - LASHES_SEEN_FROM)) ** 2)
        return np.asarray((LASH_DARKENING * line + LASH_ENDS * ends) * (self.within * seen), np.float32)

    def _rows(self, top_v: float, bottom_v: float) -> slice:
        first, last = np.searchsorted(self.canvas.v, [top_v, bottom_v])
        return slice(max(0, int(first) - 1), min(self.canvas.height, int(last) + 1))

    def _sampled(self, art: Floats, x: Floats, v: Floats) -> Floats:
        y = ((v - np.float32(self.canvas.v0)) * np.float32(self.canvas.scale)).astype(np.float32)
        return np.asarray(cv2.remap(art, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


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
