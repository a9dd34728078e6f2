"""From a portrait, a speech recording and a prompt to a lip-synced talking video.

The flow, one noun a stage:

    inputs ──> audio ──> alignment ──> chunks ──> generation ──> clips ──> video

Around it: `cluster` makes chunks, `defs` wires the stages into a Dagster asset graph, and `cli` and `api` start it.

    from s2v_pipeline import SpeechToVideo

    with SpeechToVideo() as s2v:
        video = s2v.generate_video(image_path="me.jpg", audio_path="me.wav", prompt="calm")
        print(video.output_path)

Belongs here: the public names, lazily. Does not belong here: anything that imports at import time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s2v_pipeline.api import GeneratedVideo, SpeechToVideo
    from s2v_pipeline.errors import S2VError

__version__ = "0.1.0"
__all__ = ["GeneratedVideo", "S2VError", "SpeechToVideo", "__version__"]

_HOMES = {
    "GeneratedVideo": "s2v_pipeline.api",
    "S2VError": "s2v_pipeline.errors",
    "SpeechToVideo": "s2v_pipeline.api",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
