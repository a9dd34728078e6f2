"""Draws one frame from one row of coefficients.

Belongs here: putting the parts together: expression, head, eyes, mouth.
Does not belong here: the parts themselves, batches and requests (generator).

A frame's pixel is traced back: through the head's turn to the portrait's own pose, where the mouth's patch lies, then
through the expression to the portrait, where the eyes' patches lie. Nothing is kept from one frame to the next.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.mouth_shape import MouthCommand, pose_mouth
from s2v_pipeline.generation.portrait.warp import enlarge, grid, invert, sample, to_pixels


class Renderer:
    """Frames of one face.

    Args:
        model: of the portrait.
    """

    def __init__(self, model: FaceModel) -> None:
        self._model = model
        height, width = model.pixels.shape[:2]
        self._height, self._width = height, width
        self._pixels_grid = grid(height, width)
        self._head_cells = grid(*model.head.weight.shape)
        skin = model.skin.canvas
        self._skin_cells = grid(skin.height, skin.width)
        step = model.head.step_px
        self._cell_middles_px = self._head_cells * step + np.float32((step - 1) / 2)
        self._px_to_skin = skin.matrix_from_px(model.frame)
        self._mouth_matrix = model.mouth.canvas.matrix_from_px(model.frame)

    def render(self, row: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 for coefficients (17,) in the order of `COEFFICIENTS`. Equal rows give equal bytes."""
        model = self._model
        c = dict(zip(COEFFICIENT_NAMES, (float(value) for value in row), strict=True))
        pose = pose_mouth(model.lips, _mouth_command(c), model.mouth.interior.incisal_v)
        moves = tuple(
            handles.displacements(model.lips, pose, jaw * np.float32(pose.chin_drop))
            for handles, jaw in zip(model.handles, model.handle_jaw, strict=True)
        )

        head = model.head.forward(c["head_pitch_deg"], c["head_yaw_deg"], c["head_roll_deg"], c["breath"])
        head_back = invert(head, self._head_cells)
        step = model.head.step_px
        before_head = self._cell_middles_px + head_back * np.float32(step)
        expression = model.skin.merged(moves[0], moves[1], pose.chin_drop, c["brow_raise"])
        to_portrait_cells = head_back + self._expression_at(before_head, expression) / np.float32(step)

        to_portrait = self._pixels_grid + enlarge(to_portrait_cells, step, self._height, self._width)
        x, y = cv2.split(to_portrait)
        warped = cv2.remap(model.pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        out = np.asarray(warped, np.uint8)
        # Eyes are drawn even when they rest: sampled twice, they are a trace softer, and that must not come and go.
        for eye in model.eyes:
            patch = eye.compose(c["blink"], c["gaze_x"], c["gaze_y"])
            _paste(out, patch, eye.mask, to_portrait, self._pixels_grid, eye.canvas.matrix_from_px(model.frame))
        before = self._pixels_grid + enlarge(head_back, step, self._height, self._width)
        mouth = model.mouth.compose(pose, moves[0], moves[1], c["tongue_tip"])
        _paste(out, mouth, model.mouth.mask, before, self._pixels_grid, self._mouth_matrix)
        return out

    def _expression_at(self, points_px: Floats, forward: Floats) -> Floats:
        """(h, w, 2) pixels: what undoing the expression adds at each point of the unturned face."""
        model = self._model
        skin = model.skin.canvas
        backward = invert(forward, self._skin_cells)
        at = points_px @ self._px_to_skin[:, :2].T + self._px_to_skin[:, 2]
        # The grid's own border is zero, so that replicating it outwards means: no expression there.
        in_cells = sample(backward, at.astype(np.float32))
        return np.asarray(in_cells @ model.frame.axes * np.float32(model.frame.iod_px / skin.scale), np.float32)


def _mouth_command(c: dict[str, float]) -> MouthCommand:
    return MouthCommand(
        jaw_open=c["jaw_open"],
        lips_closed=c["lips_closed"],
        lip_press=c["lip_press"],
        lip_width=c["lip_width"],
        lip_pucker=c["lip_pucker"],
        lip_tuck=c["lip_tuck"],
        smile_relax=c["smile_relax"],
        lips_apart=c["lips_apart"],
    )


def _paste(
    out: NDArray[np.uint8], patch: Floats, mask: Floats, positions_px: Floats, own_px: Floats, matrix: Floats
) -> None:
    """Draw a canvas over a frame where `positions_px` (H, W, 2), through `matrix`, fall on it.

    `own_px` is `grid(H, W)`.
    """
    height, width = mask.shape
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32) @ back[:, :2].T + back[:, 2]
    rows, columns = _frame_part(corners, positions_px, own_px)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    at = (positions_px[rows, columns] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    # The mask is 0 at the canvas's border, so that continuing it outwards means: nothing is drawn there.
    colours, alpha = sample(patch, at), sample(mask, at)[..., None]
    under = out[rows, columns].astype(np.float32)
    out[rows, columns] = to_pixels(under + (colours - under) * alpha)


def _frame_part(corners_px: Floats, positions_px: Floats, own_px: Floats) -> tuple[slice, slice]:
    """Rows and columns of the frame that may show what lies between corners of the portrait."""
    height, width = positions_px.shape[:2]
    # Every eighth pixel tells enough: fields are smooth.
    shift_px = float(np.abs(positions_px[::8, ::8] - own_px[::8, ::8]).max()) + 2
    x0, y0 = np.floor(corners_px.min(axis=0) - shift_px).astype(int)
    x1, y1 = np.ceil(corners_px.max(axis=0) + shift_px).astype(int)
    return slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1))
