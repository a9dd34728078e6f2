"""Fetching the official weights; asked for by a person, never by a run.

Belongs here: what to fetch and from where, and what to do where there is no network.
Does not belong here: whether what came is whole (weights).
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RevisionNotFoundError

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import (
    SPEECH_FILES,
    SPEECH_FOLDER,
    TEXT_ENCODER_FILE,
    TOKENIZER_FOLDER,
    TRANSFORMER_STEM,
    VAE_FILE,
    Checkpoint,
    find_checkpoint,
)

REPOSITORY = "Wan-AI/Wan2.2-S2V-14B"
PATTERNS = (
    "config.json",
    f"{TRANSFORMER_STEM}*.safetensors",
    f"{TRANSFORMER_STEM}.safetensors.index.json",
    TEXT_ENCODER_FILE,
    VAE_FILE,
    f"{TOKENIZER_FOLDER}/*",
    f"{SPEECH_FOLDER}/*.json",
    f"{SPEECH_FOLDER}/{SPEECH_FILES[0]}",
    "LICENSE*",
)
"""What is needed: not the speech model's flax copy and language model, not the page's pictures."""
_EXCLUDED = ("*.msgpack", "*language_model*", "assets/*")  # the same choice in the fewest words, for the hub's command


def fetch_weights(folder: Path, *, revision: str = "main") -> Checkpoint:
    """Fetch the official checkpoint into a folder; goes on where it was interrupted, leaves alone what is there.

    Args:
        revision: branch, tag or commit of the repository; a commit pins what comes.

    Raises:
        WeightsError: no network, no such revision, too little room, or the download ended before all was there.
    """
    try:
        # Asked first: without the network snapshot_download takes whatever lies in the folder for the whole.
        info = HfApi().repo_info(REPOSITORY, revision=revision, files_metadata=True)
        wanted = {each.rfilename: each.size or 0 for each in info.siblings if _is_wanted(each.rfilename)}
        _check_room(folder, wanted)
        snapshot_download(REPOSITORY, revision=info.sha, local_dir=folder, allow_patterns=list(PATTERNS))
    except RevisionNotFoundError as error:
        rule = f"the revision must be one of {REPOSITORY}"
        raise WeightsError(rule, got=revision, cure="Leave --revision out for the newest.") from error
    except (HTTPError, HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise WeightsError(
            f"{REPOSITORY} must be reachable and {folder} writable",
            got=f"{type(error).__name__}: {reason}",
            cure=elsewhere(folder, revision=revision),
        ) from error
    return find_checkpoint(folder)


def elsewhere(folder: Path, *, revision: str = "main") -> str:
    """How to get the weights through a machine that has the network, as commands."""
    name = REPOSITORY.rpartition("/")[2]
    excluded = " ".join(f"--exclude '{pattern}'" for pattern in _EXCLUDED)
    pinned = "" if revision == "main" else f"--revision {revision} "
    return (
        "The same command goes on where it stopped. Without the network, on a machine that has it:\n"
        f"  pip install huggingface_hub && hf download {REPOSITORY} {pinned}--local-dir {name} {excluded}\n"
        "then copy the folder here and look at it:\n"
        f"  rsync -a --partial {name}/ THIS_MACHINE:{folder.absolute()}/\n"
        f"  s2v weights verify {folder}"
    )


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def _check_room(folder: Path, wanted: dict[str, int]) -> None:
    there = {name: (folder / name).stat().st_size for name in wanted if (folder / name).is_file()}
    needed = sum(size for name, size in wanted.items() if there.get(name) != size)
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if (free := shutil.disk_usage(above).free) < needed:
        rule = f"{folder} must have {needed / 1e9:.1f} GB of room for the weights"
        raise WeightsError(rule, got=f"{free / 1e9:.1f} GB free", cure="Free some, or give a folder on another disk.")
