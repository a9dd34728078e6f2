"""The command line's `s2v weights fetch | verify | convert`.

Belongs here: flags, progress bars, tables.
Does not belong here: the work (generation.wan_s2v: fetch, weights, convert).
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer
from tqdm import tqdm

from s2v_pipeline.errors import WeightsError

weights_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The weights of Wan2.2-S2V-14B: fetch, verify, convert.",
)
_PACKAGE = "s2v_pipeline.generation.wan_s2v"
_Folder = Annotated[Path, typer.Argument(help="The checkpoint's folder.")]


class Layout(StrEnum):
    """How a checkpoint's files lie: as its makers publish them, or as diffusers does."""

    OFFICIAL = "official"
    DIFFUSERS = "diffusers"


class StoredType(StrEnum):
    """What the transformer's weights may be cast to."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


@weights_app.command()
def fetch(
    folder: _Folder,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository; a commit pins it.")] = "main",
) -> None:
    """Fetch the official weights from the Hugging Face hub; the same command goes on where it was interrupted."""
    found = _load("fetch").fetch_weights(folder, revision=revision)
    typer.echo(f"fetched into {found.folder}; look at every file with: s2v weights verify {found.folder} --hashes")


@weights_app.command()
def verify(
    folder: _Folder,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Read every byte and compare with the known hashes.")
    ] = False,
    write_hashes: Annotated[bool, typer.Option("--write-hashes", help="Write SHA256SUMS into the folder.")] = False,
) -> None:
    """Hold every tensor's name, shape and type against the model; nothing is written unless asked for."""
    weights = _load("weights")
    parts = weights.verify_weights(folder)
    typer.echo(f"{'part':16} {'tensors':>8} {'GB':>9}  {'where':34} what")
    for each in parts:
        typer.echo(f"{each.part:16} {each.n_tensors:8} {each.n_bytes / 1e9:9.3f}  {each.where:34} {each.detail}")
    total_bytes = sum(each.n_bytes for each in parts)
    typer.echo(f"{'all':16} {sum(each.n_tensors for each in parts):8} {total_bytes / 1e9:9.3f}")
    if not (hashes or write_hashes):
        return
    with _bar("hashing") as show:
        found = weights.hash_weights(folder, on_progress=show)
    said = {"list": "as in SHA256SUMS", "hub": "as the hub says", None: "nothing to compare with"}
    for each in found:
        typer.echo(f"{each.sha256}  {each.file}  ({said[each.known_from]})")
    if write_hashes:
        typer.echo(f"written: {weights.write_hashes(folder, found)}")


@weights_app.command()
def convert(
    folder: _Folder,
    out: Annotated[Path, typer.Argument(help="The new folder; must not exist.")],
    to: Annotated[Layout, typer.Option(help="Layout of the new folder.")],
    dtype: Annotated[StoredType | None, typer.Option(help="Cast the transformer; left out: as stored.")] = None,
) -> None:
    """Write the checkpoint in the other layout. Not needed for a run: both layouts are read as they are."""
    module = _load("convert")
    cast = module.CASTS[dtype.value] if dtype is not None else None
    with _bar("") as show:
        found = module.convert_checkpoint(
            folder, out, to=to.value, dtype=cast, on_progress=lambda part, n_done, n_total: show(n_done, n_total, part)
        )
    typer.echo(f"written: {found.folder}, {found.layout} layout")


def _load(name: str) -> ModuleType:
    """A module of the package that torch belongs to, loaded when its command runs.

    Raises:
        WeightsError: the extra that brings torch is not installed.
    """
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("s2v_pipeline"):
            raise
        cure = "Install the extra: pip install 's2v_pipeline[wan]'"
        raise WeightsError("`s2v weights` needs the extra `wan`", got=f"no module {error.name}", cure=cure) from error


class _Shown:
    """One bar at a time; a new part gets a new one."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, n_done: int, n_total: int, part: str = "") -> None:
        title = part or self._title
        if self._bar is None or title != self._title:
            self.close()
            self._title = title
            self._bar = tqdm(total=n_total, desc=f"{title:14}", unit="B", unit_scale=True)
        self._bar.update(n_done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _bar(title: str) -> Generator[_Shown, None, None]:
    """A bar on standard error while the block runs."""
    shown = _Shown(title)
    try:
        yield shown
    finally:
        shown.close()
