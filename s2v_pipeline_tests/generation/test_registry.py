"""The registry: lazy, picklable, and clear about names that it does not know."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.errors import ArtifactError, SettingsError
from s2v_pipeline.generation.registry import (
    check_generator,
    generator_names,
    generator_profile,
    load_generator,
    spec_of,
)
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.settings import resolve_settings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.conftest import MISSING_FOR_WAN

needs_wan = pytest.mark.skipif(bool(MISSING_FOR_WAN), reason=f"missing: {', '.join(MISSING_FOR_WAN)}")


def test_portrait_is_registered() -> None:
    assert "portrait" in generator_names()
    assert list(generator_names()) == sorted(generator_names())


def test_unknown_name_lists_the_known_ones() -> None:
    for ask in (lambda: load_generator(GeneratorSpec("sora")), lambda: generator_profile("sora")):
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


@pytest.mark.parametrize("name", generator_names())
def test_profiles_say_what_planning_needs(name: str) -> None:
    if name == "wan_s2v" and MISSING_FOR_WAN:
        pytest.skip(f"missing: {', '.join(MISSING_FOR_WAN)}")
    profile = generator_profile(name)
    assert profile.CONTEXT_S > 0
    assert profile.WANTS_SOUND or profile.WANTS_TABLES
    settings = resolve_settings({"test": {"generation": {"generator": name}}}).settings
    check_generator(settings)
    for n_frames in (1, 77, 78, 400, 1001):
        plan, longer = (profile.chunk_plan(n, settings).chunks for n in (n_frames, n_frames + 999))
        assert plan[-1].stop_frame == n_frames
        assert longer[: len(plan) - 1] == plan[:-1]
    assert profile.n_gpus(settings) >= 0
    assert profile.words_understood("") == ()


def test_specs_hold_what_their_generator_looks_at() -> None:
    values = {"wan": {"steps": 7}, "paths": {"face_model": "m.task"}}
    portrait, wan = (
        spec_of(resolve_settings({"test": {**values, "generation": {"generator": name}}}).settings)
        for name in ("portrait", "wan_s2v")
    )
    assert portrait == GeneratorSpec("portrait", Path("m.task"))
    assert wan.wan is not None
    assert (wan.name, wan.face_model_path, wan.wan.steps) == ("wan_s2v", None, 7)
    assert hash(pickle.loads(pickle.dumps(wan))) == hash(wan)  # noqa: S301


def wan_settings(**video: object) -> Settings:
    chunk_s = video.pop("chunk_s", 5)
    return resolve_settings(
        {"test": {"generation": {"generator": "wan_s2v", "chunk_s": chunk_s}, "video": video}}
    ).settings


def test_wan_s2v_starts_with_a_chunk_that_is_three_frames_shorter() -> None:
    profile = generator_profile("wan_s2v")
    assert profile.chunk_plan(200, wan_settings()).chunks == (
        FrameSpan(0, 77),
        FrameSpan(77, 157),
        FrameSpan(157, 200),
    )
    assert profile.chunk_plan(77, wan_settings()) == plan_chunks(77, chunk_frames=77)
    assert profile.n_gpus(wan_settings()) == 1
    assert profile.words_understood("a man sings") == ("the whole prompt",)


@needs_wan
@pytest.mark.parametrize(
    ("video", "words"),
    [
        ({"fps": 25}, r"video\.fps must be 16 .* got 25.* set enhance.interpolate_fps to 25"),
        ({"fps": "16001/1000"}, r"video\.fps must be 16"),
        ({"width_px": 840}, "multiples of 16"),
        ({"height_px": 450}, "multiples of 16"),
        ({"chunk_s": 4.5}, r"from 4\.75 to 7\.5"),
        ({"chunk_s": 7.75}, r"from 4\.75 to 7\.5"),
        ({"chunk_s": 5.1}, r"multiple of 0\.25"),
        ({"chunk_s": 4.8125}, r"multiple of 0\.25"),
    ],
)
def test_wan_s2v_refuses_what_the_model_does_not_know(video: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_generator(wan_settings(**video))


@needs_wan
@pytest.mark.parametrize("chunk_s", [4.75, 5, 7.5])
def test_wan_s2v_takes_other_lengths_of_chunks(chunk_s: float) -> None:
    check_generator(wan_settings(chunk_s=chunk_s, width_px=64, height_px=64))


@pytest.mark.parametrize(
    ("wan", "words"),
    [
        ({}, []),
        ({"steps": 4}, ["4 steps without a LoRA"]),
        ({"steps": 4, "loras": ("few.safetensors",)}, []),
        ({"fp8": True, "step_cache": 0.1, "vae_tiling": "on"}, ["8-bit", "change less than 0.1", "tiles"]),
    ],
)
def test_wan_s2v_says_what_is_approximate(wan: dict[str, object], words: list[str]) -> None:
    settings = wan_settings()
    notes = generator_profile("wan_s2v").notes(settings.model_copy(update={"wan": settings.wan.model_copy(update=wan)}))
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


@needs_wan
@pytest.mark.parametrize("missing", ["torch", "diffusers", "transformers"])
def test_a_generator_that_is_not_installed_says_how_to_get_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # as where it is not installed
    settings = wan_settings()
    for ask in (lambda: check_generator(settings), lambda: load_generator(spec_of(settings))):
        with pytest.raises(SettingsError, match=f"no {missing}") as caught:
            ask()
        assert caught.value.cure == "pip install 's2v_pipeline[wan]'"
    check_generator(Settings())
    load_generator(GeneratorSpec("portrait"))


def test_importing_the_registry_imports_no_implementation() -> None:
    code = (
        "import sys, s2v_pipeline.generation.registry as r; r.generator_names();"
        "own = ('s2v_pipeline.generation.portrait', 's2v_pipeline.generation.wan_s2v');"
        "print([m for m in sys.modules if m.startswith(own) or m in ('cv2', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
