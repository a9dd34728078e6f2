"""What `s2v verify` prints and its exit codes, on real files."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import Origin, seal_video, trusted_signers
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline.video.verification_text import verification_report
from s2v_pipeline_tests.video.material import make_video


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a signed, a changed, an unsigned video, and no video."""
    folder = tmp_path_factory.mktemp("verify")
    made = make_video(folder, n_samples=16_000, rate_hz=16_000, fps=Fraction(25)).path
    (folder / "unsigned.mp4").write_bytes(made.read_bytes())
    origin = Origin("signed.mp4", "portrait", "portrait 1\x1b[31m", "ab" * 32, "cd" * 32)
    seal_video(made, probe_video(made), origin, credentials_at(Settings(), folder))
    content = made.rename(folder / "signed.mp4").read_bytes()
    at = (content.index(b"mdat") + len(content)) // 2
    (folder / "changed.mp4").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    return folder


def verify(project: Path, *files: Path, as_json: bool = False) -> tuple[str, int]:
    """What the command says in a project folder."""
    return verification_report(files, trusted_signers(credentials_at(Settings(), project)), as_json=as_json)


def test_a_signed_file_is_valid_and_everything_is_said(files: Path) -> None:
    text, exit_code = verify(files, files / "signed.mp4")
    assert exit_code == 0
    for words in (
        "signed.mp4: VALID",
        "s2v_pipeline test certificate",
        "proves that the file was not changed, not who made it",
        "trainedAlgorithmicMedia, made by s2v_pipeline",
        "made from: portrait, SHA-256 abab",
        "by the signer's own clock",
        "XMP digital source type: http",
    ):
        assert words in text
    assert "\x1b" not in text  # what a file says cannot steer the terminal


def test_elsewhere_the_signer_is_not_trusted(files: Path, tmp_path: Path) -> None:
    text, exit_code = verify(tmp_path, files / "signed.mp4")
    assert exit_code == 0
    assert "trust: not trusted" in text
    assert list(tmp_path.iterdir()) == []  # looking makes no certificate


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["changed.mp4"], 1, "INVALID"),
        (["unsigned.mp4"], 3, "ABSENT"),
        (["none.mp4"], 1, "UNREADABLE"),
        (["signed.mp4", "unsigned.mp4"], 3, "VALID"),
        (["unsigned.mp4", "changed.mp4"], 1, "the file was changed after it was signed"),
    ],
)
def test_what_is_not_valid_is_told_by_the_exit_code(files: Path, names: list[str], code: int, words: str) -> None:
    text, exit_code = verify(files, *(files / name for name in names))
    assert exit_code == code
    assert words in text


def test_as_json_it_is_one_document(files: Path) -> None:
    names = ["signed.mp4", "changed.mp4", "unsigned.mp4", "none.mp4"]
    text, exit_code = verify(files, *(files / name for name in names), as_json=True)
    assert exit_code == 1
    found = json.loads(text)
    assert [Path(each["file"]).name for each in found] == names
    assert [each["status"] for each in found] == ["valid", "invalid", "absent", "unreadable"]
    assert found[0]["claims"]["generator"] == "portrait"
    assert found[0]["trust"] == "project"
    assert sorted(found[1]["changed"].values()) == ["as signed", "changed"]
    assert found[1]["codes"] == ["assertion.bmffHash.mismatch"]


def test_the_command_takes_the_settings_of_the_working_folder(files: Path) -> None:
    code = "from s2v_pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, "verify", "--json", "signed.mp4", "unsigned.mp4"]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert [each["status"] for each in json.loads(done.stdout)] == ["valid", "absent"]
    assert json.loads(done.stdout)[0]["trust"] == "project"
