"""Code that does not fit is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s2v_pipeline.cluster.versions import _code_sha256, check_same, own_versions
from s2v_pipeline.errors import ClusterError


def test_the_same_code_fits() -> None:
    check_same(own_versions(), replace(own_versions()), cure="not needed")


@pytest.mark.parametrize("name", ["python", "ray", "package", "code"])
def test_what_differs_is_named(name: str) -> None:
    here = own_versions()
    with pytest.raises(ClusterError) as caught:
        check_same(here, replace(here, **{name: "another"}), cure="Restart it.")
    assert caught.value.got == "another"
    assert getattr(here, name)[:12] in caught.value.rule
    assert caught.value.cure == "Restart it."


def test_every_source_file_counts_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = _code_sha256(tmp_path)
    (tmp_path / "notes.txt").write_text("no code")
    assert _code_sha256(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = _code_sha256(tmp_path)
    (tmp_path / "b.py").write_text("2")
    assert len({first, renamed, _code_sha256(tmp_path)}) == 3
