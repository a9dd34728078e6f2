"""What stands for a checkpoint's files in a chunk's key.

Belongs here: hashes that are quick enough to be taken in every run.
Does not belong here: hashes of whole checkpoints (weights), checking files (shards).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import Checkpoint

_SAMPLE_BYTES = 1 << 16
_SAMPLES = 64  # spread over a file: other weights differ nearly everywhere, and 49 GB take minutes to read
_READ_BYTES = 1 << 22


def weights_fingerprint(checkpoint: Checkpoint) -> str:
    """Hash of the names and sizes of a checkpoint's files and of samples of their bytes.

    Raises:
        WeightsError: a file cannot be read.
    """
    paths = [checkpoint.transformer_config, *checkpoint.shards]
    for part in (checkpoint.text_encoder, checkpoint.vae, checkpoint.tokenizer, checkpoint.speech_encoder):
        paths += sorted(path for path in part.iterdir() if path.is_file()) if part.is_dir() else [part]
    named = sorted({path.relative_to(checkpoint.folder).as_posix(): path for path in paths}.items())
    return content_key({name: _sampled(path) for name, path in named})


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a whole file.

    Raises:
        WeightsError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _sampled(path: Path) -> list[object]:
    digest = hashlib.sha256()
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            starts = {n_bytes * index // _SAMPLES for index in range(_SAMPLES)} | {max(0, n_bytes - _SAMPLE_BYTES)}
            for start in sorted(starts):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    return [n_bytes, digest.hexdigest()]


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"{path} must be readable", got=str(error), cure="Check wan.weights and wan.loras.")
