"""A part of a canvas that is painted on, layer over layer.

Belongs here: where a part lies, smaller parts of it, laying colours over it, taking light from it.
Does not belong here: what is painted (mouth_interior, tongue).

Colours have a fourth, unused channel: OpenCV blends four floats faster than three.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from s2v_pipeline.generation.portrait.canvas import Canvas, Floats
from s2v_pipeline.generation.portrait.warp import mixed


@dataclass(frozen=True, eq=False)
class Part:
    """Rows and columns of a canvas.

    Attributes:
        pixels: (h, w, 4) float32, painted in place.
    """

    canvas: Canvas
    rows: slice
    columns: slice
    pixels: Floats

    @property
    def u(self) -> Floats:
        """(1, w)"""
        return self.canvas.u[self.columns][None, :]

    @property
    def v(self) -> Floats:
        """(h, 1)"""
        return self.canvas.v[self.rows][:, None]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to paint on."""
        return self.pixels.size == 0

    def within(self, u0: float, v0: float, u1: float, v1: float) -> Part:
        """What of this part lies in a rectangle, to the nearest pixel outwards."""
        rows = _inside(self.rows, (v0 - self.canvas.v0) * self.canvas.scale, (v1 - self.canvas.v0) * self.canvas.scale)
        columns = _inside(
            self.columns, (u0 - self.canvas.u0) * self.canvas.scale, (u1 - self.canvas.u0) * self.canvas.scale
        )
        y, x = self.rows.start, self.columns.start
        pixels = self.pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        return Part(self.canvas, rows, columns, pixels)

    def lay(self, colours: Floats, alpha: Floats) -> None:
        """`colours` (h, w, 4) with `alpha` (h, w) over what is there."""
        self.pixels[:] = mixed(self.pixels, colours, alpha)

    def take_light(self, share: Floats, of_red: float) -> None:
        """Darker by `share` (h, w), red by `of_red` of that."""
        others = np.asarray(1 - share, np.float32)
        red = np.asarray(1 - np.float32(of_red) * share, np.float32)
        self.pixels[:] = cv2.multiply(self.pixels, cv2.merge((red, others, others, others)))

    def texture(self, whole: Floats, down_px: float) -> Floats:
        """This part of a texture of the whole canvas that was moved down, perhaps by a fraction of a pixel."""
        matrix = np.array([[1, 0, self.columns.start], [0, 1, self.rows.start - down_px]], np.float32)
        size = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(whole, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def tinted(colour: Floats, light: Floats, white: Floats | float = 0.0) -> Floats:
    """(h, w, 4): `colour` (3,) under `light` (h, w), and `white` of any hue added to it."""
    channels = [np.asarray(light * colour[index] + white, np.float32) for index in range(3)]
    return np.asarray(cv2.merge([*channels, channels[0]]), np.float32)


def _inside(span: slice, start: float, stop: float) -> slice:
    first = min(span.stop, max(span.start, int(np.floor(np.clip(start, span.start, span.stop)))))
    return slice(first, max(first, min(span.stop, int(np.ceil(np.clip(stop, span.start, span.stop))) + 1)))
