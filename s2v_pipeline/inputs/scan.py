"""What lies in the watched folder: inputs that are ready, inputs that are not yet, and what is wrong with the others.

Belongs here: pairing names, telling a finished copy from a running one, refusing links that lead out.
Does not belong here: opening media (image, speech), remembering what was seen (catalogue), starting work (defs).

An input is a folder with `portrait.*` and `speech.*`, or a pair `NAME.png` + `NAME.wav` that lies in the watched folder
itself. Every folder is listed once and every file looked at once; texts are the only content that is read.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.errors import InputError, ManifestError, S2VError, SettingsError
from s2v_pipeline.inputs.slug import input_slug
from s2v_pipeline.inputs.source import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_PROMPT_BYTES,
    MAX_TRANSCRIPT_BYTES,
    InputSource,
    read_settings,
    read_text,
)

PORTRAIT_STEM = "portrait"
SPEECH_STEM = "speech"
PROMPT_FILE = "prompt.txt"
TRANSCRIPT_FILE = "transcript.txt"
SETTINGS_FILE = "settings.toml"
_TEXT_FILES = (PROMPT_FILE, TRANSCRIPT_FILE, SETTINGS_FILE)
_PAIR_TEXT_SUFFIX = ".txt"
_UNFINISHED_SUFFIXES = (".part", ".crdownload", ".tmp", "~")
"""Endings under which browsers, copy tools and editors keep what is not finished."""


@dataclass(frozen=True)
class Waiting:
    """An input that is not complete yet, and what it waits for."""

    name: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """An input that cannot be used as it lies there, and why."""

    name: str
    error: S2VError


@dataclass(frozen=True)
class Scan:
    """All inputs of a watched folder, each once, sorted by name."""

    ready: tuple[InputSource, ...]
    waiting: tuple[Waiting, ...]
    refused: tuple[Refused, ...]


def scan_inputs(folder: Path, *, settle_s: float, now_s: float) -> Scan:
    """Look through a watched folder.

    A file or an input's folder counts as copied once the newest of its modification and change times is `settle_s`
    before `now_s` (seconds since 1970). What is wrong with one input is reported in `refused` and harms no other.

    Raises:
        ManifestError: the watched folder itself cannot be listed.
    """
    try:
        root = folder.resolve(strict=True)
        entries = _listing(root)
    except OSError as error:
        raise ManifestError(
            "the watched folder must exist and be readable",
            got=str(error),
            cure=f"Create {folder}, or set paths.inputs to another folder.",
        ) from error
    look = _Look(root, settle_s, now_s)
    found: list[tuple[str, InputSource]] = []
    waiting: list[Waiting] = []
    refused: list[Refused] = []
    for name, parts in _candidates(entries):
        try:
            _check_encoding(name)
            if isinstance(parts, os.DirEntry):
                found.append((f"the folder {name!r}", look.folder_input(name, parts)))
            else:
                files = " + ".join(sorted(repr(entry.name) for entry in parts))
                found.append((f"the files {files}", look.pair_input(name, parts)))
        except _NotYetError as reason:
            waiting.append(Waiting(name, str(reason)))
        except (InputError, SettingsError) as error:
            refused.append(Refused(_printable(name), error))
    ready, clashing = _without_clashes(found)
    refused.extend(clashing)
    return Scan(
        tuple(sorted(ready, key=lambda source: source.name)),
        tuple(sorted(waiting, key=lambda each: each.name)),
        tuple(sorted(refused, key=lambda each: each.name)),
    )


class _NotYetError(Exception):
    """The input is not complete; the text says what it waits for."""


@dataclass(frozen=True)
class _File:
    name: str
    path: Path  # where a link leads, so that what is opened later is what was checked
    size_bytes: int
    changed_s: float


@dataclass(frozen=True)
class _Look:
    """One look at the watched folder at one moment."""

    root: Path
    settle_s: float
    now_s: float

    def folder_input(self, name: str, entry: os.DirEntry[str]) -> InputSource:
        """The input that a folder holds."""
        path = self._inside(entry) if entry.is_symlink() else Path(entry.path)
        try:
            changed_s = self._changed_s(path.stat())
            entries = _listing(path)
        except FileNotFoundError as error:
            raise _NotYetError("the folder is gone") from error
        except OSError as error:
            raise ManifestError(
                f"the folder {name!r} must be readable", got=str(error), cure="Change its permissions, or remove it."
            ) from error
        portraits = [each for each in entries if _is(each, PORTRAIT_STEM, IMAGE_SUFFIXES)]
        recordings = [each for each in entries if _is(each, SPEECH_STEM, AUDIO_SUFFIXES)]
        image, audio = self._media(portraits, recordings, name, PORTRAIT_STEM, SPEECH_STEM, f"in the folder {name!r}")
        texts = {each.name: self._settled(self._file(each)) for each in entries if each.name in _TEXT_FILES}
        self._check_settled(f"the folder {name!r}", changed_s)
        prompt, transcript, settings = (texts.get(file) for file in _TEXT_FILES)
        return InputSource(
            input_id=input_slug(name),
            name=name,
            image=image.path,
            audio=audio.path,
            prompt=read_text(prompt.path, max_bytes=MAX_PROMPT_BYTES) if prompt else "",
            transcript=(read_text(transcript.path, max_bytes=MAX_TRANSCRIPT_BYTES) or None) if transcript else None,
            settings=read_settings(settings.path) if settings else {},
            origin="folder",
        )

    def pair_input(self, name: str, entries: Sequence[os.DirEntry[str]]) -> InputSource:
        """The input that files of one stem in the watched folder make."""
        portraits = [each for each in entries if _suffix(each.name) in IMAGE_SUFFIXES]
        recordings = [each for each in entries if _suffix(each.name) in AUDIO_SUFFIXES]
        beside = "beside " + ", ".join(sorted(each.name for each in entries))
        image, audio = self._media(portraits, recordings, name, name, name, beside)
        texts = [self._settled(self._file(each)) for each in entries if _suffix(each.name) == _PAIR_TEXT_SUFFIX]
        return InputSource(
            input_id=input_slug(name),
            name=name,
            image=image.path,
            audio=audio.path,
            transcript=(read_text(texts[0].path, max_bytes=MAX_TRANSCRIPT_BYTES) or None) if texts else None,
            origin="pair",
        )

    def _media(
        self,
        portraits: Sequence[os.DirEntry[str]],
        recordings: Sequence[os.DirEntry[str]],
        name: str,
        portrait_stem: str,
        speech_stem: str,
        where: str,
    ) -> tuple[_File, _File]:
        for what, several in (("portrait", portraits), ("recording", recordings)):
            if len(several) > 1:
                raise ManifestError(
                    f"the input {name!r} must have one {what}",
                    got=", ".join(sorted(each.name for each in several)),
                    cure="Keep one of them, or give each an input of its own.",
                )
        missing = []
        if not portraits:
            missing.append(f"a portrait named {portrait_stem}.png/.jpg/.webp/...")
        if not recordings:
            missing.append(f"a recording named {speech_stem}.wav/.mp3/.m4a/.mp4/...")
        present = [self._file(each) for each in (*portraits, *recordings)]
        if missing:
            raise _NotYetError(f"waiting for {' and '.join(missing)} {where}")
        for file in map(self._settled, present):
            if not file.size_bytes:
                raise ManifestError(f"{file.name} must not be empty", got="0 bytes", cure="Copy the file again.")
        image, audio = present
        return image, audio

    def _file(self, entry: os.DirEntry[str]) -> _File:
        try:
            path = self._inside(entry) if entry.is_symlink() else Path(entry.path)
            state = path.stat() if entry.is_symlink() else entry.stat(follow_symlinks=False)
        except FileNotFoundError as error:
            raise _NotYetError(f"{entry.name} is gone") from error
        except OSError as error:
            raise ManifestError(
                f"{entry.name} must be readable", got=str(error), cure="Change its permissions."
            ) from error
        if not stat.S_ISREG(state.st_mode):
            raise ManifestError(
                f"{entry.name} must be a file", got="a folder, a pipe or a device", cure="Put a file in its place."
            )
        return _File(entry.name, path, state.st_size, self._changed_s(state))

    def _settled(self, file: _File) -> _File:
        self._check_settled(file.name, file.changed_s)
        return file

    def _changed_s(self, state: os.stat_result) -> float:
        # The change time cannot be set back, as `cp -p` does with the modification time. A modification time in the
        # future comes from another machine's clock and would keep the file waiting for years.
        return state.st_ctime if state.st_mtime > self.now_s else max(state.st_mtime, state.st_ctime)

    def _check_settled(self, name: str, changed_s: float) -> None:
        age_s = self.now_s - changed_s
        if age_s < 0:
            raise _NotYetError(f"{name} was changed {-age_s:.1f} s in the future: the clocks of two machines differ")
        if age_s < self.settle_s:
            raise _NotYetError(f"{name} was changed {age_s:.1f} s ago and may still be being copied")

    def _inside(self, entry: os.DirEntry[str]) -> Path:
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
            raise ManifestError(
                f"the link {entry.name} must lead to a file", got=str(error), cure="Put the file itself there."
            ) from error
        if self.root not in target.parents:
            raise ManifestError(
                f"the link {entry.name} must stay inside the watched folder",
                got=f"a link to {target}",
                cure="Copy the file into the folder; links that lead out are not followed.",
            )
        return target


def _candidates(
    entries: Iterable[os.DirEntry[str]],
) -> Iterable[tuple[str, os.DirEntry[str] | list[os.DirEntry[str]]]]:
    """(name, folder) and (name, files of one stem) of the watched folder; a text alone is no candidate."""
    pairs: defaultdict[str, list[os.DirEntry[str]]] = defaultdict(list)
    for entry in entries:
        if _is_folder(entry):
            yield entry.name, entry
        elif (suffix := _suffix(entry.name)) in IMAGE_SUFFIXES or suffix in AUDIO_SUFFIXES:
            pairs[_stem(entry.name)].append(entry)
    for entry in entries:
        if _suffix(entry.name) == _PAIR_TEXT_SUFFIX and _stem(entry.name) in pairs:
            pairs[_stem(entry.name)].append(entry)
    yield from pairs.items()


def _without_clashes(found: Iterable[tuple[str, InputSource]]) -> tuple[list[InputSource], list[Refused]]:
    by_id: defaultdict[str, list[tuple[str, InputSource]]] = defaultdict(list)
    for where, source in found:
        by_id[source.input_id].append((where, source))
    ready = [group[0][1] for group in by_id.values() if len(group) == 1]
    refused = [
        Refused(
            source.name,
            ManifestError(
                f"each input must have a name of its own, and {input_id!r} is the id of several",
                got=" and ".join(where for where, _ in group),
                cure="Rename all but one of them.",
            ),
        )
        for input_id, group in by_id.items()
        if len(group) > 1
        for _, source in group
    ]
    return ready, refused


def _listing(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return [each for each in entries if each.name[0] != "." and not each.name.endswith(_UNFINISHED_SUFFIXES)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links; as a file it is refused with its reason if its name means anything
        return False


def _suffix(file_name: str) -> str:
    return os.path.splitext(file_name)[1].lower()  # noqa: PTH122  (a Path for each of 20,000 names takes longer than the scan)


def _stem(file_name: str) -> str:
    return os.path.splitext(file_name)[0]  # noqa: PTH122  (as above)


def _is(entry: os.DirEntry[str], stem: str, suffixes: frozenset[str]) -> bool:
    return _stem(entry.name).lower() == stem and _suffix(entry.name) in suffixes


def _check_encoding(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(
            "names of inputs must be UTF-8", got=_printable(name), cure="Rename the file or folder."
        ) from error


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
