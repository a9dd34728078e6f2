"""The last stage: from clips to the delivered file, its poster, contact sheet and metadata.

Belongs here: the order of the steps, names of the delivered files, what generation_metadata.json says.
Does not belong here: joining and muxing (mux), drawing (frames), deciding whether the video may go out (defs.checks).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import ArtifactStore, content_key, file_sha256
from s2v_pipeline.audio.tracks import delivered_path
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.frames import SheetLabels, write_contact_sheet, write_poster
from s2v_pipeline.video.manifest import FinalVideo
from s2v_pipeline.video.mux import AssembledVideo, assemble_video
from s2v_pipeline.video.poster import choose_poster_frame

ASSET = "final_videos"
POSTER_PART = "poster.jpg"
CONTACT_SHEET_PART = "contact_sheet.jpg"
METADATA_PART = "generation_metadata.json"
CAPTION_SUFFIXES = (".srt", ".vtt")
_CAPTIONS_MISSING = "no captions: phoneme_alignments was made by a version without them; materialise it again"
_SHEET_FRAMES = 24  # three rows of eight: enough to see lips at work, small enough for one look

_log = logging.getLogger(__name__)


def deliver_video(
    speech: SpeechInput,
    clean_up: Mapping[str, Any],
    phonemes: pd.DataFrame,
    clips: ChunkManifest,
    settings: Settings,
    store: ArtifactStore,
    *,
    run_id: str,
    on_progress: Callable[[int, int], None],
) -> FinalVideo:
    """Write the video of one input and its sidecars into the store.

    `clean_up` is the report of `audio.tracks`, which names the sound that is delivered.

    Raises:
        MediaError: clips that do not fit, or a written file that is not what was meant.
        ArtifactError: a clip or the speech is missing or damaged.
    """
    input_id = speech.input_id
    made_by = f"s2v_pipeline {__version__}"
    clip_paths = [store.read_path("rendered_clips", input_id, clip.part) for clip in clips.chunks]
    sound = delivered_path(clean_up, input_id, store)
    key = content_key(
        {
            "clips": [clip.key for clip in clips.chunks],
            "speech": clean_up["delivered"]["sha256"],
            "kbps": settings.video.audio_kbps,
        }
    )
    video_part = f"{input_id}.mp4"

    # 1. the video
    written: list[AssembledVideo] = []

    def write_video(path: Path) -> None:
        written.append(
            assemble_video(
                clip_paths,
                sound,
                path,
                frame_counts=[len(clip.frames) for clip in clips.chunks],
                fps=clips.fps,
                settings=settings.video,
                metadata={"title": speech.name, "comment": f"{made_by}, generator {clips.generator}"},
                on_progress=on_progress,
            )
        )

    video = store.write(ASSET, input_id, video_part, write_video, key=key, made_by=made_by)
    probe = written[0].probe
    record = store.provenance(ASSET, input_id, video_part)
    if record is None:
        raise AssertionError("a part that was just written has its record")

    # 2. pictures of it
    poster_frame = choose_poster_frame(
        video, n_frames=probe.n_frames, fps=clips.fps, face_model=settings.paths.face_model
    )
    store.write(
        ASSET,
        input_id,
        POSTER_PART,
        lambda path: write_poster(video, path, frame=poster_frame),
        key=key,
        made_by=made_by,
    )
    store.write(
        ASSET,
        input_id,
        CONTACT_SHEET_PART,
        lambda path: write_contact_sheet(video, path, n_frames=_SHEET_FRAMES, labels=_phone_at(phonemes)),
        key=key,
        made_by=made_by,
    )

    # 3. captions, under the names that players look for beside it
    caption_parts, no_captions = _copy_captions(store, input_id, phonemes, made_by)

    # 4. what made it
    document = _metadata(speech, clean_up, phonemes, clips, settings, written[0], record.sha256, run_id)
    document["captions"] = {
        "files": list(caption_parts),
        "none_because": no_captions or None,
        "notes": list(phonemes.attrs.get("caption_notes", [])),
    }
    store.write(
        ASSET,
        input_id,
        METADATA_PART,
        lambda path: _write_json(path, document),
        key=key,
        made_by=made_by,
    )
    return FinalVideo(
        input_id=input_id,
        video_part=video_part,
        poster_part=POSTER_PART,
        contact_sheet_part=CONTACT_SHEET_PART,
        metadata_part=METADATA_PART,
        caption_parts=caption_parts,
        no_captions=no_captions,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        n_frames=probe.n_frames,
        fps=clips.fps,
        width_px=probe.width_px,
        height_px=probe.height_px,
        video_s=probe.video_duration_s,
        audio_s=probe.audio_duration_s,
    )


def _copy_captions(
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


def _phone_at(phonemes: pd.DataFrame) -> SheetLabels:
    """The phoneme that sounds at a time, for the contact sheet."""
    starts = phonemes["start_s"].to_numpy()
    phones = phonemes["phone"].tolist()

    def phone_at(time_s: Fraction) -> str:
        return str(phones[max(0, int(starts.searchsorted(float(time_s), side="right")) - 1)])

    return phone_at


def _metadata(
    speech: SpeechInput,
    clean_up: Mapping[str, Any],
    phonemes: pd.DataFrame,
    clips: ChunkManifest,
    settings: Settings,
    assembled: AssembledVideo,
    video_sha256: str,
    run_id: str,
) -> dict[str, Any]:
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
        "video": {
            "sha256": video_sha256,
            "size_bytes": probe.size_bytes,
            "frames": probe.n_frames,
            "fps": str(probe.fps),
            "width_px": probe.width_px,
            "height_px": probe.height_px,
            "codec": probe.codec,
            "pix_fmt": probe.pix_fmt,
            "color": asdict(probe.color),
            "faststart": probe.faststart,
            "video_s": float(probe.video_duration_s),
            "audio_s": float(probe.audio_duration_s),
            "speech_s": float(assembled.speech_duration_s),
            "video_minus_audio_ms": round(1000 * float(assembled.video_minus_audio_s), 3),
            "audio_codec": probe.audio_codec,
            "audio_rate_hz": probe.audio_rate_hz,
            "audio_resampled": assembled.resampled,
        },
    }


def _settings_that_change_the_video(settings: Settings) -> dict[str, Any]:
    """What a reader needs to judge the video or make it again; names of this machine's folders are left out."""
    shown = settings.model_dump(
        mode="json", include={"video", "audio", "generation", "wan"}, exclude={"wan": {"weights"}}
    )
    if settings.generation.generator != "wan_s2v":
        del shown["wan"]
    else:
        shown["wan"]["loras"] = [Path(lora).name for lora in settings.wan.loras]
    return shown


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
