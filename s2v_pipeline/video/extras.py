"""What is delivered beside a video on request: streams, a moving preview, thumbnails, the sound alone.

Belongs here: which ones the settings ask for, their names, and that those of earlier settings are gone.
Does not belong here: making each of them (streaming, small_pictures, audio_file), the video itself (deliver).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from s2v_pipeline.artifacts import ArtifactStore, disk_errors, file_sha256
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.temporaries import temporary_prefix
from s2v_pipeline.video.audio_file import write_audio_file
from s2v_pipeline.video.ladder import rungs, scaled_clips
from s2v_pipeline.video.small_pictures import write_preview, write_thumbnails
from s2v_pipeline.video.streaming import StreamSound, write_stream

STREAM_FOLDER = "streaming"
STREAM_PART = "streaming.json"
THUMBNAILS_PART, THUMBNAIL_CUES_PART = "thumbnails.jpg", "thumbnails.vtt"
_PREVIEWS = {"webp": "moving.webp", "gif": "moving.gif"}


@dataclass(frozen=True)
class Delivered:
    """The video that extras are made from.

    Attributes:
        asset, input_id: where the extras go in the store.
        video: the delivered file.
        clips: that it was put together from, with `frame_counts`, `fps` and the size of the picture.
        speech: FLAC that is heard.
        captions: text of the WebVTT sidecar; '' without.
        title: of the sound alone.
        encoder: FFmpeg's name of the encoder that made the clips.
        key, made_by: for the records of what is written.
    """

    asset: str
    input_id: str
    video: Path
    clips: Sequence[Path]
    frame_counts: Sequence[int]
    fps: Fraction
    width_px: int
    height_px: int
    speech: Path
    captions: str
    title: str
    encoder: str
    key: str
    made_by: str

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return sum(self.frame_counts)


def write_extras(of: Delivered, settings: Settings, store: ArtifactStore) -> tuple[str, ...]:
    """Write what `settings.delivery` asks for; the names of the parts, of a stream its list of files.

    Raises:
        MediaError: something could not be made from the video.
        ArtifactError: the disk is full or may not be written.
    """
    wanted = settings.delivery
    sound_part = f"{of.input_id}.m4a"
    writers: dict[str, Callable[[Path], None]] = {}
    if wanted.preview != "off":
        writers[_PREVIEWS[wanted.preview]] = partial(_preview, of=of, kind=wanted.preview)
    if wanted.audio_file:
        writers[sound_part] = partial(
            write_audio_file,
            of.speech,
            kbps=settings.video.audio_kbps,
            channels=settings.video.audio_channels,
            metadata={"title": of.title},
        )
    if wanted.streaming:
        writers[STREAM_PART] = partial(_stream, of=of, settings=settings, store=store)
    for part in (*_PREVIEWS.values(), sound_part, STREAM_PART, THUMBNAILS_PART, THUMBNAIL_CUES_PART):
        if part not in writers:
            store.remove(of.asset, of.input_id, part)
    if not wanted.streaming:
        shutil.rmtree(_stream_folder(of, store), ignore_errors=True)
    for part, writer in writers.items():
        store.write(of.asset, of.input_id, part, writer, key=of.key, made_by=of.made_by)
    return (*writers, *(_thumbnails(of, store) if wanted.thumbnails else ()))


def _preview(path: Path, *, of: Delivered, kind: Any) -> None:
    write_preview(of.video, path, n_frames=of.n_frames, fps=of.fps, kind=kind)


def _thumbnails(of: Delivered, store: ArtifactStore) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        sheet, cues = Path(folder) / THUMBNAILS_PART, Path(folder) / THUMBNAIL_CUES_PART
        write_thumbnails(of.video, sheet, cues, n_frames=of.n_frames, fps=of.fps, sheet_name=THUMBNAILS_PART)
        for made in (sheet, cues):
            copy = partial(shutil.copyfile, made)
            store.write(of.asset, of.input_id, made.name, copy, key=of.key, made_by=of.made_by)
    return THUMBNAILS_PART, THUMBNAIL_CUES_PART


def _stream_folder(of: Delivered, store: ArtifactStore) -> Path:
    return store.path(of.asset, of.input_id, STREAM_PART).with_name(STREAM_FOLDER)


def _stream(path: Path, *, of: Delivered, settings: Settings, store: ArtifactStore) -> None:
    """Write the folder and, at `path`, the list of its files with their hashes.

    The folder is made under another name and takes its place whole; between the old one's going and the new one's
    coming a reader finds none.
    """
    folder = _stream_folder(of, store)
    mark = temporary_prefix()
    temporary = folder.with_name(f"{mark}{uuid.uuid4().hex}")
    ladder = rungs(of.width_px, of.height_px, settings.delivery.ladder)
    with (
        disk_errors(folder.parent),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=mark) as working,
    ):
        try:
            temporary.mkdir()
            smaller = [
                scaled_clips(
                    of.clips,
                    Path(working),
                    rung,
                    frame_counts=of.frame_counts,
                    fps=of.fps,
                    settings=settings.video,
                    encoder=of.encoder,
                )
                for rung in ladder[:-1]
            ]
            stream = write_stream(
                [*smaller, of.clips],
                of.speech,
                temporary,
                frame_counts=of.frame_counts,
                fps=of.fps,
                sound=StreamSound(settings.video.audio_kbps, settings.video.audio_channels),
                captions=of.captions,
                language=settings.alignment.language,
            )
            hashes = {name: file_sha256(temporary / name) for name in stream.files}
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    document = {"folder": STREAM_FOLDER, "sizes": stream.sizes, "segments": stream.n_segments, "sha256": hashes}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
