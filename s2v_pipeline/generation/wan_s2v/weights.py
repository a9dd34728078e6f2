"""Whether a checkpoint on disk is whole: every part's tensors by name and shape, every file by its hash.

Belongs here: the checks of `s2v weights verify`. Does not belong here: fetching (fetch), the other layout (convert),
what is printed (weights_cli).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import (
    SPEECH_FILES,
    SPEECH_STATES,
    Checkpoint,
    TransformerConfig,
    find_checkpoint,
    read_json,
    read_transformer_config,
)
from s2v_pipeline.generation.wan_s2v.prompt_tokens import load_tokenizer
from s2v_pipeline.generation.wan_s2v.shards import check_shards, load_pickle, read_header
from s2v_pipeline.generation.wan_s2v.speech_encoder import load_speech_encoder
from s2v_pipeline.generation.wan_s2v.text_encoder import (
    load_diffusers_text_encoder,
    official_t5_to_transformers,
)
from s2v_pipeline.generation.wan_s2v.vae_names import check_diffusers_names, official_vae_to_diffusers

HASHES_FILE = "SHA256SUMS"
"""One line a file, as sha256sum writes it."""
_HUB_METADATA = (
    Path(".cache") / "huggingface" / "download"
)  # what huggingface_hub notes about each file that it fetched
_BLOCK_BYTES = 1 << 24
_MAX_LIST_BYTES = 1 << 20
_META = torch.device("meta")


@dataclass(frozen=True)
class PartReport:
    """One part of a checkpoint that passed its check.

    Attributes:
        part: what it is.
        where: file or folder, relative to the checkpoint.
        n_tensors: tensors in it; 0 for a tokenizer.
        n_bytes: of its files.
        detail: types, layers, whatever helps to recognise it.
    """

    part: str
    where: str
    n_tensors: int
    n_bytes: int
    detail: str


@dataclass(frozen=True)
class FileHash:
    """SHA-256 of one file and what it was compared with: a list in the folder, the hub's notes, or nothing."""

    file: str
    sha256: str
    known_from: Literal["list", "hub"] | None


def verify_weights(folder: Path) -> tuple[PartReport, ...]:
    """Hold every part of a checkpoint against what its model asks for: names, shapes and types of all tensors.

    The transformer, the VAE and the official text encoder are judged by their headers; the others are read.

    Raises:
        WeightsError: something is missing, damaged, or of another model.
    """
    checkpoint = find_checkpoint(folder)
    config = read_transformer_config(checkpoint.transformer_config)
    report = check_shards(checkpoint, config)
    types = ", ".join(f"{count} {dtype}" for dtype, count in report.dtypes.items())
    detail = f"{config.num_layers} layers, {config.dim} wide, {len(checkpoint.shards)} files, {types}"
    where = checkpoint.transformer_config.parent
    n_bytes = sum(report.file_bytes.values())
    transformer = PartReport("transformer", _within(folder, where), len(report.tensors), n_bytes, detail)
    text, speech = _text_encoder(checkpoint, config), _speech_encoder(checkpoint, config)
    return transformer, _vae(checkpoint), text, _tokenizer(checkpoint), speech


def _vae(checkpoint: Checkpoint) -> PartReport:
    if checkpoint.layout == "official":
        state = official_vae_to_diffusers(load_pickle(checkpoint.vae))
    else:
        stored = read_header(checkpoint.vae / "diffusion_pytorch_model.safetensors")
        state = {each.name: torch.empty(each.shape, device=_META) for each in stored}
        check_diffusers_names(state)
    detail = f"{next(iter(state.values())).shape[0]} channels in its first layer"
    return _part("VAE", checkpoint.folder, checkpoint.vae, len(state), detail)


def _text_encoder(checkpoint: Checkpoint, config: TransformerConfig) -> PartReport:
    if checkpoint.layout == "official":
        state = load_pickle(checkpoint.text_encoder)
        official_t5_to_transformers(state)
        embedding = state["token_embedding.weight"]
        width: object = embedding.shape[1]
        n_tensors, detail = len(state), str(embedding.dtype).removeprefix("torch.")
    else:
        files = sorted(checkpoint.text_encoder.glob("*.safetensors"))
        n_tensors, detail = sum(len(read_header(path)) for path in files), f"{len(files)} files"
        load_diffusers_text_encoder(
            checkpoint.text_encoder, checkpoint.tokenizer, dtype=torch.bfloat16, device=_META
        )  # read, held to its sizes, and let go tensor by tensor
        width = read_json(checkpoint.text_encoder / "config.json").get("d_model")
    _check_width(checkpoint.text_encoder, width, config.text_dim)
    return _part("text encoder", checkpoint.folder, checkpoint.text_encoder, n_tensors, detail)


def _tokenizer(checkpoint: Checkpoint) -> PartReport:
    n_tokens = load_tokenizer(checkpoint.tokenizer).get_vocab_size()
    return _part("tokenizer", checkpoint.folder, checkpoint.tokenizer, 0, f"{n_tokens} tokens")


