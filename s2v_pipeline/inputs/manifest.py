"""Inputs listed in a table: a CSV or Parquet file with one row an input.

Belongs here: reading such a table into sources, and what is wrong with single rows.
Does not belong here: the watched folder (scan), opening media (image, speech).

Columns: id, image, audio, and as they are needed prompt, transcript, settings (TOML or JSON text). Paths are absolute,
or start at the manifest's folder and stay in it. An empty cell counts as absent.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from s2v_pipeline.errors import InputError, ManifestError, S2VError, SettingsError
from s2v_pipeline.inputs.slug import input_slug
from s2v_pipeline.inputs.source import InputSource, parse_settings
from s2v_pipeline.settings import MAX_SETTINGS_BYTES

REQUIRED_COLUMNS = ("id", "image", "audio")
OPTIONAL_COLUMNS = ("prompt", "transcript", "settings")

_LONGEST_TEXT_SAID = 200  # characters of a cell in a message
MAX_MANIFEST_BYTES = 256 << 20
"""A million rows with a sentence each; pandas needs several times as much memory."""
MAX_ROWS = 1_000_000
"""Far above what one Dagster instance holds as partitions."""


@dataclass(frozen=True)
class RefusedRow:
    """A row that is no input; rows are counted from 1 without the header."""

    row: int
    id: str
    error: S2VError


@dataclass(frozen=True)
class Manifest:
    """All rows of a manifest, each once, in their order."""

    sources: tuple[InputSource, ...]
    refused: tuple[RefusedRow, ...]


def read_manifest(path: Path) -> Manifest:
    """Read a `.csv` or `.parquet` manifest; what is wrong with one row is reported and harms no other.

    Raises:
        ManifestError: the file is missing, too large, not such a table, or has other columns.
    """
    table = _table(path)
    _check_columns(path, [str(column) for column in table.columns])
    folder = path.parent.resolve()
    accepted: list[tuple[int, InputSource]] = []
    refused: list[RefusedRow] = []
    for row, values in enumerate(table.to_dict("records"), start=1):
        cells = {str(column): text for column, value in values.items() if (text := _cell(value))}
        try:
            accepted.append((row, _source(cells, folder)))
        except (InputError, SettingsError) as error:
            refused.append(RefusedRow(row, cells.get("id", ""), error))
    sources, repeated = _without_repeats(accepted)
    return Manifest(tuple(sources), tuple(sorted([*refused, *repeated], key=lambda each: each.row)))


def _table(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ManifestError(
            "a manifest must be a .csv or a .parquet file", got=path.name or str(path), cure="Save it as one."
        )
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_MANIFEST_BYTES:
            raise ManifestError(
                f"a manifest must be at most {MAX_MANIFEST_BYTES >> 20} MiB",
                got=f"{size_bytes} bytes",
                cure="Split it.",
            )
        with path.open("rb") as file:
            table = _read_csv(file) if kind == ".csv" else _read_parquet(file)
    except OSError as error:
        if error.errno is None:  # pyarrow's name for a damaged file
            raise _no_table(path, error) from error
        raise ManifestError(
            f"the manifest {path.name} must be readable", got=str(error), cure="Check its path and permissions."
        ) from error
    except pd.errors.ParserWarning as error:
        raise ManifestError(
            f"each row of {path.name} must have as many cells as there are columns",
            got="a row with more",
            cure="Put texts with commas in quotes.",
        ) from error
    # pandas' parser errors are ValueErrors, and so is a wrong encoding.
    except (ValueError, pa.ArrowException) as error:
        raise _no_table(path, error) from error
    if len(table) > MAX_ROWS:
        raise ManifestError(f"a manifest must have at most {MAX_ROWS} rows", got=str(len(table)), cure="Split it.")
    return table


def _no_table(path: Path, error: Exception) -> ManifestError:
    return ManifestError(
        f"{path.name} must be a table, as {'CSV in UTF-8' if path.suffix.lower() == '.csv' else 'Parquet'}",
        got=" ".join(str(error).split()).rstrip("."),
        cure="Save it again from a table program.",
    )


def _read_csv(file: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        # pandas only warns where it drops cells, as of a prompt with a comma and no quotes.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Everything stays text: an id 007 keeps its zeros, and a prompt "None" or "NA" is a word.
        return pd.read_csv(
            file,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            nrows=MAX_ROWS + 1,
            low_memory=False,
        )


def _read_parquet(file: Any) -> pd.DataFrame:
    parquet = pq.ParquetFile(file)
    groups = (parquet.metadata.row_group(index) for index in range(parquet.metadata.num_row_groups))
    unpacked_bytes = sum(group.total_byte_size for group in groups)
    if parquet.metadata.num_rows > MAX_ROWS or unpacked_bytes > MAX_MANIFEST_BYTES:
        raise ManifestError(
            f"a manifest must have at most {MAX_ROWS} rows and {MAX_MANIFEST_BYTES >> 20} MiB unpacked",
            got=f"{parquet.metadata.num_rows} rows, {unpacked_bytes} bytes",
            cure="Split it.",
        )
    _check_columns(Path("the manifest"), parquet.schema_arrow.names)
    table: pd.DataFrame = parquet.read(use_pandas_metadata=False).to_pandas(ignore_metadata=True)
    return table


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    unknown = [column for column in columns if column not in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)]
    if missing or unknown or len(set(columns)) < len(columns):
        raise ManifestError(
            f"{path.name} must have the columns {', '.join(REQUIRED_COLUMNS)} and may have "
            f"{', '.join(OPTIONAL_COLUMNS)}",
            got=_short(", ".join(columns)) or "no columns",
            cure="Rename or remove the others: a misspelt column would be ignored in silence.",
        )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT_SAID else f"{text[:_LONGEST_TEXT_SAID]}..."


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    return str(value).strip()


def _source(cells: Mapping[str, str], folder: Path) -> InputSource:
    empty = [column for column in REQUIRED_COLUMNS if column not in cells]
    if empty:
        raise ManifestError(
            f"a row must have {', '.join(REQUIRED_COLUMNS)}", got=f"nothing in {', '.join(empty)}", cure="Fill it in."
        )
    settings = cells.get("settings", "")
    if len(settings) > MAX_SETTINGS_BYTES:
        raise ManifestError(
            f"settings of a row must be at most {MAX_SETTINGS_BYTES >> 10} KiB",
            got=f"{len(settings)} characters",
            cure="Keep only what differs from the defaults.",
        )
    return InputSource(
        input_id=input_slug(cells["id"]),
        name=cells["id"],
        image=_file(cells["image"], folder),
        audio=_file(cells["audio"], folder),
        prompt=cells.get("prompt", ""),
        transcript=cells.get("transcript"),
        settings=parse_settings(settings, "the column settings") if settings else {},
        origin="manifest",
    )


def _file(text: str, folder: Path) -> Path:
    path = Path(text)
    if not path.is_absolute():
        # Links inside a dataset may lead where they like, as they do in caches of datasets; only the text is judged.
        path = Path(os.path.normpath(folder / path))
        if folder not in path.parents:
            raise ManifestError(
                "a relative path must stay inside the manifest's folder",
                got=_short(text),
                cure="Move the file there, or give its absolute path.",
            )
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # too long, or a zero byte in it
        exists = False
    if not exists:
        raise ManifestError("the files of a row must exist", got=f"no file {_short(text)}", cure="Check the path.")
    return path


def _without_repeats(accepted: list[tuple[int, InputSource]]) -> tuple[list[InputSource], list[RefusedRow]]:
    rows: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, source in accepted:
        rows[source.input_id].append(row)
    sources = [source for _, source in accepted if len(rows[source.input_id]) == 1]
    refused = [
        RefusedRow(
            row,
            source.name,
            ManifestError(
                "each row must have an id of its own",
                got=f"{source.name!r} in rows {', '.join(map(str, rows[source.input_id]))}",
                cure="Rename all but one of them.",
            ),
        )
        for row, source in accepted
        if len(rows[source.input_id]) > 1
    ]
    return sources, refused
