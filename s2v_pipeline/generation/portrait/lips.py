"""Where a portrait's lips are, and lips without anything else on them.

Belongs here: contours of the lips refined by colour, the upper and the lower lip's layer, how dark the seam is.
Does not belong here: where lips go when they move (mouth_shape), what lies behind them (mouth_interior).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats, smoothstep
from s2v_pipeline.generation.portrait.topology import (
    LOWER_LIP_INNER,
    LOWER_LIP_OUTER,
    UPPER_LIP_INNER,
    UPPER_LIP_OUTER,
)

N_COLUMNS = 65  # samples along the mouth; finer than a canvas pixel up to a mouth of 65 pixels, smooth anyway
OPEN_GAP = 0.04  # iod; the landmark network leaves up to about 0.02 between lips that touch
EDGE_REACH = 0.040  # iod; how far from the landmarks' contour the colours may move an edge
CORNER_OUTWARDS = 0.7  # the dark corner of an open mouth reaches from the inner contour most of the way to the outer
# A lip's last pixels towards the mouth are mixed with teeth by the camera; this much is replaced by clean lip.
MIXED_EDGE = 0.022  # iod
GUM_EDGE = 0.036  # iod; gums are as red as lips, so an upper lip's edge may have been found on them
LEAST_LIP = 0.030  # iod
REST_SEAM = 0.45  # of a portrait's opening, from the upper edge: where its lips meet
UPPER_COMES_DOWN = 0.08  # iod; 5 mm, no upper lip comes down more
TOOTH_REDNESS = 0.6  # of the lips' is the most that teeth have
GREY_LIP = 0.05  # redness; below it a portrait has no colour to go by
TOOTH_BRIGHTER = 1.25  # than the lighter lip, in a portrait without colour
DARK_SHARE = 0.55  # of the darker lip's light is the most that the dark of a mouth has
OPENING_SHARE = 0.30  # of what lies between the landmarks' lips that must be teeth or dark, or else it is lip
# Landmarks leave up to 0.11 between lips that touch (dark skin, paintings, 160-pixel pictures); lips farther apart than
# this are apart whatever the colour between them, for a tongue that fills the mouth is as red as they are.
SURELY_OPEN_GAP = 0.20
TEETH_SHARE = 0.35
DRAWN_SEAM = 0.5  # darkening of the seam where the portrait's lips are apart and show none


@dataclass(frozen=True, eq=False)
class LipShape:
    """Contours of the lips along the mouth, in face coordinates.

    Attributes:
        s: (N_COLUMNS,) -1 at the left corner, +1 at the right one.
        u: (N_COLUMNS,)
        upper_outer, upper_inner, lower_inner, lower_outer: (N_COLUMNS,) v of each contour; the inner ones meet
            in the corners.
        is_open: whether the portrait shows an opening between the lips.
        shows_teeth: whether a good part of the opening is teeth.
        seam_darkness: 0..1, how much darker the closed seam is than the lips beside it.
    """

    s: Floats
    u: Floats
    upper_outer: Floats
    upper_inner: Floats
    lower_inner: Floats
    lower_outer: Floats
    is_open: bool
    shows_teeth: bool
    seam_darkness: float

    @property
    def gap(self) -> Floats:
        """(N_COLUMNS,): opening of the portrait's mouth."""
        return self.lower_inner - self.upper_inner

    @property
    def seam(self) -> Floats:
        """(N_COLUMNS,): v where the lips meet when they close."""
        return self.upper_inner + np.float32(self.seam_share) * self.gap

    @property
    def seam_share(self) -> float:
        """Part of the portrait's opening that the upper lip closes; it is the less movable one."""
        return min(REST_SEAM, UPPER_COMES_DOWN / max(1e-6, float(self.gap.max())))

    @property
    def half_width(self) -> float:
        """Half the distance between the corners."""
        return float(self.u[-1] - self.u[0]) / 2


