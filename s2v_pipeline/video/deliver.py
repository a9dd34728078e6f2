"""The last stage: from clips to the delivered file, its poster, contact sheet and metadata.

Belongs here: the order of the steps, names of the delivered files.
Does not belong here: joining and muxing (mux), drawing (frames), what generation_metadata.json says (description),
deciding whether the video may go out (defs.checks).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.audio.tracks import delivered_path
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings, VideoSettings
from s2v_pipeline.video.assembled import AssembledVideo
from s2v_pipeline.video.caption_files import ASSET, captions_text, copy_captions, inside_of
from s2v_pipeline.video.credentials import Origin, SealedVideo, container_tags, credentials_key, seal_video
from s2v_pipeline.video.description import describe
from s2v_pipeline.video.extras import Delivered, write_extras
from s2v_pipeline.video.finish import FinishedClips
from s2v_pipeline.video.finish_work import FinishWork, finish_work
from s2v_pipeline.video.frames import SheetLabels, write_contact_sheet, write_poster
from s2v_pipeline.video.manifest import FinalVideo
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline.video.poster import choose_poster_frame
from s2v_pipeline.video_settings import CODECS_OF

POSTER_PART = "poster.jpg"
CONTACT_SHEET_PART = "contact_sheet.jpg"
METADATA_PART = "generation_metadata.json"
_SHEET_FRAMES = 24  # three rows of eight: enough to see lips at work, small enough for one look


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
    captions = captions_text(store, speech.input_id, phonemes)
    work = finish_work(speech, clips, captions, settings, store)
    folder = store.path(ASSET, speech.input_id, METADATA_PART).parent
    with work.done(folder, on_progress) as finished:
        return _deliver(
            speech,
            clean_up,
            phonemes,
            clips,
            settings,
            store,
            work,
            finished,
            captions,
            run_id=run_id,
            on_progress=on_progress,
        )


def _deliver(
    speech: SpeechInput,
    clean_up: Mapping[str, Any],
    phonemes: pd.DataFrame,
    clips: ChunkManifest,
    settings: Settings,
    store: ArtifactStore,
    work: FinishWork,
    finished: FinishedClips,
    captions: str,
    *,
    run_id: str,
    on_progress: Callable[[int, int], None],
) -> FinalVideo:
    input_id = speech.input_id
    made_by = f"s2v_pipeline {__version__}"
    sound = delivered_path(clean_up, input_id, store)
    inside = inside_of(captions, phonemes, speech, settings)
    key = content_key(
        {
            "clips": [clip.key for clip in clips.chunks],
            **work.key,
            "speech": clean_up["delivered"]["sha256"],
            **_muxing(settings.video),
            **({"inside": json.dumps(asdict(inside), default=str)} if inside.cues or inside.chapters else {}),
            **credentials_key(settings),
        }
    )
    video_part = f"{input_id}.{settings.video.container}"
    origin = Origin(
        title=video_part,
        generator=clips.generator,
        fingerprint=clips.fingerprint,
        portrait_sha256=speech.portrait.sha256,
        speech_sha256=speech.speech.sha256,
    )

    # 1. the video
    written: list[AssembledVideo] = []
    sealed: list[SealedVideo] = []

    def write_video(path: Path) -> None:
        written.append(
            assemble_video(
                finished.clips,
                sound,
                path,
                frame_counts=finished.frame_counts,
                fps=finished.fps,
                settings=settings.video,
                metadata=container_tags(origin, speech.name, enabled=settings.credentials.enabled),
                inside=inside,
                on_progress=on_progress,
            )
        )
        earlier = store.path(ASSET, input_id, video_part)
        sealed.append(seal_video(path, written[0].probe, origin, settings, earlier=earlier))

    video = store.write(ASSET, input_id, video_part, write_video, key=key, made_by=made_by)
    for container in CODECS_OF:  # a video of an earlier setting would be taken for this one
        if container != settings.video.container:
            store.remove(ASSET, input_id, f"{input_id}.{container}")
    probe = sealed[0].probe
    record = store.provenance(ASSET, input_id, video_part)
    if record is None:
        raise AssertionError("a part that was just written has its record")

    # 2. pictures of it
    poster_frame = choose_poster_frame(
        video, n_frames=probe.n_frames, fps=finished.fps, face_model=settings.paths.face_model
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
    caption_parts, no_captions = copy_captions(store, input_id, phonemes, made_by)

    # 4. what was asked for beside it
    extra_parts = write_extras(
        Delivered(
            asset=ASSET,
            input_id=input_id,
            video=video,
            clips=finished.clips,
            frame_counts=finished.frame_counts,
            fps=finished.fps,
            width_px=probe.width_px,
            height_px=probe.height_px,
            speech=sound,
            captions=captions,
            title=speech.name,
            encoder=work.encoders[0],
            key=key,
            made_by=made_by,
        ),
        settings,
        store,
    )

    # 5. what made it
    document = describe(
        speech,
        clean_up,
        phonemes,
        clips,
        settings,
        replace(written[0], probe=probe),
        video_sha256=record.sha256,
        encoders=work.encoders,
        run_id=run_id,
    )
    document["credentials"] = dict(sealed[0].report)
    document["captions"] = {
        "files": list(caption_parts),
        "none_because": no_captions or None,
        "notes": list(phonemes.attrs.get("caption_notes", [])),
    }
    document["captions_embedded"] = len(inside.cues)
    document["chapters"] = [{"start_s": float(each.start_s), "title": each.title} for each in inside.chapters]
    if finished.report:
        document["enhancement"] = finished.report
    document["extras"] = list(extra_parts)
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
        credentials=sealed[0].status,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        n_frames=probe.n_frames,
        fps=finished.fps,
        width_px=probe.width_px,
        height_px=probe.height_px,
        video_s=probe.video_duration_s,
        audio_s=probe.audio_duration_s,
        extra_parts=extra_parts,
        audio_channels=settings.video.audio_channels,
    )


def _muxing(video: VideoSettings) -> dict[str, object]:
    """What of the settings changes how clips and speech become a file, for its key."""
    used: dict[str, object] = {"kbps": video.audio_kbps}
    if video.container != "mp4":
        used["container"] = video.container
    if video.audio_channels != "source":
        used["channels"] = video.audio_channels
    return used


def _phone_at(phonemes: pd.DataFrame) -> SheetLabels:
    """The phoneme that sounds at a time, for the contact sheet."""
    starts = phonemes["start_s"].to_numpy()
    phones = phonemes["phone"].tolist()

    def phone_at(time_s: Fraction) -> str:
        return str(phones[max(0, int(starts.searchsorted(float(time_s), side="right")) - 1)])

    return phone_at


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
