"""What a request to the file server may reach: names, files and folders below a root.

Belongs here: reading names out of a URL, opening below the root, listings, content types.
Does not belong here: HTTP (fileserver), which files exist and what they mean (artifacts).

A URL is split first and decoded once, then each name must match one pattern: an encoded slash, dot-dot or NUL stays
inside a name and is refused. Names are opened one after another without following symbolic links, so that no link, not
even one made between a check and a use, leads out of the root.
"""

from __future__ import annotations

import html
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

URL_PREFIX = "/files/"
DEPTH_OF_FILE = 3  # asset, input, part

# As the artifact store's names, plus the length of a provenance record's suffix; no leading dot, so nothing hidden.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")

# Only types that a browser shows without running anything in them; all else is a download.
_CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".srt": "text/plain; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
}
_DOWNLOAD_TYPE = "application/octet-stream"

LISTING_HEADERS = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'"}
"""Of a listing: nothing in it may load or run anything."""

Pages = Mapping[str, Callable[[], tuple[str, bytes]]]
"""Path -> what makes its page: content type and bytes."""


def content_type(name: str) -> str:
    """Content type of a file by the end of its name."""
    return _CONTENT_TYPES.get(PurePosixPath(name).suffix.lower(), _DOWNLOAD_TYPE)


def requested_names(target: str) -> tuple[str, ...] | None:
    """Names below the root that a request's target asks for, () for the root; None where it asks for something else."""
    path = target.partition("?")[0].partition("#")[0]
    if path in ("/", URL_PREFIX, URL_PREFIX.rstrip("/")):
        return ()
    if not path.startswith(URL_PREFIX):
        return None
    segments = path.removeprefix(URL_PREFIX).split("/")
    if not segments[-1] and len(segments) <= DEPTH_OF_FILE:
        segments.pop()  # a folder may be asked for with a slash at its end
    names = tuple(unquote(segment, errors="replace") for segment in segments)
    return names if len(names) <= DEPTH_OF_FILE and all(_NAME.fullmatch(name) for name in names) else None


def open_file(root: Path, names: tuple[str, ...]) -> BinaryIO | None:
    """The regular file that lies there; None where there is none, or it is or lies behind a link."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer; it changes nothing for a regular file.
        descriptor = _open_below(root, names, last_flags=os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def listing_page(root: Path, names: tuple[str, ...]) -> bytes | None:
    """HTML page of a folder, with what may be asked for in it; None where there is no such folder."""
    holds_files = len(names) == DEPTH_OF_FILE - 1
    try:
        descriptor = _open_below(root, names, last_flags=os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                rows = sorted(_rows(entries, holds_files=holds_files))
        finally:
            os.close(descriptor)
    except OSError:
        return None
    here = URL_PREFIX + "".join(f"{name}/" for name in names)
    if names:
        rows.insert(0, ("../", ""))
    title = html.escape(here)
    lines = (f'<li><a href="{html.escape(here + name)}">{html.escape(name)}</a> {note}</li>\n' for name, note in rows)
    return (
        f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n'
        f"{''.join(lines)}</ul>\n"
    ).encode()


def _rows(entries: Iterable[os.DirEntry[str]], *, holds_files: bool) -> list[tuple[str, str]]:
    """(name, note) of what may be asked for; links are left out."""
    rows = []
    for entry in entries:
        if not _NAME.fullmatch(entry.name):
            continue
        if holds_files and entry.is_file(follow_symlinks=False):
            rows.append((entry.name, f"{entry.stat(follow_symlinks=False).st_size:,} bytes"))
        elif not holds_files and entry.is_dir(follow_symlinks=False):
            rows.append((f"{entry.name}/", ""))
    return rows


def _open_below(root: Path, names: tuple[str, ...], *, last_flags: int) -> int:
    """Descriptor of what lies below the root, opened step by step, no step through a symbolic link.

    Raises:
        OSError: it is not there, is behind a link, or may not be read.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for position, name in enumerate(names, start=1):
        flags = last_flags if position == len(names) else os.O_DIRECTORY
        parent = descriptor
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=parent)
        finally:
            os.close(parent)
    return descriptor
