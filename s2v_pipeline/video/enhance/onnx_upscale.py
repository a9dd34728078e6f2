"""Larger pictures by a super-resolution model that the user brings as an ONNX file.

Belongs here: the model's pictures in and out. Does not belong here: the stage around it (upscale), any weights.

The model is given (1, 3, h, w) float32, RGB from 0 to 1, and answers (1, 3, scale * h, scale * w) of the same, as
Real-ESRGAN and most others are exported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.video.enhance.stage import ALONE, Window
from s2v_pipeline.video.onnx_model import OnnxModel

_WHITE = 255


class OnnxUpscaler:
    """Implements `upscale.FrameUpscaler`.

    Args:
        path: of the model.
        scale: that it was trained for.

    Raises:
        SettingsError: the file is no model that can be run.
    """

    def __init__(self, path: Path, scale: int) -> None:
        self._model = OnnxModel(path, "enhance.upscale_model")
        self._scale = scale
        self._name = f"{path.name} {file_sha256(path)[:12]}"

    @property
    def name(self) -> str:
        """File and hash."""
        return self._name

    @property
    def scale(self) -> int:
        """Of each side."""
        return self._scale

    @property
    def window(self) -> Window:
        """One frame at a time."""
        return ALONE

    def upscale(self, around: tuple[NDArray[np.uint8], ...], position: int) -> NDArray[np.uint8]:
        """See `FrameUpscaler`.

        Raises:
            SettingsError: the model takes other inputs, or enlarges by another factor.
        """
        own = around[position]
        asked = np.ascontiguousarray(own.transpose(2, 0, 1)[None], np.float32)
        asked /= _WHITE
        answer = self._model.answer(asked)
        wanted = (1, 3, own.shape[0] * self._scale, own.shape[1] * self._scale)
        if answer.shape != wanted:
            raise SettingsError(
                f"enhance.upscale_model must enlarge by enhance.upscale = {self._scale}",
                got=f"{answer.shape[2:]} of {own.shape[:2]}",
                cure="Set enhance.upscale to the factor that the model was trained for.",
            )
        larger = np.clip(answer[0].transpose(1, 2, 0) * _WHITE, 0, _WHITE)
        return np.ascontiguousarray(larger.round().astype(np.uint8))
