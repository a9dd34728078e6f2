"""What tests of several stages share: the committed sample, and a project folder of their own.

Belongs here: fixtures that two or more folders need. Does not belong here: fixtures of one stage.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
from pathlib import Path

import pytest

MISSING_FOR_WAN = tuple(
    name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None
)
"""What tests of wan_s2v need and is not installed; empty with the extra `wan`."""

collect_ignore = ["test_golden.py"] if MISSING_FOR_WAN else []

REPOSITORY = Path(__file__).parent.parent
SAMPLE = REPOSITORY / "data" / "samples" / "astronaut"

SMALL_PROJECT = """
[video]
width_px = 192
height_px = 192
x264_preset = "ultrafast"
[generation]
chunk_s = 2.0
[cluster]
num_cpus = 2
[inputs]
settle_s = 0
"""
"""Settings of a project whose videos take seconds; the face is still large enough for landmarks."""

WITHOUT_GATE = """
[gate]
enabled = false
"""
"""For tests of how a graph runs: tracking the face takes as long as drawing it."""


def pytest_configure() -> None:
    """Interrupts arrive in tests however they were started: shells ignore them in what they put into the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str | None:
    """Says that tests are left out, so that nobody takes their absence for success."""
    return f"wan_s2v: its tests are left out, as {', '.join(MISSING_FOR_WAN)} is missing" if MISSING_FOR_WAN else None


@pytest.fixture(scope="session")
def sample() -> Path:
    """The committed sample: a folder input with a real portrait and a real voice."""
    return SAMPLE


@pytest.fixture(scope="session")
def session_project_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder that the tests of a whole session share; who makes something there takes a name of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "s2v.toml").write_text(SMALL_PROJECT)
    return folder


@pytest.fixture
def project_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh project folder, as working folder, without the caller's DAGSTER_HOME."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "s2v.toml").write_text(SMALL_PROJECT + WITHOUT_GATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_sample(destination: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A copy of the sample folder as an input of its own."""
    shutil.copytree(SAMPLE, destination, ignore=lambda _, names: [name for name in names if name in without])
    return destination
