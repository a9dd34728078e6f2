"""`s2v doctor`: the CTC checkpoint for alignment.

Belongs here: judging the checkpoint that the settings name.
Does not belong here: reading it (alignment.ctc), what every video needs (doctor).

A checkpoint that is set is loaded, as nothing less tells whether it can be used; only then torch is imported.
"""

from __future__ import annotations

from pathlib import Path

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.findings import Finding, Status
from s2v_pipeline.setting_groups import AlignmentSettings

_NAME = "ctc checkpoint"
_SETTING = "alignment.ctc_checkpoint"
_VARIABLE = "S2V_ALIGNMENT__CTC_CHECKPOINT"
_INSTALL = "pip install -c constraints.txt '.[ctc]'"
_MS_PER_SAMPLE = 1 / 16  # at 16 kHz


def ctc_finding(alignment: AlignmentSettings) -> Finding:
    """Whether the checkpoint can be used; what is wrong with it is a problem only where it would be used."""
    folder = alignment.ctc_checkpoint
    if folder is None:
        if alignment.aligner == "ctc":
            cure = f"Set {_SETTING} ({_VARIABLE}) to a folder, or alignment.aligner to auto."
            return Finding(_NAME, "problem", f"alignment.aligner is ctc, and {_SETTING} is not set", cure)
        return Finding(_NAME, "ok", f"{_SETTING} is not set; English needs none")
    is_used = alignment.aligner in ("auto", "ctc")
    status: Status = "problem" if is_used else "warning"
    unused = "" if is_used else f"; not used while alignment.aligner is {alignment.aligner}"
    try:
        return Finding(_NAME, "ok", f"{_loaded(folder)}{unused}")
    except ModuleNotFoundError as error:
        return Finding(_NAME, status, f"{folder} needs torch and transformers: no {error.name}{unused}", _INSTALL)
    except WeightsError as error:
        return Finding(_NAME, status, f"{error.rule}; got {error.got}{unused}", error.cure)


def _loaded(folder: Path) -> str:
    from s2v_pipeline.alignment.ctc import load_ctc

    model = load_ctc(folder)
    symbols = sum(map(bool, model.vocabulary.tokens))
    frame_ms = model.hop_samples * _MS_PER_SAMPLE
    return f"{folder} loads: {symbols} {model.vocabulary.kind}, a frame every {frame_ms:g} ms"