def _check_width(where: Path, width: object, expected: int) -> None:
    if width != expected:
        rule = f"{where} must give the transformer vectors of {expected} values"
        cure = "Take all parts from one checkpoint: s2v weights fetch FOLDER"
        raise WeightsError(rule, got=str(width)[:40], cure=cure)


def _speech_encoder(checkpoint: Checkpoint, config: TransformerConfig) -> PartReport:
    folder = checkpoint.speech_encoder
    load_speech_encoder(folder, device=torch.device("cpu"))
    values = read_json(folder / "config.json")
    _check_width(folder, values.get("hidden_size"), config.audio_dim)
    if values.get("num_hidden_layers") != SPEECH_STATES - 1:
        rule = f"{folder} must have {SPEECH_STATES - 1} layers"
        cure = "Give wav2vec2-large-xlsr-53-english, as the checkpoint has it."
        raise WeightsError(rule, got=str(values.get("num_hidden_layers"))[:40], cure=cure)
    path = next(folder / name for name in SPEECH_FILES if (folder / name).is_file())
    n_tensors = len(read_header(path) if path.suffix == ".safetensors" else load_pickle(path))
    return _part("speech encoder", checkpoint.folder, folder, n_tensors, path.name)


def _part(part: str, folder: Path, where: Path, n_tensors: int, detail: str) -> PartReport:
    files = [where] if where.is_file() else [path for path in where.rglob("*") if path.is_file()]
    return PartReport(part, _within(folder, where), n_tensors, sum(path.stat().st_size for path in files), detail)


def _within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def hash_weights(folder: Path, *, on_progress: Callable[[int, int], None] | None = None) -> tuple[FileHash, ...]:
    """SHA-256 of every file of a checkpoint, compared with SHA256SUMS in it and with what the hub said when fetched.

    Args:
        on_progress: called with (bytes done, bytes in all).

    Raises:
        WeightsError: a file is not what a list says it is, or is named there and missing.
    """
    files = {_within(folder, path): path for path in _files(folder)}
    listed, by_hub = read_hashes(folder), _hub_hashes(folder, files)
    if missing := sorted(listed.keys() - files.keys()):
        raise _wrong(folder, f"{len(missing)} files of {HASHES_FILE} are missing: {', '.join(missing[:4])}", missing)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    n_done, found, damaged = 0, [], []
    for name, path in files.items():
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                n_done += len(block)
                if on_progress is not None:
                    on_progress(n_done, sum(sizes.values()))
        sha256 = digest.hexdigest()
        if any(known.get(name, sha256) != sha256 for known in (listed, by_hub)):
            damaged.append(name)
        found.append(FileHash(name, sha256, "list" if name in listed else "hub" if name in by_hub else None))
    if damaged:
        raise _wrong(folder, f"{len(damaged)} files with another hash: {', '.join(damaged[:4])}", damaged)
    return tuple(found)


def _wrong(folder: Path, got: str, names: list[str]) -> WeightsError:
    cure = f"Delete {names[0]} and the like, then: s2v weights fetch {folder}"
    return WeightsError(f"the files in {folder} must have their known hashes", got=got, cure=cure)


def _files(folder: Path) -> list[Path]:
    every = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != HASHES_FILE)
    return [path for path in every if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_hashes(folder: Path) -> dict[str, str]:
    """File -> SHA-256 as SHA256SUMS in the folder lists them; empty when there is no such file.

    Raises:
        WeightsError: a line is not one that sha256sum writes.
    """
    path = folder / HASHES_FILE
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        text = file.read(_MAX_LIST_BYTES).decode("utf-8", errors="replace")
    listed = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if match is None:
            raise WeightsError(f"{path} must be a list of sha256sum", got=line[:80], cure=f"Mend or delete {path}.")
        listed[match[2].removeprefix("./")] = match[1]
    return listed


def write_hashes(folder: Path, hashes: tuple[FileHash, ...]) -> Path:
    """Write SHA256SUMS into the folder, whole or not at all; `sha256sum -c SHA256SUMS` reads it too."""
    path, partial = folder / HASHES_FILE, folder / f".{HASHES_FILE}.{os.getpid()}"
    try:
        partial.write_text("".join(f"{each.sha256}  {each.file}\n" for each in hashes), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _hub_hashes(folder: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """File -> SHA-256, for the large files: the hub's mark of a small file is of another kind (a git blob's)."""
    found = {}
    for name in files:
        note = folder / _HUB_METADATA / f"{name}.metadata"
        if note.is_file():
            lines = note.read_bytes()[:1000].decode("ascii", errors="replace").splitlines()
            if len(lines) > 1 and re.fullmatch(r"[0-9a-f]{64}", lines[1]):
                found[name] = lines[1]
    return found