def find_lips(canvas: Canvas, art: Floats, landmarks: Floats) -> LipShape:
    """Contours from `landmarks` (478, 2) in face coordinates, moved to the colour edges of `art`.

    `art` is the portrait on `canvas`.
    """
    left, right = (
        CORNER_OUTWARDS * landmarks[UPPER_LIP_OUTER[end]] + (1 - CORNER_OUTWARDS) * landmarks[UPPER_LIP_INNER[end]]
        for end in (0, -1)
    )
    s = np.linspace(-1, 1, N_COLUMNS, dtype=np.float32)
    u = (left[0] + (s + 1) / 2 * (right[0] - left[0])).astype(np.float32)

    def contour(indices: tuple[int, ...]) -> Floats:
        inside = landmarks[list(indices[1:-1])]
        inside = inside[np.argsort(inside[:, 0])]
        inside = inside[(inside[:, 0] > left[0]) & (inside[:, 0] < right[0])]
        knots = np.concatenate([left[None], inside, right[None]]).astype(np.float64)
        knots = knots[np.concatenate([[True], np.diff(knots[:, 0]) > 1e-4])]
        return np.asarray(PchipInterpolator(knots[:, 0], knots[:, 1])(u), np.float32)

    upper_outer, upper_inner = contour(UPPER_LIP_OUTER), contour(UPPER_LIP_INNER)
    lower_inner, lower_outer = contour(LOWER_LIP_INNER), contour(LOWER_LIP_OUTER)
    lower_inner = np.maximum(lower_inner, upper_inner)
    profiles = _Profiles(canvas, art, u)
    colours = None
    if float((lower_inner - upper_inner).max()) > OPEN_GAP:
        colours = _LipColours.of(profiles, upper_outer, upper_inner, lower_inner, lower_outer)
    if colours is None or not colours.shows_opening:
        seam = _darkest_line(profiles, s, upper_inner, lower_inner)
        lip = np.concatenate(
            [_luminance(profiles.at(seam + beside)) for beside in np.array([-0.05, 0.05], np.float32)], axis=1
        )
        dark = 1.0 - float(np.median(_luminance(profiles.at(seam))) / max(1.0, float(np.median(lip))))
        return LipShape(s, u, upper_outer, seam, seam, lower_outer, False, False, float(np.clip(dark, 0.15, 0.6)))
    taper = smoothstep(0.0, 0.12, 1 - np.abs(s))
    upper_inner = upper_inner + taper * _edge_offset(profiles, colours, upper_inner, lip_is_above=True)
    lower_inner = lower_inner + taper * _edge_offset(profiles, colours, lower_inner, lip_is_above=False)
    # Skin beside thin lips is no lip by its colour either: an inner contour never crosses its outer one.
    thin = LEAST_LIP * taper
    upper_inner = np.maximum(upper_inner, upper_outer + thin)
    lower_inner = np.maximum(np.minimum(lower_inner, lower_outer - thin), upper_inner)
    return LipShape(s, u, upper_outer, upper_inner, lower_inner, lower_outer, True, colours.shows_teeth, DRAWN_SEAM)


