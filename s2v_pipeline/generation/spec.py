"""What a worker needs to make a generator.

Belongs here: the value alone.
Does not belong here: which generators there are (registry), what they do (protocol).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.setting_groups import WanSettings


@dataclass(frozen=True)
class GeneratorSpec:
    """What a worker needs to make a generator; picklable.

    Attributes:
        name: of a registered generator.
        face_model_path: another copy of face_landmarker.task; None takes the packaged one.
        wan: for `wan_s2v` alone.
    """

    name: str
    face_model_path: Path | None = None
    wan: WanSettings | None = None
