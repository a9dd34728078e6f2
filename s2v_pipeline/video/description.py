"""What generation_metadata.json says of a video.

Belongs here: the document, which settings a reader needs.
Does not belong here: writing it (deliver), measuring (probe).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from s2v_pipeline import __version__
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.assembled import AssembledVideo


def describe(
    speech: SpeechInput,
    clean_up: Mapping[str, Any],
    phonemes: pd.DataFrame,
    clips: ChunkManifest,
    settings: Settings,
    assembled: AssembledVideo,
    *,
    video_sha256: str,
    encoders: Sequence[str],
    run_id: str,
) -> dict[str, Any]:
    """The whole document, but for captions and extras; `encoders` are FFmpeg's names of those that made the clips."""
    probe = assembled.probe
    return {
        "made_by": f"s2v_pipeline {__version__}",
        "dagster_run_id": run_id,
        "input": {
            "id": speech.input_id,
            "name": speech.name,
            "prompt": speech.prompt,
            "transcript": speech.transcript,
            "portrait_sha256": speech.portrait.sha256,
            "speech_sha256": speech.speech.sha256,
            "notes": list(speech.notes),
        },
        "settings": _settings_that_change_the_video(settings),
        "clean_up": dict(clean_up),
        "alignment": {name: phonemes.attrs[name] for name in ("method", "fallbacks", "notes")},
        "generator": {
            "name": clips.generator,
            "fingerprint": clips.fingerprint,
            "prompt_words_understood": list(clips.prompt_words),
            "prompt_words_ignored": list(clips.prompt_words_ignored),
            "notes": list(clips.notes),
        },
        "chunks": [
            {
                "frames": [clip.frames.start_frame, clip.frames.stop_frame],
                "clip": clip.part,
                "made_in_this_run": clip.made,
                "seconds": clip.seconds_s,
            }
            for clip in clips.chunks
        ],
        **_segments(clips),
        "video": {
            "sha256": video_sha256,
            "size_bytes": probe.size_bytes,
            "frames": probe.n_frames,
            "fps": str(probe.fps),
            "width_px": probe.width_px,
            "height_px": probe.height_px,
            "container": settings.video.container,
            "codec": probe.codec,
            "encoders": list(encoders),
            "pix_fmt": probe.pix_fmt,
            "color": asdict(probe.color),
            "faststart": probe.faststart,
            "video_s": float(probe.video_duration_s),
            "audio_s": float(probe.audio_duration_s),
            "speech_s": float(assembled.speech_duration_s),
            "video_minus_audio_ms": round(1000 * float(assembled.video_minus_audio_s), 3),
            "audio_codec": probe.audio_codec,
            "audio_rate_hz": probe.audio_rate_hz,
            "audio_channels": probe.audio_channels,
            "audio_resampled": assembled.resampled,
        },
    }


def _segments(clips: ChunkManifest) -> dict[str, Any]:
    """Where the picture starts anew from the portrait; nothing where it never does."""
    if len(clips.segments) == 1:
        return {}
    return {
        "segments": [
            {"frames": [each.start_frame, each.stop_frame], "start_s": float(each.start_frame / clips.fps)}
            for each in clips.segments
        ]
    }


def _settings_that_change_the_video(settings: Settings) -> dict[str, Any]:
    """What a reader needs to judge the video or make it again; names of this machine's folders are left out."""
    shown = settings.model_dump(
        mode="json",
        include={"video", "delivery", "enhance", "audio", "generation", "wan"},
        exclude={"wan": {"weights"}},
    )
    if settings.generation.generator != "wan_s2v":
        del shown["wan"]
    else:
        shown["wan"]["loras"] = [Path(lora).name for lora in settings.wan.loras]
    return shown