def lip_layer(canvas: Canvas, art: Floats, shape: LipShape, *, upper: bool) -> Floats:
    """(height, width, 3): the portrait on one side of the mouth, its lip continued into the mouth by clean lip colour.

    Nothing of the other side, and no tooth, is ever part of it.
    """
    edge = shape.upper_inner if upper else shape.lower_inner
    sign = -1.0 if upper else 1.0
    taper = np.sqrt(np.clip(1 - shape.s**2, 0, 1))
    thickness = np.abs((shape.upper_outer if upper else shape.lower_outer) - edge)
    mixed = np.minimum(GUM_EDGE if upper and shape.is_open else MIXED_EDGE, 0.5 * thickness)
    clean = edge + sign * mixed * taper
    rows = np.interp(canvas.u, shape.u, clean).astype(np.float32)
    inside = (canvas.u > shape.u[0]) & (canvas.u < shape.u[-1])
    rows = np.where(inside, rows, sign * 1e3 * -1)
    v = np.broadcast_to(canvas.v[:, None], (canvas.height, canvas.width))
    source_v = np.minimum(v, rows) if upper else np.maximum(v, rows)
    map_y = ((source_v - canvas.v0) * canvas.scale).astype(np.float32)
    map_x = np.broadcast_to(np.arange(canvas.width, dtype=np.float32), map_y.shape)
    layer = cv2.remap(art, np.ascontiguousarray(map_x), map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    depth = np.abs(v - source_v)  # how far beyond the clean lip
    # Columns of one repeated pixel would show as streaks: blur them sideways, more the further in.
    blurred = cv2.GaussianBlur(layer, (0, 0), sigmaX=0.035 * canvas.scale, sigmaY=0.5)
    share = smoothstep(0.0, 0.015, depth)[..., None]
    rolled = 1.0 - 0.4 * smoothstep(0.0, 0.12, depth)[..., None]  # the lip rolls away from the light
    return np.asarray((layer * (1 - share) + blurred * share) * rolled, np.float32)


class _Profiles:
    """Colours of the portrait along the mouth's columns."""

    def __init__(self, canvas: Canvas, art: Floats, u: Floats) -> None:
        self._canvas = canvas
        self._art = cv2.GaussianBlur(art, (0, 0), 0.006 * canvas.scale + 0.3)
        self._x = ((u - canvas.u0) * canvas.scale).astype(np.float32)

    def at(self, v: Floats) -> Floats:
        """(n, N_COLUMNS, 3) colours at v (n, N_COLUMNS) or (N_COLUMNS,)."""
        rows = np.atleast_2d(((v - self._canvas.v0) * self._canvas.scale).astype(np.float32))
        x = np.ascontiguousarray(np.broadcast_to(self._x, rows.shape))
        return np.asarray(cv2.remap(self._art, x, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@dataclass(frozen=True, eq=False)
class _LipColours:
    """Gaussian colour classes: lip against teeth and dark."""

    lip: tuple[Floats, Floats]
    others: tuple[tuple[Floats, Floats], ...]
    shows_opening: bool
    shows_teeth: bool

    @classmethod
    def of(cls, profiles: _Profiles, uo: Floats, ui: Floats, li: Floats, lo: Floats) -> _LipColours:
        middle = slice(N_COLUMNS // 8, -N_COLUMNS // 8)
        shares = np.linspace(0.25, 0.75, 7, dtype=np.float32)[:, None]
        upper, lower = (
            profiles.at(outer + shares * (inner - outer))[:, middle].reshape(-1, 3)
            for outer, inner in ((uo, ui), (lo, li))
        )
        lip = np.concatenate([upper, lower])
        inside = profiles.at(ui + shares * (li - ui))[:, (li - ui) > OPEN_GAP / 2].reshape(-1, 3)
        tooth, dark = _teeth_and_dark(inside, upper, lower)
        lip_luminance = float(np.median(_luminance(lip)))
        bright = _luminance(inside) > lip_luminance
        groups = [inside[mask] for mask in (bright, ~bright) if mask.sum() >= 12]
        return cls(
            _gaussian(lip),
            tuple(_gaussian(group) for group in groups),
            float((li - ui).max()) > SURELY_OPEN_GAP or bool((tooth | dark).mean() > OPENING_SHARE),
            bool(tooth.mean() > TEETH_SHARE),
        )

    def lip_probability(self, colours: Floats) -> Floats:
        lip = _log_likelihood(colours, self.lip)
        other = np.max([_log_likelihood(colours, group) for group in self.others], axis=0)
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(other - lip, -30, 30))), np.float32)


def _teeth_and_dark(inside: Floats, upper: Floats, lower: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) each: which colours (n, 3) between the lips are teeth, and which the dark behind them; the rest is lip.

    Teeth are less red than either lip in any light, even where they are no brighter; lips differ in brightness from
    each other (the lower one faces the light), so that brightness alone would take one of them for teeth.
    """
    levels = sorted(float(np.median(_luminance(lip))) for lip in (upper, lower))
    redness = min(float(np.median(_redness(lip))) for lip in (upper, lower))
    if redness < GREY_LIP:
        tooth = _luminance(inside) > TOOTH_BRIGHTER * levels[1]
    else:
        tooth = (_redness(inside) < TOOTH_REDNESS * redness) & (_luminance(inside) > DARK_SHARE * levels[0])
    return tooth, _luminance(inside) < DARK_SHARE * levels[0]


def _redness(colours: Floats) -> Floats:
    return np.asarray((colours[..., 0] - colours[..., 1]) / np.maximum(_luminance(colours), 1.0), np.float32)


def _edge_offset(profiles: _Profiles, colours: _LipColours, edge: Floats, *, lip_is_above: bool) -> Floats:
    """(N_COLUMNS,): how far the colours move a contour, smooth along the mouth."""
    offsets = np.linspace(-EDGE_REACH, EDGE_REACH, 45, dtype=np.float32)
    lip = colours.lip_probability(profiles.at(edge + offsets[:, None])) - 0.5
    if not lip_is_above:
        lip = -lip
    # Best cut: most lip on the lip's side, least on the other; a weak pull to the landmarks breaks ties.
    score = np.cumsum(lip, axis=0) - 3.0 * (offsets[:, None] / EDGE_REACH) ** 2
    score = gaussian_filter1d(score, 2.0, axis=1)
    best = offsets[np.argmax(score, axis=0)]
    return np.asarray(gaussian_filter1d(best, 3.0), np.float32)


def _darkest_line(profiles: _Profiles, s: Floats, upper: Floats, lower: Floats) -> Floats:
    """(N_COLUMNS,): v of the seam of closed lips."""
    middle = (upper + lower) / 2
    offsets = np.linspace(-0.05, 0.05, 41, dtype=np.float32)
    rows = np.asarray(middle + offsets[:, None], np.float32)
    dark = _luminance(profiles.at(rows)) + 25.0 * np.abs(offsets[:, None]) / 0.05
    found = offsets[np.argmin(gaussian_filter1d(dark, 2.0, axis=1), axis=0)]
    taper = smoothstep(0.0, 0.15, 1 - np.abs(s))
    return np.asarray(middle + taper * gaussian_filter1d(found, 2.0), np.float32)


def _luminance(colours: Floats) -> Floats:
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)  # ITU-R BT.601


def _gaussian(colours: Floats) -> tuple[Floats, Floats]:
    features = _chromatic(colours)
    covariance = np.cov(features.T) + np.diag([40.0, 4.0, 4.0])
    return features.mean(axis=0).astype(np.float32), np.linalg.inv(covariance).astype(np.float32)


def _log_likelihood(colours: Floats, gaussian: tuple[Floats, Floats]) -> Floats:
    mean, precision = gaussian
    difference = _chromatic(colours) - mean
    distance = np.einsum("...i,ij,...j->...", difference, precision, difference)
    return np.asarray(0.5 * np.linalg.slogdet(precision)[1] - 0.5 * distance, np.float32)


def _chromatic(colours: Floats) -> Floats:
    """Luminance and two colour differences: redness is what tells lips from teeth under any light."""
    r, g, b = np.moveaxis(colours, -1, 0)
    return np.stack([_luminance(colours), r - g, g - b], axis=-1)


def luminance_of(pixels: NDArray[np.uint8] | Floats) -> Floats:
    """Luminance of RGB values, the last axis."""
    return _luminance(np.asarray(pixels, np.float32))
