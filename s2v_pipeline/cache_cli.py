"""The command line's `s2v cache`: what the chunk cache holds, making room, finding what is damaged.

Belongs here: flags, what is printed. Does not belong here: the cache (cache), which files nobody needs
(defs.unused_chunks).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.settings import load_settings

if TYPE_CHECKING:
    from s2v_pipeline.cache.chunk_cache import ChunkCache

EXIT_DAMAGED = 1
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES_PER_GB = 1_000_000_000

cache_app = typer.Typer(no_args_is_help=True, help="The chunk cache (cache.url): what it holds, making room, damage.")


@cache_app.command()
def info() -> None:
    """Say how many chunks it holds, how large it is, and how often they were used."""
    from s2v_pipeline.cache.objects import shown_url
    from s2v_pipeline.cache.upkeep import info_of

    cache = _cache()
    found = info_of(cache)
    limit = f"of {cache.max_bytes / _BYTES_PER_GB:g} GB" if cache.max_bytes else "without a limit"
    typer.echo(f"cache    {shown_url(cache.url)}")
    for kind, n_entries in found.n_entries.items():
        typer.echo(f"{kind:16} {n_entries} entries")
    typer.echo(f"size     {found.size_bytes:,} bytes {limit}")
    typer.echo(f"hits     {found.n_hits} of the entries that are there")
    if found.n_entries:
        typer.echo(f"oldest   last read {found.oldest_read_s / _SECONDS['d']:.1f} days ago")


@cache_app.command()
def prune(
    max_gb: Annotated[float | None, typer.Option(min=0, help="Size to keep to; none means cache.max_gb.")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Also what was not read for so long: 90m, 12h, 30d, 8w.")
    ] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Chunk files of earlier settings in the artifacts, not the cache.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --artifacts: delete them; without it they are listed.")
    ] = False,
) -> None:
    """Remove the least recently read chunks until the cache fits; it is done after new chunks by itself, too."""
    if artifacts:
        if max_gb is not None or older_than is not None:
            raise typer.BadParameter("--artifacts goes with --yes alone")
        _prune_artifacts(delete=yes)
        return
    from s2v_pipeline.cache.upkeep import prune as prune_cache

    max_bytes = None if max_gb is None else round(max_gb * _BYTES_PER_GB)
    pruned = prune_cache(_cache(), max_bytes=max_bytes, older_than_s=_seconds(older_than))
    typer.echo(
        f"removed {pruned.n_removed} entries, {pruned.removed_bytes:,} bytes; {pruned.left_bytes:,} bytes are left"
    )


@cache_app.command()
def verify() -> None:
    """Read everything and compare it with its hash; what is damaged is removed. Exit code 1 when anything was."""
    from s2v_pipeline.cache.upkeep import verify as verify_cache

    n_entries = n_damaged = 0
    for kind, key, fault in verify_cache(_cache()):
        n_entries += 1
        if fault:
            n_damaged += 1
            typer.echo(f"damaged and removed: {kind} {key}: {fault}")
    typer.echo(f"{n_entries} entries, {n_damaged} damaged")
    if n_damaged:
        raise typer.Exit(EXIT_DAMAGED)


def _prune_artifacts(*, delete: bool) -> None:
    from s2v_pipeline.defs.launch import Project
    from s2v_pipeline.defs.unused_chunks import remove_unused, unused_chunks

    project = Project(Path.cwd())
    store = project.pipeline.store()
    with project.instance() as instance:
        found = unused_chunks(store, instance)
        for each in found.files:
            typer.echo(
                f"{'deleted' if delete else 'unused'} {each.asset}/{each.input_id}/{each.part} {each.size_bytes:,}"
            )
        for input_id, reason in found.left_alone.items():
            typer.echo(f"left alone {input_id}: {reason}")
        if delete:
            remove_unused(store, found.files)
    total = f"{len(found.files)} files, {sum(each.size_bytes for each in found.files):,} bytes"
    typer.echo(f"deleted {total}" if delete else f"{total}; --yes deletes them")


def _cache() -> ChunkCache:
    from s2v_pipeline.cache.chunk_cache import cache_of

    settings = load_settings(project_dir=Path.cwd(), environment=os.environ).settings.cache
    cache = cache_of(settings, Path.cwd())
    if cache is None:
        raise SettingsError(
            "setting cache.url must name the chunk cache",
            got="none",
            cure="Set it in s2v.toml, [cache] url = 'data/cache', or as S2V_CACHE__URL.",
        )
    return cache


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if match is None:
        raise typer.BadParameter(f"--older-than takes a number and m, h, d or w, such as 30d; got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]
