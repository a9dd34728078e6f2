"""Settings put together from layers, and where each value came from.

Belongs here: layering (defaults < preset < s2v.toml < S2V_* < settings.toml < flags), reading files and variables.
Does not belong here: the settings themselves and the presets (setting_groups), acting on a setting.

A layer is a nested mapping as TOML gives it: {"video": {"width_px": 720}}. The environment spells the same setting
S2V_VIDEO__WIDTH_PX=720. Nothing is read at import; `load_settings` reads files and the environment that it is given.
"""

from __future__ import annotations

import difflib
import os
import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import ENHANCED, PER_INPUT, PRESETS, Layer, Settings, not_for_inputs

ENVIRONMENT_PREFIX = "S2V_"
ENVIRONMENT_NESTING = "__"
PROJECT_FILE = "s2v.toml"
MAX_SETTINGS_BYTES = 64 << 10  # all settings with comments are below 4 kB; more is a file given by mistake
_ENVIRONMENT_LAYER = "environment"
_SHOW_CURE = "`s2v config show` lists every setting with its present value and where it came from."


@dataclass(frozen=True)
class ResolvedSettings:
    """Settings and, for each dotted name, the layer that its value came from."""

    settings: Settings
    origins: Mapping[str, str]


def flatten(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf of a nested mapping."""
    for name, value in layer.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def resolve_settings(layers: Mapping[str, Layer]) -> ResolvedSettings:
    """Put layers (name -> nested values, weakest first) on the defaults.

    The generator and the quality that win over all layers choose the preset, which lies between the defaults and the
    layers; `generation.enhance_quality` puts the generator's set of `enhance` on it.

    Raises:
        SettingsError: an unknown name or a value that its rule refuses, with the layer that it came from.
    """
    choosing = ("generator", "quality", "enhance_quality")
    chosen: dict[str, object] = {name: getattr(Settings().generation, name) for name in choosing}
    for layer in layers.values():
        generation = layer.get("generation")
        if isinstance(generation, Mapping):
            chosen.update({name: generation[name] for name in chosen if name in generation})
    # A generator or quality that there is not, whatever its type, is left for the validation below to refuse.
    preset = {
        f"preset {quality}": layer
        for generator, qualities in PRESETS.items()
        for quality, layer in qualities.items()
        if (generator, quality) == (chosen["generator"], chosen["quality"])
    }
    if _as_switch(chosen["enhance_quality"]):
        preset["enhance_quality"] = {"enhance": ENHANCED.get(str(chosen["generator"]), {})}

    values: dict[str, Any] = {}
    origins = {name: "default" for name, _ in flatten(Settings().model_dump())}
    for layer_name, layer in {**preset, **layers}.items():
        for name, content in layer.items():
            if name not in Settings.model_fields:
                raise _unknown(name, layer_name)
            if not isinstance(content, Mapping):
                rule = f"setting {name} (from {layer_name}) must be a group of settings"
                raise SettingsError(rule, got=reprlib.repr(content), cure=_SHOW_CURE)
        for dotted, value in flatten(layer):
            group, _, field = dotted.partition(".")
            values.setdefault(group, {})[field] = value
            origins[dotted] = layer_name
    try:
        return ResolvedSettings(Settings.model_validate(values), origins)
    except ValidationError as error:
        raise _refusal(error.errors()[0], origins) from error


def _as_switch(value: object) -> bool:
    """Whether a value stands for true; what is neither is left for the validation to refuse."""
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return False


def _refusal(first: ErrorDetails, origins: Mapping[str, str]) -> SettingsError:
    dotted = ".".join(str(part) for part in first["loc"])
    origin = origins.get(dotted, "an unknown name")
    if first["type"] == "extra_forbidden":
        return _unknown(dotted, origin)
    plain = "must be a path" if first["type"] == "path_type" else first["msg"].removeprefix("Value error, ")
    rule = f"setting {dotted} (from {origin}) {plain.replace('Input should be', 'must be')}"
    return SettingsError(rule, got=reprlib.repr(first["input"]), cure=_SHOW_CURE)


def _unknown(dotted: str, origin: str) -> SettingsError:
    close = difflib.get_close_matches(dotted, [name for name, _ in flatten(Settings().model_dump())], n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    if origin == _ENVIRONMENT_LAYER:
        hint += f"Variables that start with {ENVIRONMENT_PREFIX} are settings, spelt as S2V_VIDEO__WIDTH_PX. "
    rule, got = f"setting {dotted} (from {origin}) must be one that there is", f"the unknown name {dotted!r}"
    return SettingsError(rule, got=got, cure=hint + _SHOW_CURE)


def read_settings_file(path: Path, *, of_input: bool = False) -> Layer:
    """A layer from a TOML file; one of an input may set only what `PER_INPUT` names.

    Raises:
        SettingsError: not readable, too large, not TOML, or a setting that this file may not set.
    """
    if not path.is_file():  # a pipe would be waited for, a device read for ever
        raise SettingsError(f"{path.name} must be a file", got="something else, or nothing", cure="Replace it.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path.name} must be readable", got=str(error), cure="Check its permissions.") from error
    if len(content) > MAX_SETTINGS_BYTES:
        raise SettingsError(
            f"{path.name} must be at most {MAX_SETTINGS_BYTES >> 10} KiB",
            got="a larger file",
            cure="Keep only the settings that differ from their defaults.",
        )
    try:
        layer = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # tomllib lets int()'s refusal of thousands of digits through
        raise SettingsError(
            f"{path.name} must be TOML in UTF-8", got=str(error), cure="Compare it with docs/settings.md."
        ) from error
    refused = not_for_inputs(layer) if of_input else ()
    if refused:
        raise SettingsError(
            f"{path.name} of an input may set only {', '.join(PER_INPUT)}",
            got=", ".join(refused),
            cure=f"Move it to {PROJECT_FILE} beside the project.",
        )
    return layer


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """A layer from S2V_GROUP__NAME variables; other S2V_ names are refused by `resolve_settings`."""
    layer: dict[str, Any] = {}
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            group, _, field = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition(ENVIRONMENT_NESTING)
            layer.setdefault(group, {})[field or group] = value
    return layer


def load_settings(
    *,
    project_dir: Path,
    environment: Mapping[str, str],
    input_layer: Layer | None = None,
    flags: Layer | None = None,
) -> ResolvedSettings:
    """Settings from all layers that exist: s2v.toml in `project_dir`, `environment`, an input's own, flags."""
    layers: dict[str, Layer] = {}
    project_file = project_dir / PROJECT_FILE
    if os.path.lexists(project_file):
        layers[PROJECT_FILE] = read_settings_file(project_file)
    layers[_ENVIRONMENT_LAYER] = environment_layer(environment)
    layers["settings.toml"] = input_layer or {}
    layers["flags"] = flags or {}
    return resolve_settings(layers)
