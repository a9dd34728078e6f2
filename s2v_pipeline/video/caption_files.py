"""The captions of a delivered video: their text, what goes inside the container, the files beside it.

Belongs here: from phoneme_alignments' files to the video's. Does not belong here: making captions (alignment), packets
of them (captions), drawing them (burned).
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pandas as pd

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.captions import Chapter, Inside, chapters_at_pauses, read_cues

ASSET = "final_videos"
CAPTION_SUFFIXES = (".srt", ".vtt")
_CAPTIONS_MISSING = "no captions: phoneme_alignments was made by a version without them; materialise it again"

_log = logging.getLogger(__name__)


def captions_text(store: ArtifactStore, input_id: str, phonemes: pd.DataFrame) -> str:
    """The WebVTT captions; '' where there are none."""
    parts = [part for part in phonemes.attrs.get("captions", []) if part.endswith(".vtt")]
    return store.read_path("phoneme_alignments", input_id, parts[0]).read_text(encoding="utf-8") if parts else ""


def inside_of(captions: str, phonemes: pd.DataFrame, speech: SpeechInput, settings: Settings) -> Inside:
    """What goes into the container: captions and chapters where there is a transcript and they are wanted."""
    cues, wanted = read_cues(captions), settings.delivery
    chapters: tuple[Chapter, ...] = ()
    if cues and wanted.chapters:
        chapters = chapters_at_pauses(phonemes, cues, length_s=speech.duration_s, least_s=wanted.chapter_s)
    return Inside(cues if wanted.embed_captions else (), chapters, settings.alignment.language)


def copy_captions(
    store: ArtifactStore, input_id: str, phonemes: pd.DataFrame, made_by: str
) -> tuple[tuple[str, ...], str]:
    """Names of the captions beside the video, or why there are none; those of an earlier video are then removed."""
    sources = {Path(part).suffix: part for part in phonemes.attrs.get("captions", [])}
    parts = []
    for suffix in CAPTION_SUFFIXES:
        part = f"{input_id}{suffix}"
        if suffix not in sources:
            store.remove(ASSET, input_id, part)
            continue
        source = store.read_path("phoneme_alignments", input_id, sources[suffix])
        text = source.read_bytes()
        store.write(ASSET, input_id, part, partial(_write_bytes, text), key=file_sha256(source), made_by=made_by)
        parts.append(part)
    reason = "" if parts else phonemes.attrs.get("no_captions") or _CAPTIONS_MISSING
    if reason:
        _log.warning("%s: %s", input_id, reason)
    return tuple(parts), reason


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
