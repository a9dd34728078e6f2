"""`s2v doctor`: GPUs, and what the generator wan_s2v needs.

Belongs here: judgements about GPUs, torch and the folder of weights.
Does not belong here: what every video needs (doctor); reading weights (`s2v weights verify`).

Nothing here imports torch, which takes seconds: its version says which CUDA it was built for.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path

from s2v_pipeline import machine
from s2v_pipeline.findings import Finding, Status
from s2v_pipeline.installed import installed_version
from s2v_pipeline.setting_groups import Settings

_GENERATOR = "wan_s2v"
_PACKAGES = ("torch", "diffusers", "transformers")
_INSTALL = "pip install 's2v_pipeline[wan]'"
_CPU_BUILD = "+cpu"  # the end of the version of a torch that was built without CUDA
_LAYOUTS = {"config.json": "the official layout", "model_index.json": "the Diffusers layout"}


def wan_findings(settings: Settings) -> Iterator[Finding]:
    """GPUs, the extra, and the weights; what is missing is a problem only for those who chose wan_s2v."""
    is_chosen = settings.generation.generator == _GENERATOR
    gpus = _gpus(settings, is_chosen=is_chosen)
    yield gpus
    yield _extra(settings, is_chosen=is_chosen)
    yield _weights(settings.wan.weights, is_chosen=is_chosen)


def _gpus(settings: Settings, *, is_chosen: bool) -> Finding:
    try:
        found = machine.gpus()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("gpus", "warning", f"nvidia-smi: {error}", "Mend the driver; portrait needs no GPU.")
    if not found and is_chosen and settings.wan.device != "cpu" and settings.cluster.address in (None, "shared"):
        cure = "Run it on a machine with a GPU, set cluster.address, or wan.device = 'cpu' (very slow)."
        return Finding("gpus", "problem", "none; wan_s2v needs one", cure)
    return Finding("gpus", "ok", "; ".join(found) if found else "none; portrait needs none")


def _extra(settings: Settings, *, is_chosen: bool) -> Finding:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing and is_chosen:
        return Finding("extra wan", "problem", f"generator wan_s2v lacks {', '.join(missing)}", _INSTALL)
    if missing and len(missing) < len(_PACKAGES):
        return Finding("extra wan", "warning", f"incomplete: {', '.join(missing)} missing", _INSTALL)
    if missing:
        return Finding("extra wan", "ok", f"not installed; portrait needs none ({_INSTALL})")
    said = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    if (installed_version("torch") or "").endswith(_CPU_BUILD) and settings.wan.device != "cpu":
        status: Status = "problem" if is_chosen and settings.cluster.address is None else "ok"
        cure = "Install the torch that is built for your CUDA: https://pytorch.org/get-started/locally/."
        return Finding("extra wan", status, f"{said}: this torch was built without CUDA", cure)
    return Finding("extra wan", "ok", said)


def _weights(folder: Path | None, *, is_chosen: bool) -> Finding:
    cure = "Set wan.weights (S2V_WAN__WEIGHTS) to the folder of Wan2.2-S2V-14B, as it was downloaded."
    if folder is None:
        if is_chosen:
            return Finding("weights wan", "problem", "wan.weights is not set", cure)
        return Finding("weights wan", "ok", "wan.weights is not set; portrait needs none")
    status: Status = "problem" if is_chosen else "warning"
    if not folder.is_dir():
        return Finding("weights wan", status, f"{folder} is not a folder", cure)
    for name, layout in _LAYOUTS.items():
        if (folder / name).is_file():
            return Finding("weights wan", "ok", f"{folder}: {layout}; `s2v weights verify` reads all of it")
    return Finding("weights wan", status, f"{folder} has neither {' nor '.join(_LAYOUTS)}", cure)
