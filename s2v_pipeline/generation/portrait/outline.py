"""Where head and hair end in a portrait, by colour.

Belongs here: telling the head from what is behind it, the outline as a radius around the head's middle.
Does not belong here: how the head moves (relief), landmarks (faces).

Landmarks end at the hairline. Hair and hats are told from the background by GrabCut (C. Rother, V. Kolmogorov,
A. Blake, SIGGRAPH 2004) on a small copy. Its edge is not exact, and need not be: it only says from where on the
background may rest.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats, smoothstep

N_DIRECTIONS = 72
LEAST, MOST = 0.72, 1.15  # radii of the head's ellipse: bare ears end at 0.72, wide hair beyond 1
SURELY_BEHIND = 1.55  # nobody's hair reaches there; pictures of such hair move like any background
SIDE_PX = 144  # of the small copy: 0.05 s
ROUNDS = 3
STEPS = 40  # along a direction
SMOOTHING = 2.0  # directions; standard deviation
GAP = 0.12  # radii; a hole in the mask that is no wider is a highlight on the hair


def head_outline(pixels: NDArray[np.uint8], ellipse: Floats, face: NDArray[np.bool_]) -> Floats:
    """(N_DIRECTIONS,): radius at which the head ends, from the direction -pi on, in radii of the head's ellipse.

    Args:
        pixels: (H, W, 3) uint8, the portrait.
        ellipse: (h, w, 2) coordinates about the head's middle over the whole portrait, in radii; y downwards.
        face: (h, w) what is face for certain.
    """
    height, width = pixels.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    around = cv2.resize(ellipse, size, interpolation=cv2.INTER_LINEAR)
    sure = cv2.resize(face.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    radius = np.hypot(around[..., 0], around[..., 1])
    below = around[..., 1] > 0.75  # neck and shoulders: neither head nor background

    mask = np.full(size[::-1], cv2.GC_PR_BGD, np.uint8)
    mask[radius < 1.0] = cv2.GC_PR_FGD
    mask[(radius > SURELY_BEHIND) & ~below] = cv2.GC_BGD
    mask[below] = cv2.GC_PR_FGD
    mask[sure] = cv2.GC_FGD
    if not (mask == cv2.GC_BGD).any() or not sure.any():
        return np.ones(N_DIRECTIONS, np.float32)  # a close-up: no background to learn from
    cv2.setRNGSeed(0)  # its colour models start from random ones; the same portrait must give the same outline
    models = (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.grabCut(small, mask, (0, 0, 0, 0), models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)  # no rectangle
    head = np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), np.float32)
    return _radii(head, np.asarray(around, np.float32))


def outline_at(outline: Floats, ellipse: Floats) -> Floats:
    """(h, w): the outline's radius in the direction of each point of `ellipse` (h, w, 2)."""
    turn = (np.arctan2(ellipse[..., 1], ellipse[..., 0]) / (2 * np.pi) + 0.5) * N_DIRECTIONS
    closed = np.concatenate([outline, outline[:1]])
    return np.asarray(np.interp(turn, np.arange(N_DIRECTIONS + 1), closed), np.float32)


def _radii(head: Floats, around: Floats) -> Floats:
    """From the middle outwards, up to the first gap that is wider than a highlight."""
    # The coordinates are linear over the picture; at its border the enlarged copy of them is not.
    y0, x0 = around.shape[0] // 4, around.shape[1] // 4
    right = (around[y0, 3 * x0] - around[y0, x0]) / (2 * x0)
    down = (around[3 * y0, x0] - around[y0, x0]) / (2 * y0)
    to_cells = np.linalg.inv(np.stack([right, down]))
    corner = around[y0, x0] - x0 * right - y0 * down
    angles = (np.arange(N_DIRECTIONS) / N_DIRECTIONS - 0.5) * 2 * np.pi
    radii = np.linspace(LEAST, SURELY_BEHIND, STEPS)
    points = np.stack([np.cos(angles)[:, None] * radii, np.sin(angles)[:, None] * radii], axis=-1)
    at = ((points - corner) @ to_cells).astype(np.float32)
    seen = cv2.remap(head, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) > 0.5
    gap_steps = max(1, round(GAP / (radii[1] - radii[0])))
    kernel = np.ones((1, gap_steps), np.uint8)
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
    closed[:, 0] = True
    ends = np.where(closed.all(axis=1), STEPS - 1, np.argmin(closed, axis=1) - 1)
    outline = np.clip(radii[ends], LEAST, MOST)
    # One direction that leaks into the background, or stops at a light streak, is no outline: medians, then smooth.
    ring = np.stack([np.roll(outline, shift) for shift in range(-3, 4)])
    outline = np.median(ring, axis=0)
    reach = np.arange(-6, 7)
    weights = np.exp(-0.5 * (reach / SMOOTHING) ** 2)
    smooth = sum(weight * np.roll(outline, shift) for weight, shift in zip(weights, reach, strict=True)) / weights.sum()
    # Downwards the neck goes on; the ellipse itself is the end there.
    downwards = smoothstep(0.30, 0.75, np.sin(angles).astype(np.float32))
    return np.asarray(smooth + (1.0 - smooth) * downwards, np.float32)
