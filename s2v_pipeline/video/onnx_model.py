"""Models that the user brings as ONNX files, run by OpenCV on the CPU.

Belongs here: loading one, what it answers, refusing what is none.
Does not belong here: what a model is good for (face_embedding, enhance.onnx_upscale), any model or its weights.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import SettingsError


class OnnxModel:
    """One input and one output, both (1, channels, ...) float32.

    Args:
        path: of the file.
        setting: that names it, for messages.

    Raises:
        SettingsError: no such file, or OpenCV cannot read it as a model.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self._setting = path, setting
        if not path.is_file():
            raise SettingsError(f"{setting} must name an ONNX file", got=f"no file {path}", cure="Correct the path.")
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise self._refused(error) from error

    def answer(self, asked: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model makes of an input.

        Raises:
            SettingsError: it takes other inputs.
        """
        try:
            self._net.setInput(asked)
            return np.asarray(self._net.forward(), np.float32)
        except cv2.error as error:
            raise self._refused(error) from error

    def _refused(self, error: cv2.error) -> SettingsError:
        return SettingsError(
            f"{self._setting} must name a model that OpenCV can run",
            got=" ".join(str(error).split())[:300],
            cure="Export it to ONNX with a free picture size; docs/settings.md says what it is given.",
        )
