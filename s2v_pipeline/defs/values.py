"""Asset values as files: tables as Parquet, frozen manifests as JSON that names its type.

Belongs here: writing and reading one value, and the version that says whether it changed.
Does not belong here: where the file lies (io_manager, artifacts).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeAlias

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.video.manifest import FinalVideo

TABLE_PART = "table.parquet"
MANIFEST_PART = "manifest.json"

Manifest: TypeAlias = SpeechInput | ChunkManifest | FinalVideo
AssetValue: TypeAlias = pd.DataFrame | Manifest

_MANIFEST_TYPES = {kind.__name__: kind for kind in (SpeechInput, ChunkManifest, FinalVideo)}


def value_part(value: AssetValue) -> str:
    """Name of the file that holds a value of this kind."""
    return TABLE_PART if isinstance(value, pd.DataFrame) else MANIFEST_PART


def write_value(path: Path, value: AssetValue) -> None:
    """Write a value; not atomic by itself. A table's `attrs` go with it."""
    if isinstance(value, pd.DataFrame):
        value.to_parquet(path, index=False)
    else:
        adapter: TypeAdapter[Manifest] = TypeAdapter(type(value))
        document = {"type": type(value).__name__, "value": adapter.dump_python(value, mode="json")}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def read_value(path: Path) -> AssetValue:
    """Read what `write_value` wrote.

    Raises:
        ArtifactError: a manifest of an unknown type or with other fields than this version writes.
    """
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        adapter: TypeAdapter[Manifest] = TypeAdapter(_MANIFEST_TYPES[document["type"]])
        return adapter.validate_python(document["value"])
    except (KeyError, ValueError, ValidationError) as error:
        raise ArtifactError(
            f"{path.parent.name}/{path.name} must be a manifest of this version",
            got=f"{type(error).__name__}: {error}",
            cure="Materialise this partition again.",
        ) from error


def value_version(value: AssetValue) -> str:
    """Hash of what downstream depends on; two runs that made the same thing give the same version."""
    if isinstance(value, pd.DataFrame):
        digest = hashlib.sha256(json.dumps(value.attrs, sort_keys=True, default=str).encode())
        digest.update(",".join(map(str, value.columns)).encode())
        digest.update(pd.util.hash_pandas_object(value, index=False).to_numpy().tobytes())
        return digest.hexdigest()[:16]
    if isinstance(value, ChunkManifest):
        return content_key({"keys": [chunk.key for chunk in value.chunks]})[:16]
    if isinstance(value, FinalVideo):
        return value.sha256[:16]
    adapter: TypeAdapter[SpeechInput] = TypeAdapter(SpeechInput)
    return content_key(adapter.dump_python(value, mode="json"))[:16]
