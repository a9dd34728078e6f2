"""Writing the copy of the speech."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.inputs.flac import FlacWriter, check_written
from s2v_pipeline_tests.inputs.sound_files import read_sound


def frame(samples: np.ndarray, kind: str, layout: str, rate_hz: int) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=kind, layout=layout)
    made.sample_rate, made.time_base = rate_hz, Fraction(1, rate_hz)
    return made


@pytest.mark.parametrize(
    ("kind", "layout", "rate_hz", "expected"),
    [
        ("s16", "mono", 8_000, ("s16", 8_000, 1)),
        ("s16", "mono", 7_999, ("s32", 48_000, 1)),
        ("s16", "stereo", 48_000, ("s16", 48_000, 2)),
        ("s16", "stereo", 48_001, ("s32", 48_000, 2)),
        ("s16", "quad", 16_000, ("s32", 16_000, 2)),
        ("s32", "mono", 16_000, ("s32", 16_000, 1)),
        ("u8", "mono", 16_000, ("s16", 16_000, 1)),
    ],
)
def test_what_is_kept(tmp_path: Path, kind: str, layout: str, rate_hz: int, expected: tuple[str, int, int]) -> None:
    channels = len(av.AudioLayout(layout).channels)
    dtype = {"s16": np.int16, "s32": np.int32, "u8": np.uint8}[kind]
    samples = frame(np.full((1, rate_hz * channels), 100, dtype), kind, layout, rate_hz)
    path = tmp_path / "a.flac"
    with path.open("wb") as file, FlacWriter(file, samples) as writer:
        writer.add(samples)
        writer.finish()
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.format.name, stream.rate, stream.channels) == expected
    assert read_sound(path)[0].shape == (expected[2], writer.n_samples)
    assert writer.n_samples == pytest.approx(expected[1], abs=2)


def test_level_of_a_sine(tmp_path: Path) -> None:
    sine = np.rint(np.sin(np.arange(16_000) * 2 * np.pi / 16) * 16_384).astype(np.int16)[None]
    with (tmp_path / "a.flac").open("wb") as file, FlacWriter(file, frame(sine, "s16", "mono", 16_000)) as writer:
        writer.add(frame(sine, "s16", "mono", 16_000))
        writer.finish()
    assert writer.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert writer.rms_dbfs == pytest.approx(-9.03, abs=0.01)


def test_a_wrong_length_is_noticed(tmp_path: Path) -> None:
    sound = frame(np.ones((1, 8_000), np.int16), "s16", "mono", 8_000)
    with (tmp_path / "a.flac").open("wb") as file, FlacWriter(file, sound) as writer:
        writer.add(sound)
        writer.finish()
    check_written(tmp_path / "a.flac", 8_000)
    with pytest.raises(ArtifactError, match="got 8000 instead of 7999"):
        check_written(tmp_path / "a.flac", 7_999)
