"""One input as the user gave it: which files, which words, which settings of its own.

Belongs here: the value, its quick fingerprint, its JSON form, the limits on texts, which suffixes count as what.
Does not belong here: finding inputs (scan, manifest), remembering them (catalogue), opening media (image, speech).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.errors import ManifestError
from s2v_pipeline.inputs.slug import input_slug, is_slug
from s2v_pipeline.setting_groups import PER_INPUT, Layer, not_for_inputs
from s2v_pipeline.settings import MAX_SETTINGS_BYTES, flatten, resolve_settings

Origin = Literal["folder", "pair", "manifest", "command"]
# Where an input's own settings come from, as the user knows it; a pair has none.
_SETTINGS_FROM = {"folder": "settings.toml", "pair": "nowhere", "manifest": "the column settings", "command": "flags"}

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
_SOUND_SUFFIXES = {
    ".wav",
    ".mp3",
    ".m4a",
    ".aac",
    ".flac",
    ".ogg",
    ".opus",
    ".wma",
    ".aiff",
    ".aif",
    ".mka",
    ".amr",
    ".caf",
}
_VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"}
AUDIO_SUFFIXES = frozenset(_SOUND_SUFFIXES | _VIDEO_SUFFIXES)
"""Sound alone, or a video whose sound track is used."""

MAX_PROMPT_BYTES = 64 << 10
"""Text encoders read a few hundred words; more is a file given by mistake."""
MAX_TRANSCRIPT_BYTES = 8 << 20
"""Four hours of fast speech are about 300 kB; the rest is room for markup and other scripts."""
_MAX_SETTINGS_DEPTH = 4  # group and name are two; beyond this a file is hostile, and recursion over it must end


@dataclass(frozen=True)
class InputSource:
    """What the user gave for one input.

    Attributes:
        input_id: partition key, made by `input_slug`.
        name: what the user calls it.
        image: portrait, absolute path.
        audio: speech, absolute path.
        prompt: free words; may be empty.
        transcript: what is said, or None where it is not known.
        settings: nested settings of this input alone; only what `PER_INPUT` names.
        origin: how it was given.

    Raises:
        ManifestError: an id that is no slug, a relative path, a text that is too long, settings that are not plain.
        SettingsError: an unknown setting or a value that its rule refuses.
    """

    input_id: str
    name: str
    image: Path
    audio: Path
    prompt: str = ""
    transcript: str | None = None
    settings: Layer = field(default_factory=dict, hash=False)
    origin: Origin = "command"

    def __post_init__(self) -> None:
        if not is_slug(self.input_id):
            raise ManifestError(
                "an input's id must be 1 to 60 characters of a-z, 0-9 and '-'",
                got=repr(self.input_id),
                cure="Make it with `input_slug`.",
            )
        if self.origin not in get_args(Origin):
            raise ManifestError(
                f"an input's origin must be one of {', '.join(get_args(Origin))}",
                got=repr(self.origin),
                cure="Give one of them.",
            )
        for path in (self.image, self.audio):
            if not path.is_absolute():
                raise ManifestError(
                    "an input's files must be named by absolute paths", got=str(path), cure="Resolve the path first."
                )
        _check_length("the prompt", self.prompt, MAX_PROMPT_BYTES)
        _check_length("the transcript", self.transcript or "", MAX_TRANSCRIPT_BYTES)
        if self.settings:
            check_settings(self.settings, _SETTINGS_FROM[self.origin])

    def fingerprint(self) -> str:
        """Hash of the files' names, sizes and modification times, and of the texts and settings; reads no content.

        The folder is not part of it, so that a project that was moved does not make its videos again.

        Raises:
            ManifestError: a file is gone or may not be looked at.
        """
        return content_key(
            {
                "input_id": self.input_id,
                "name": self.name,
                "texts": [self.prompt, self.transcript],
                "settings": dict(self.settings),
                "files": [_file_state(self.image), _file_state(self.audio)],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` turns them back."""
        return {
            "input_id": self.input_id,
            "name": self.name,
            "image": str(self.image),
            "audio": str(self.audio),
            "prompt": self.prompt,
            "transcript": self.transcript,
            "settings": dict(self.settings),
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> InputSource:
        """What `to_json` gave.

        Raises:
            ManifestError: other names or types than `to_json` writes.
            SettingsError: settings that were valid when they were written and are not any more.
        """
        texts = ("input_id", "name", "image", "audio", "prompt", "origin")
        fits = (
            set(values) == {*texts, "transcript", "settings"}
            and all(isinstance(values[name], str) for name in texts)
            and isinstance(values["transcript"], str | None)
            and isinstance(values["settings"], Mapping)
        )
        if not fits:
            raise ManifestError(
                "an input's record must hold the names and types that this version writes",
                got=f"the names {sorted(values)}",
                cure="Add the input again.",
            )
        return cls(**{**values, "image": Path(values["image"]), "audio": Path(values["audio"])})


def given_source(
    name: str,
    *,
    image: Path,
    audio: Path,
    prompt: str = "",
    transcript: str | None = None,
    settings: Layer | None = None,
) -> InputSource:
    """An input that was named by a command or a call, not found in a folder.

    Raises:
        ManifestError: a file is missing, or see `InputSource`.
        SettingsError: see `InputSource`.
    """
    for path in (image, audio):
        if not path.is_file():
            raise ManifestError("an input's files must exist", got=f"no file {path}", cure="Check the path.")
    return InputSource(
        input_id=input_slug(name),
        name=name,
        image=image.absolute(),
        audio=audio.absolute(),
        prompt=prompt.strip(),
        transcript=(transcript or "").strip() or None,
        settings=settings or {},
        origin="command",
    )


def read_text(path: Path, *, max_bytes: int) -> str:
    """Text of a UTF-8 file, with or without a byte order mark, without white space at its ends.

    Raises:
        ManifestError: too large, not UTF-8, or not readable.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ManifestError(
            f"{path.name or path} must be readable", got=str(error), cure="Check its name and permissions."
        ) from error
    if len(content) > max_bytes:
        raise ManifestError(
            f"{path.name} must be at most {max_bytes >> 10} KiB",
            got=f"{path.stat().st_size} bytes",
            cure="Shorten the text.",
        )
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path.name} must be text in UTF-8",
            got=f"byte 0x{content[error.start]:02x} at position {error.start}",
            cure="Save it again with the encoding UTF-8.",
        ) from error


def read_settings(path: Path) -> Layer:
    """An input's own settings from a TOML file.

    Raises:
        ManifestError, SettingsError: too large, not readable, not TOML, or see `check_settings`.
    """
    return parse_settings(read_text(path, max_bytes=MAX_SETTINGS_BYTES), path.name)


def parse_settings(text: str, where: str) -> Layer:
    """An input's own settings from TOML, or from JSON where the text starts with a brace.

    Raises:
        ManifestError, SettingsError: neither TOML nor JSON, or see `check_settings`.
    """
    try:
        layer: Layer = json.loads(text) if text.startswith("{") else tomllib.loads(text)
    # Deep nesting exhausts the stack of either parser; numbers of thousands of digits are a ValueError.
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{where} must be TOML, or JSON in braces", got=str(error), cure="Compare it with docs/settings.md."
        ) from error
    check_settings(layer, where)
    return layer


def check_settings(layer: Layer, where: str) -> None:
    """See that an input's own settings name only what an input may set, with values that the rules take.

    Raises:
        ManifestError: a setting that belongs to the machine, or a value that is not a plain scalar.
        SettingsError: an unknown name or a refused value.
    """
    refused = not_for_inputs(layer)
    if refused:
        raise ManifestError(
            f"settings of an input may set only {', '.join(PER_INPUT)}",
            got=", ".join(refused),
            cure="Move them to s2v.toml beside the project.",
        )
    if _depth(layer, _MAX_SETTINGS_DEPTH) > _MAX_SETTINGS_DEPTH:
        raise ManifestError(
            "settings of an input are groups of names with plain values",
            got=f"more than {_MAX_SETTINGS_DEPTH} levels",
            cure='Write them as {"video": {"fps": 25}}.',
        )
    for dotted, value in flatten(layer):
        if not isinstance(value, str | int | float):
            raise ManifestError(
                f"setting {dotted} of an input must be a text, a number, true or false",
                got=repr(value),
                cure="`s2v config show` lists every setting with its present value.",
            )
    resolve_settings({where: layer})


def _depth(value: object, limit: int) -> int:
    if not isinstance(value, Mapping) or limit < 0:
        return 0
    return 1 + max((_depth(inner, limit - 1) for inner in value.values()), default=0)


def _check_length(what: str, text: str, max_bytes: int) -> None:
    # Four bytes are the most that a character takes in UTF-8: short texts are accepted without encoding them.
    if len(text) * 4 > max_bytes and len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise ManifestError(
            f"{what} must be at most {max_bytes >> 10} KiB",
            got=f"{len(text)} characters",
            cure="Shorten the text.",
        )


def _file_state(path: Path) -> list[str | int]:
    try:
        state = path.stat()
    except OSError as error:
        raise ManifestError(
            "an input's files must stay where they were found",
            got=str(error),
            cure="Put the file back, or remove the input and add it again.",
        ) from error
    return [path.name, state.st_size, state.st_mtime_ns]
