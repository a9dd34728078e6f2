"""benchmarks/alignment.py on a set with everything wrong in it that a set may have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.audio.resample import resample
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import DATA, NAMES, load

_ROOT = Path(__file__).parents[2]


def _run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_ROOT / "benchmarks" / "alignment.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
    )


def _write(
    folder: Path, name: str, source: str, *, channels: int = 1, rate_hz: int = 16_000, text: bool = True
) -> None:
    waveform: Waveform = resample(load(source).waveform, rate_hz)
    pcm = np.repeat(np.rint(np.clip(waveform.samples, -1, 1) * 32767).astype("<i2")[:, None], channels, axis=1)
    with wave.open(str(folder / f"{name}.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes())
    shutil.copy(DATA / f"{source}.csv", folder / f"{name}.phones.csv")
    if text:
        shutil.copy(DATA / f"{source}.txt", folder / f"{name}.txt")


@pytest.fixture(scope="module")
def mixed_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    _write(folder, "plain", NAMES[0])
    _write(folder, "stereo", NAMES[1], channels=2, rate_hz=44_100)
    _write(folder, "wordless", NAMES[0], text=False)
    _write(folder, "odd", NAMES[0])
    (folder / "odd.phones.csv").write_text("start_s,end_s,phone\n0.0,0.1,ʘ\n")
    _write(folder, "unlabelled", NAMES[0])
    (folder / "unlabelled.phones.csv").unlink()
    (folder / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(folder / "plain.phones.csv", folder / "broken.phones.csv")
    return folder


def _cells(line: str) -> dict[str, str]:
    names = ("aligner", "files", "fail", "fell", "bounds", "median", "mean")
    return dict(zip(names, (cell.strip() for cell in line.strip("| ").split("|")), strict=False))


def test_what_is_wrong_with_a_recording_stops_no_other(mixed_set: Path) -> None:
    ran = _run(str(mixed_set), "--aligners", "transcript")
    assert ran.returncode == 0, ran.stderr
    row = _cells(next(line for line in ran.stdout.splitlines() if line.startswith("| transcript")))
    assert (row["files"], row["fail"], row["fell"]) == ("2", "0", "0")
    assert int(row["bounds"]) >= 45
    assert float(row["mean"]) <= 13.0
    for told in ("odd: left out: odd.phones.csv", "unlabelled: left out", "broken: left out", "wordless: transcript"):
        assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    for arguments in ((str(tmp_path),), (str(tmp_path / "none"),)):
        ran = _run(*arguments)
        assert ran.returncode == 2
        assert "error:" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_without_flite_no_set_is_made(tmp_path: Path) -> None:
    ran = _run("--make", str(tmp_path / "set"), path=str(tmp_path))
    assert ran.returncode == 2
    assert "apt-get install flite" in ran.stderr
