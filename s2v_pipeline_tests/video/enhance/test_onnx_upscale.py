"""A model that the user brings enlarges frames; one that does not fit is refused with the cure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from s2v_pipeline.enhance_settings import EnhanceSettings
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.video.enhance.onnx_upscale import OnnxUpscaler
from s2v_pipeline.video.enhance.upscale import FrameUpscaler, ModelUpscale
from s2v_pipeline.video.finish_plan import expected_look
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline_tests.video.tiny_onnx import write_doubler


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    return write_doubler(tmp_path / "doubler.onnx")


def test_frames_are_the_models(doubler: Path) -> None:
    model = OnnxUpscaler(doubler, 2)
    assert isinstance(model, FrameUpscaler)
    rng = np.random.default_rng(3)
    frames = [
        ShownFrame(index, Fraction(index, 25), rng.integers(0, 256, size, dtype=np.uint8))
        for index, size in enumerate([(6, 8, 3), (4, 10, 3)])
    ]
    for before, after in zip(frames, ModelUpscale(model).apply(frames), strict=True):
        assert (after.index, after.time_s) == (before.index, before.time_s)
        assert np.array_equal(after.pixels, before.pixels.repeat(2, axis=0).repeat(2, axis=1))
    assert "doubler.onnx" in model.name


def test_the_gate_expects_what_the_model_makes(doubler: Path) -> None:
    portrait = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = expected_look(EnhanceSettings(upscale=2, upscale_model=doubler), portrait)
    assert np.array_equal(expected, portrait.repeat(2, axis=0).repeat(2, axis=1))


def test_what_does_not_fit_is_refused(doubler: Path, tmp_path: Path) -> None:
    frame = ShownFrame(0, Fraction(0), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(SettingsError, match=r"enlarge by enhance.upscale = 3.*got \(12, 16\) of \(6, 8\)"):
        next(iter(ModelUpscale(OnnxUpscaler(doubler, 3)).apply([frame])))
    with pytest.raises(SettingsError, match="no file"):
        OnnxUpscaler(tmp_path / "absent.onnx", 2)
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(SettingsError, match="a model that OpenCV can run"):
        OnnxUpscaler(tmp_path / "bad.onnx", 2)
    for change in ({"upscale": 1}, {"upscale": 2.5}, {"upscale": 2, "upscale_to_px": 720}):
        with pytest.raises(ValidationError, match="upscale_model needs upscale"):
            EnhanceSettings(upscale_model=doubler, **change)  # type: ignore[arg-type]
