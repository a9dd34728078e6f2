"""Installed versions against the bounds that pyproject.toml states."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from s2v_pipeline import installed

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("1.13.27", ">=1.13,<2", True),
        ("1.9.0", ">=1.13,<2", False),
        ("2.0.0", ">=1.13,<2", False),
        ("2", ">=2.0", True),
        ("2.0", "<2", False),
        ("0.10", ">=0.9", True),
        ("7.2.2.20261111", ">=6", True),
        ("5.1.1rc1", ">=5.0.4,<6", True),
        ("1.0", "", True),
    ],
)
def test_bounds(version: str, bounds: str, fits: bool) -> None:
    assert installed.within(version, bounds) is fits


def test_pyproject_uses_only_operators_that_are_understood() -> None:
    for line in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]:
        bounds = re.sub(r"^[A-Za-z0-9._-]+", "", line.split(";")[0])
        assert re.fullmatch(r"((>=|<)[0-9.]+,?)*", bounds), line


def test_requirements_are_those_of_pyproject_without_extras() -> None:
    lines = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    declared = {re.split(r"[<>=]", line)[0] for line in lines if ";" not in line}  # with ";" for some platforms alone
    found = installed.requirements("s2v_pipeline")
    assert {each.name for each in found} == declared
    assert all(each.is_met for each in found)


def test_what_is_not_installed() -> None:
    assert installed.installed_version("no-such-distribution") is None
    assert installed.requirements("no-such-distribution") == ()
    assert not installed.Requirement("no-such-distribution", "", None).is_met
