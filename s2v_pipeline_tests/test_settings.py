"""Settings: layers, origins, presets, and what hostile files and variables are told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import PER_INPUT, PRESETS, Quality, Settings, WanSettings
from s2v_pipeline.settings import (
    MAX_SETTINGS_BYTES,
    PROJECT_FILE,
    environment_layer,
    flatten,
    load_settings,
    read_settings_file,
    resolve_settings,
)
from s2v_pipeline.video_settings import MAX_FPS_NUMERATOR

LAYER_NAMES = ("s2v.toml", "environment", "settings.toml", "flags")


def resolved(layer: Mapping[str, Any]) -> Settings:
    return resolve_settings({"s2v.toml": layer}).settings


def refusal(layer: Mapping[str, Any], name: str = "s2v.toml") -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        resolve_settings({name: layer})
    return caught.value


def toml(folder: Path, text: str | bytes) -> Path:
    path = folder / "settings.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Layers and origins


def test_defaults_come_with_the_preset_of_the_default_quality() -> None:
    found = resolve_settings({})
    assert found.settings == Settings()
    assert found.origins["cluster.executor"] == "default"
    assert found.origins["video.width_px"] == "preset medium"


def test_every_setting_has_an_origin() -> None:
    found = resolve_settings({})
    assert set(found.origins) == {name for name, _ in flatten(found.settings.model_dump())}


@pytest.mark.parametrize("strongest", range(len(LAYER_NAMES)))
def test_the_later_layer_wins_and_is_named(strongest: int) -> None:
    layers = {name: {"video": {"crf": 20 + number}} for number, name in enumerate(LAYER_NAMES[: strongest + 1])}
    found = resolve_settings(layers)
    assert found.settings.video.crf == 20 + strongest
    assert found.origins["video.crf"] == LAYER_NAMES[strongest]


def test_layers_meet_setting_by_setting() -> None:
    found = resolve_settings({"s2v.toml": {"video": {"crf": 30, "fps": 30}}, "flags": {"video": {"crf": 10}}})
    assert (found.settings.video.crf, found.settings.video.fps) == (10, Fraction(30))
    assert (found.origins["video.crf"], found.origins["video.fps"]) == ("flags", "s2v.toml")


def test_all_four_layers_are_loaded_in_order(tmp_path: Path) -> None:
    (tmp_path / "s2v.toml").write_text("[video]\ncrf = 1\nfps = 30\naudio_kbps = 64\n[generation]\nseed = 1\n")
    found = load_settings(
        project_dir=tmp_path,
        environment={
            "S2V_VIDEO__CRF": "2",
            "S2V_VIDEO__FPS": "30000/1001",
            "S2V_GENERATION__SEED": "2",
            "PATH": "/bin",
        },
        input_layer={"video": {"crf": 3}, "generation": {"seed": 3}},
        flags={"generation": {"seed": 4}},
    )
    assert found.settings.video.audio_kbps == 64
    assert found.settings.video.fps == Fraction(30000, 1001)
    assert found.settings.video.crf == 3
    assert found.settings.generation.seed == 4
    names = ("video.audio_kbps", "video.fps", "video.crf", "generation.seed")
    assert [found.origins[name] for name in names] == list(LAYER_NAMES)


def test_without_a_project_file_there_is_no_layer_of_it(tmp_path: Path) -> None:
    assert load_settings(project_dir=tmp_path, environment={}).settings == Settings()


# Presets


@pytest.mark.parametrize("generator", PRESETS)
def test_every_quality_has_a_preset_that_can_be_used(generator: str) -> None:
    assert set(PRESETS[generator]) == set(get_args(Quality))
    found = [resolved({"generation": {"generator": generator, "quality": quality}}) for quality in get_args(Quality)]
    sizes = [each.video.width_px * each.video.height_px for each in found]
    assert sizes == sorted(sizes)
    assert len({each.model_dump_json() for each in found}) == len(found)


def test_the_generator_that_wins_chooses_the_table_of_presets() -> None:
    layers = {
        "s2v.toml": {"generation": {"quality": "low", "generator": "portrait"}},
        "flags": {"generation": {"generator": "wan_s2v"}, "wan": {"steps": 8}},
    }
    found = resolve_settings(layers)
    assert (found.settings.video.width_px, found.settings.video.fps) == (832, Fraction(16))
    assert found.settings.video.framing == "picture"
    assert (found.settings.wan.steps, found.settings.wan.guidance) == (8, 1.0)
    assert (found.origins["wan.steps"], found.origins["wan.guidance"]) == ("flags", "preset low")
    assert resolved({"generation": {"generator": "wan_s2v", "quality": "ultra"}}).wan == WanSettings()


@pytest.mark.parametrize("generator", ["sora", 5, None, ["wan_s2v"]])
def test_a_generator_without_presets_starts_from_the_defaults(generator: object) -> None:
    layers = {"s2v.toml": {"generation": {"generator": generator}}}
    if isinstance(generator, str):
        assert resolve_settings(layers).origins["video.width_px"] == "default"
    else:
        with pytest.raises(SettingsError, match=r"generation\.generator"):
            resolve_settings(layers)


def test_texts_come_from_a_list_or_from_a_variable() -> None:
    assert resolved({"wan": {"loras": ["a.safetensors", "b.safetensors@0.5"]}}).wan.loras == (
        "a.safetensors",
        "b.safetensors@0.5",
    )
    layer = environment_layer({"S2V_WAN__LORAS": "a.safetensors, b.safetensors@0.5,"})
    assert resolve_settings({"environment": layer}).settings.wan.loras == ("a.safetensors", "b.safetensors@0.5")


@pytest.mark.parametrize("order", [("quality", "width"), ("width", "quality")])
def test_an_explicit_value_wins_over_a_preset_whichever_layer_is_stronger(order: tuple[str, str]) -> None:
    layer = {"quality": {"generation": {"quality": "ultra"}}, "width": {"video": {"width_px": 640}}}
    found = resolve_settings({name: layer[name] for name in order})
    assert (found.settings.video.width_px, found.settings.video.height_px) == (640, 1080)
    assert (found.origins["video.width_px"], found.origins["video.height_px"]) == ("width", "preset ultra")


def test_the_strongest_quality_chooses_the_preset() -> None:
    found = resolve_settings(
        {"s2v.toml": {"generation": {"quality": "ultra"}}, "flags": {"generation": {"quality": "low"}}}
    )
    assert (found.settings.video.width_px, found.settings.generation.quality) == (256, "low")
    assert found.origins["video.crf"] == "preset low"


# Refusals


@pytest.mark.parametrize("layer_name", LAYER_NAMES)
@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"video": {"widht_px": 640}}, "video.widht_px"),
        ({"vidoe": {"width_px": 640}}, "vidoe"),
        ({"vidoe": {}}, "vidoe"),
        ({"crf": 20}, "crf"),
        ({"video": 20}, "video"),
        ({"video": {"crf": {"deeper": 1}}}, "video.crf.deeper"),
        ({"video.crf": 20}, "video.crf"),
        ({"video": {"video": 1}}, "video.video"),
    ],
)
def test_unknown_names_are_refused_with_their_layer(layer: Mapping[str, Any], named: str, layer_name: str) -> None:
    assert refusal(layer, layer_name).rule.startswith(f"setting {named} (from {layer_name}) ")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"video": {"width_px": 511}}, "must be even"),
        ({"video": {"width_px": 32}}, "greater than or equal to 64"),
        ({"video": {"height_px": 5000}}, "less than or equal to 4096"),
        ({"video": {"width_px": "wide"}}, "valid integer"),
        ({"video": {"width_px": [512]}}, "valid integer"),
        ({"video": {"x264_preset": "placebo"}}, "must be"),
        ({"generation": {"quality": "best"}}, "'low', 'medium', 'high' or 'ultra'"),
        ({"generation": {"quality": ["low"]}}, "'low', 'medium', 'high' or 'ultra'"),
        ({"generation": {"quality": None}}, "'low', 'medium', 'high' or 'ultra'"),
        ({"generation": {"seed": -1}}, "greater than or equal to 0"),
        ({"generation": {"seed": 2**63}}, "less than"),
        ({"generation": {"chunk_s": 0}}, "greater than 0"),
        ({"generation": {"chunk_s": float("nan")}}, "must be"),
        ({"cluster": {"executor": "dask"}}, "'ray' or 'in_process'"),
        ({"paths": {"inputs": 3}}, "must be a path"),
        ({"server": {"file_port": 65536}}, "less than or equal to 65535"),
        ({"video": {"fps": "10000001/400000"}}, "numerator of at most 1000000"),
        ({"inputs": {"max_image_mb": float("inf")}}, "finite number"),
    ],
)
def test_values_are_refused_with_their_rule_and_layer(layer: Mapping[str, Any], words: str) -> None:
    error = refusal(layer)
    assert words in error.rule
    assert "(from s2v.toml)" in error.rule
    assert "s2v config show" in error.cure


def test_of_two_layers_the_one_that_is_wrong_is_named() -> None:
    with pytest.raises(SettingsError, match=r"video\.crf \(from environment\)"):
        resolve_settings({"s2v.toml": {"video": {"crf": 20}}, "environment": {"video": {"crf": "no"}}})


def test_a_wrong_value_under_a_right_one_does_no_harm() -> None:
    assert (
        resolve_settings({"s2v.toml": {"video": {"crf": 999}}, "flags": {"video": {"crf": 20}}}).settings.video.crf
        == 20
    )


def test_a_misspelt_name_is_answered_with_the_likely_one() -> None:
    assert "Did you mean video.width_px?" in refusal({"video": {"widht_px": 640}}).cure
    assert "S2V_VIDEO__WIDTH_PX" in refusal({"width": "640"}, "environment").cure


def test_a_long_value_is_shortened_in_the_message() -> None:
    assert len(str(refusal({"video": {"crf": "9" * 4000}}))) < 400


# Frame rates


@pytest.mark.parametrize(
    ("value", "fps"),
    [
        (25, Fraction(25)),
        ("25", Fraction(25)),
        (" 25 ", Fraction(25)),
        (29.97, Fraction(2997, 100)),
        ("29.97", Fraction(2997, 100)),
        ("30000/1001", Fraction(30000, 1001)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (1, Fraction(1)),
        (120, Fraction(120)),
    ],
)
def test_rates_are_exact(value: object, fps: Fraction) -> None:
    assert resolved({"video": {"fps": value}}).video.fps == fps


@pytest.mark.parametrize(
    "value",
    [
        *(0, -25, 0.5, 121, "1/0", "0/5", "", "abc", "25/", "25/1/1", "-25", "٢٥", True, None, [25]),
        *(float("nan"), float("inf"), "nan", "inf", "1e2"),
    ],
)
def test_what_is_no_rate(value: object) -> None:
    assert "video.fps" in refusal({"video": {"fps": value}}).rule


@pytest.mark.timeout(5)
@pytest.mark.parametrize("value", ["1e999999999", "1" * 4000, "1e-999999999", "1/1e999999999", 10**4000])
def test_a_rate_cannot_be_made_to_take_for_ever(value: object) -> None:
    assert "video.fps" in refusal({"video": {"fps": value}}).rule


@given(fps=st.fractions(min_value=1, max_value=120, max_denominator=MAX_FPS_NUMERATOR // 120))
def test_a_rate_written_out_comes_back(fps: Fraction) -> None:
    written = resolved({"video": {"fps": fps}}).model_dump(mode="json")
    assert Settings.model_validate(written).video.fps == fps


# Files


def test_a_settings_file_is_a_layer(tmp_path: Path) -> None:
    layer = read_settings_file(toml(tmp_path, '[video]\nfps = "30000/1001"\n'), of_input=True)
    assert layer == {"video": {"fps": "30000/1001"}}


@pytest.mark.parametrize("group", sorted(set(Settings.model_fields) - {name.partition(".")[0] for name in PER_INPUT}))
def test_an_input_may_not_set_what_belongs_to_the_machine(tmp_path: Path, group: str) -> None:
    with pytest.raises(SettingsError, match="may set only video, audio, generation") as caught:
        read_settings_file(toml(tmp_path, f"[{group}]\n[video]\n"), of_input=True)
    assert caught.value.got == group


@pytest.mark.parametrize("name", WanSettings.model_fields)
def test_of_the_model_an_input_may_set_what_names_nothing_of_the_machine(tmp_path: Path, name: str) -> None:
    path = toml(tmp_path, f"[wan]\n{name} = 4\n")
    if name in ("steps", "solver", "shift", "guidance", "negative_prompt"):
        assert read_settings_file(path, of_input=True) == {"wan": {name: 4}}
    else:
        with pytest.raises(SettingsError, match=r"may set only video, audio, .*, wan\.steps") as caught:
            read_settings_file(path, of_input=True)
        assert caught.value.got == f"wan.{name}"


def test_an_input_may_say_its_language_and_no_more_of_the_alignment(tmp_path: Path) -> None:
    layer = read_settings_file(toml(tmp_path, '[alignment]\nlanguage = "pt-BR"\n'), of_input=True)
    assert resolve_settings({"settings.toml": layer}).settings.alignment.language == "pt-BR"
    with pytest.raises(SettingsError, match="may set only") as caught:
        read_settings_file(toml(tmp_path, '[alignment]\nctc_checkpoint = "/etc"\n'), of_input=True)
    assert caught.value.got == "alignment.ctc_checkpoint"
    assert "alignment.language" in refusal({"alignment": {"language": "German"}}).rule


@pytest.mark.parametrize(
    "text",
    [
        "video = ",
        "[video]\n[video]\n",
        b"\xff\xfe",
        "a\0b",
        "a = " + "[" * 10_000,
        "a = " + "1" * 5000,
    ],
)
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(SettingsError, match=r"settings\.toml must be TOML in UTF-8"):
        read_settings_file(toml(tmp_path, text))


def test_a_file_too_large_for_settings_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"settings\.toml must be at most 64 KiB"):
        read_settings_file(toml(tmp_path, "#" * (MAX_SETTINGS_BYTES + 1)))


@pytest.mark.timeout(5)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / PROJECT_FILE).symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.toml", tmp_path, tmp_path / "nothing"):
        with pytest.raises(SettingsError, match="must be a file"):
            read_settings_file(path)
    with pytest.raises(SettingsError, match=r"s2v\.toml must be a file"):
        load_settings(project_dir=tmp_path, environment={})


# The environment


def test_variables_spell_groups_and_names() -> None:
    layer = environment_layer(
        {"S2V_VIDEO__WIDTH_PX": "640", "S2V_CLUSTER__ADDRESS": "a:1", "HOME": "/", "XS2V_A__B": "1"}
    )
    assert layer == {"video": {"width_px": "640"}, "cluster": {"address": "a:1"}}
    assert resolve_settings({"environment": layer}).settings.video.width_px == 640


@pytest.mark.parametrize("variable", ["S2V_WIDTH", "S2V_VIDEO", "S2V_VIDEO__", "S2V_", "S2V___X", "S2V_VIDEO__FPS__X"])
def test_variables_that_spell_no_setting_are_refused(variable: str) -> None:
    with pytest.raises(SettingsError, match=r"\(from environment\)"):
        resolve_settings({"environment": environment_layer({variable: "1"})})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().video.crf = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        Settings().video = Settings().video  # type: ignore[misc]


def test_the_documentation_names_every_setting_with_its_default_and_every_preset() -> None:
    text = (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    for group, field in Settings.model_fields.items():
        for name, setting in cast("type[BaseModel]", field.annotation).model_fields.items():
            assert f"| `{group}.{name}` | `{setting.default}` | {setting.description} |" in text
    for generator, presets in PRESETS.items():
        table = text[text.index(f"Presets of `{generator}`") :]
        for name, preset in presets.items():
            video, wan = preset["video"], preset.get("wan", {})
            size = f"{video['width_px']}x{video['height_px']}"
            cells = [f"`{name}`", size, f"crf {video['crf']}, {video['x264_preset']}"]
            cells += [str(wan[column]) for column in ("steps", "solver", "guidance", "shift") if wan]
            assert f"| {' | '.join(cells)} |" in table
