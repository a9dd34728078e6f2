"""Draws one frame from one row of coefficients.

Belongs here: putting the parts together: expression, head, eyes, mouth.
Does not belong here: the parts themselves, work on whole frames (frame_warp), batches and requests (generator).

A frame's pixel is traced back: through the head's turn to the portrait's own pose, where the mouth's patch lies, then
through the expression to the portrait, where the eyes' patches lie. Nothing is kept from one frame to the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.generation.portrait.canvas import Floats
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.frame_warp import FrameWarp, mask_of, to_rgb
from s2v_pipeline.generation.portrait.mouth_shape import MouthCommand, pose_mouth
from s2v_pipeline.generation.portrait.warp import grid, invert, sample


class Renderer:
    """Frames of one face.

    Args:
        model: of the portrait.
    """

    def __init__(self, model: FaceModel) -> None:
        self._model = model
        self._frame = FrameWarp(model.pixels, model.head.step_px)
        self._head_cells = grid(*model.head.weight.shape)
        skin = model.skin.canvas
        self._skin_cells = grid(skin.height, skin.width)
        step = model.head.step_px
        self._cell_middles_px = self._head_cells * step + np.float32((step - 1) / 2)
        self._px_to_skin = skin.matrix_from_px(model.frame)
        self._mouth_place = mask_of(model.mouth.mask), model.mouth.canvas.matrix_from_px(model.frame)
        self._eye_places = [(mask_of(eye.mask), eye.canvas.matrix_from_px(model.frame)) for eye in model.eyes]

    def render(self, row: NDArray[np.float32], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 for coefficients (17,) in the order of `COEFFICIENTS`. Equal rows give equal bytes.

        Args:
            row: the coefficients.
            out: contiguous (H, W, 3) uint8 that the frame is written to; None makes a new one.
        """
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
        to_portrait = head_back + self._expression_at(before_head, expression) / np.float32(step)

        drawn = self._frame.moved(to_portrait)
        in_portrait = self._frame.positions(to_portrait)
        # Eyes are drawn even when they rest: sampled twice, they are a trace softer, and that must not come and go.
        for eye, (mask, matrix) in zip(model.eyes, self._eye_places, strict=True):
            patch = eye.compose(c["blink"], c["gaze_x"], c["gaze_y"])
            self._frame.paste(drawn, patch, mask, in_portrait, matrix)
        mouth = model.mouth.compose(pose, moves[0], moves[1], c["tongue_tip"])
        mask, matrix = self._mouth_place
        self._frame.paste(drawn, mouth, mask, self._frame.positions(head_back), matrix)
        return to_rgb(drawn, out)

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
