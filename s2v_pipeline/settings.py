"""Every setting, its default and its reason; layers and where each value came from.

Belongs here: the typed settings, quality presets, layering: defaults < preset < s2v.toml < S2V_* < settings.toml <
flags.
Does not belong here: acting on a setting, Dagster's own run configuration.

A layer is a nested mapping as TOML gives it: {"video": {"width_px": 720}}. The environment spells the same setting
S2V_VIDEO__WIDTH_PX=720. Nothing is read at import; `load_settings` reads files and the environment that it is given.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, field_validator
from pydantic_core import ErrorDetails

from s2v_pipeline.errors import SettingsError

ENVIRONMENT_PREFIX = "S2V_"
ENVIRONMENT_NESTING = "__"
PROJECT_FILE = "s2v.toml"
MAX_SETTINGS_BYTES = 64 << 10  # all settings with comments are below 4 kB; more is a file given by mistake
MAX_FPS_NUMERATOR = 10**6  # clocks of MP4 tracks are 32 bits; 30000/1001 and 23976/1000 are far below
_ENVIRONMENT_LAYER = "environment"
_SHOW_CURE = "`s2v config show` lists every setting with its present value and where it came from."

Quality = Literal["low", "medium", "high", "ultra"]
Layer = Mapping[str, Any]

# No exponents: "1e999999999" would be computed to its last digit. Twelve digits hold every rate that exists.
_RATE_TEXT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?|[0-9]{1,12}/[0-9]{1,12}")


def _to_fraction(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
        raise ValueError("must be a number such as 25, '30000/1001' or 29.97")
    if isinstance(value, str) and not _RATE_TEXT.fullmatch(value.strip()):
        raise ValueError("must be a number such as 25, '30000/1001' or 29.97")
    try:
        # A float such as 29.97 stands for its shortest decimal form, not for its binary expansion.
        return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    except ZeroDivisionError as error:
        raise ValueError("must not divide by zero") from error


Rate = Annotated[Fraction, BeforeValidator(_to_fraction), PlainSerializer(str, return_type=str)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


class InputSettings(_Group):
    """Limits on what the user gives; checked before anything large is decoded."""

    max_image_mb: float = Field(64, gt=0, description="largest portrait file, in MB")
    max_image_mpx: float = Field(64, gt=0, description="most pixels of a portrait, in millions (64 = 8000x8000)")
    min_face_px: int = Field(60, ge=16, description="least width of the face; below it landmarks are guesses")
    max_audio_mb: float = Field(2048, gt=0, description="largest speech file, in MB (3 h of 48 kHz stereo WAV fit)")
    min_audio_s: float = Field(0.2, gt=0, description="shortest speech; below it there is not one syllable")
    max_audio_s: float = Field(4 * 3600, gt=0, description="longest speech")
    settle_s: float = Field(3, ge=0, description="a watched file counts as copied once unchanged for this long")
    runs_per_tick: int = Field(20, ge=1, description="run requests one sensor tick may make (each costs about 0.15 s)")


class VideoSettings(_Group):
    """The picture and sound that are delivered."""

    width_px: int = Field(512, ge=64, le=4096, description="even, as 4:2:0 video needs")
    height_px: int = Field(512, ge=64, le=4096, description="even, as 4:2:0 video needs")
    fps: Rate = Field(Fraction(25), description="frames a second, exact: 25, 30, '30000/1001'")
    crf: int = Field(18, ge=0, le=40, description="x264 constant rate factor; lower is better and larger")
    x264_preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        "veryfast", description="x264 speed preset"
    )
    audio_kbps: int = Field(160, ge=32, le=320, description="AAC bit rate")

    @field_validator("width_px", "height_px")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    @field_validator("fps")
    @classmethod
    def _sane_rate(cls, value: Fraction) -> Fraction:
        if not 1 <= value <= 120:
            raise ValueError("must lie between 1 and 120")
        if value.numerator > MAX_FPS_NUMERATOR:
            raise ValueError(f"must have a numerator of at most {MAX_FPS_NUMERATOR}, such as 30000/1001 for 29.97")
        return value


class GenerationSettings(_Group):
    """How chunks are made."""

    generator: str = Field("portrait", description="name of a registered generator")
    quality: Quality = Field("medium", description="preset of size and encoding; explicit values win over it")
    seed: int = Field(0, ge=0, lt=2**63, description="of the input; a chunk's seed derives from it")
    chunk_s: float = Field(4.0, gt=0, le=60, description="length of a chunk: the most work that a crash can lose")


class ClusterSettings(_Group):
    """Where chunks are made."""

    executor: Literal["ray", "in_process"] = Field("ray", description="in_process: no Ray, one chunk after another")
    address: str | None = Field(None, description="host:port of an existing Ray cluster; none starts a local one")
    num_cpus: int | None = Field(None, ge=1, description="CPUs that a local Ray may use; none means all")
    object_store_mb: int = Field(
        128, ge=80, description="local Ray's object store; chunks travel as files, so it stays small"
    )
    task_retries: int = Field(3, ge=0, description="times a chunk is redone when its worker dies")
    connect_timeout_s: float = Field(5, gt=0, description="for the TCP probe of `address` before Ray is asked")


class PathSettings(_Group):
    """Folders; relative ones start at the working folder."""

    inputs: Path = Field(Path("data/inputs"), description="the watched folder")
    artifacts: Path = Field(Path("data/artifacts"), description="what the stages make")
    dagster_home: Path = Field(Path("data/dagster"), description="Dagster's instance: run history, event logs")
    face_model: Path | None = Field(None, description="another copy of face_landmarker.task than the packaged one")


class ServerSettings(_Group):
    """`s2v up`; both servers listen on loopback only."""

    dagster_port: int = Field(3000, ge=1, le=65535, description="of the Dagster UI")
    file_port: int = Field(3111, ge=1, le=65535, description="of the read-only file server (posters, previews, videos)")


class Settings(_Group):
    """All settings, resolved."""

    inputs: InputSettings = InputSettings()
    video: VideoSettings = VideoSettings()
    generation: GenerationSettings = GenerationSettings()
    cluster: ClusterSettings = ClusterSettings()
    paths: PathSettings = PathSettings()
    server: ServerSettings = ServerSettings()


PRESETS: Mapping[Quality, Layer] = {
    # A preview: a quarter of the pixels, so about a third of the time.
    "low": {"video": {"width_px": 256, "height_px": 256, "crf": 23, "x264_preset": "veryfast"}},
    "medium": {"video": {"width_px": 512, "height_px": 512, "crf": 18, "x264_preset": "veryfast"}},
    "high": {"video": {"width_px": 720, "height_px": 720, "crf": 17, "x264_preset": "fast"}},
    "ultra": {"video": {"width_px": 1080, "height_px": 1080, "crf": 16, "x264_preset": "medium"}},
}

PER_INPUT_GROUPS = ("video", "generation")
"""Groups that an input's own settings.toml may set; the others belong to the machine, not to an input."""


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

    The quality that wins over all layers chooses the preset, which lies between the defaults and the layers.

    Raises:
        SettingsError: an unknown name or a value that its rule refuses, with the layer that it came from.
    """
    quality = Settings().generation.quality
    for layer in layers.values():
        generation = layer.get("generation")
        if isinstance(generation, Mapping):
            quality = generation.get("quality", quality)
    # Anything that is no preset's name, whatever its type, is left for the validation below to refuse.
    preset = {f"preset {name}": layer for name, layer in PRESETS.items() if name == quality}

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


def read_settings_file(path: Path, *, groups: tuple[str, ...] | None = None) -> Layer:
    """A layer from a TOML file; with `groups`, only those may be set.

    Raises:
        SettingsError: not readable, too large, not TOML, or a group that this file may not set.
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
    if groups is not None:
        refused = sorted(set(layer) - set(groups))
        if refused:
            raise SettingsError(
                f"{path.name} of an input may set only {', '.join(groups)}",
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
