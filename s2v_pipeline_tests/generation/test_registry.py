"""The registry: lazy, picklable, and clear about names that it does not know."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from s2v_pipeline.errors import ArtifactError, SettingsError
from s2v_pipeline.generation.registry import GeneratorSpec, generator_context_s, generator_names, load_generator


def test_portrait_is_registered() -> None:
    assert "portrait" in generator_names()
    assert list(generator_names()) == sorted(generator_names())


def test_unknown_name_lists_the_known_ones() -> None:
    for ask in (lambda: load_generator(GeneratorSpec("sora")), lambda: generator_context_s("sora")):
        with pytest.raises(SettingsError, match="portrait") as caught:
            ask()
        assert "sora" in str(caught.value)


def test_spec_travels_and_is_made_once() -> None:
    spec = GeneratorSpec("portrait")
    there = pickle.loads(pickle.dumps(spec))  # noqa: S301
    assert there == spec
    assert load_generator(there) is load_generator(spec)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="face model"):
        load_generator(GeneratorSpec("portrait", tmp_path / "none.task"))


def test_context_is_positive() -> None:
    assert generator_context_s("portrait") > 0


def test_importing_the_registry_imports_no_implementation() -> None:
    code = (
        "import sys, s2v_pipeline.generation.registry as r; r.generator_names();"
        "print([m for m in sys.modules if m.startswith('s2v_pipeline.generation.portrait') or m in ('cv2', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
