"""Copies of pictures that fit the Dagster UI, which shows a picture at its own size, however wide it is.

Belongs here: how large such a copy is, and writing it beside the picture.
Does not belong here: the pictures themselves (the stages), where they are shown (presentation).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.video.frames import write_contact_sheet
from s2v_pipeline.video.manifest import FinalVideo

COLUMN_PX = 680
"""Width that is left for a value in a window of 1600 px, beside the menu, the partitions and the names."""

PORTRAIT_PX = 320
"""Height of a single face: large enough to judge it, small enough that what follows is seen, too."""

SHEET_FRAMES, SHEET_COLUMNS = 9, 3

_PREFIX = "preview-"
_JPEG_QUALITY = 88  # for the eye alone; nothing is made from a preview


def preview_part(part: str) -> str:
    """Name of the copy of a picture."""
    return f"{_PREFIX}{Path(part).stem}.jpg"


def write_portrait_preview(store: ArtifactStore, asset: str, input_id: str, part: str, *, key: str) -> None:
    """Write a small copy of a stored picture of one face.

    Raises:
        ArtifactError: there is no such picture, or it is damaged.
    """
    picture = store.read_path(asset, input_id, part)
    _write(store, asset, input_id, part, lambda path: _shrink(picture, path, COLUMN_PX, PORTRAIT_PX), key=key)


def write_sheet_preview(store: ArtifactStore, asset: str, input_id: str, part: str, video: Path, *, key: str) -> None:
    """Write a few frames of a video as one picture, as the copy of its contact sheet `part`.

    Raises:
        MediaError: not a readable MP4 with one video stream.
    """

    def write(path: Path) -> None:
        write_contact_sheet(video, path, n_frames=SHEET_FRAMES, columns=SHEET_COLUMNS)
        _shrink(path, path, COLUMN_PX, 2 * COLUMN_PX)

    _write(store, asset, input_id, part, write, key=key)


def _write(
    store: ArtifactStore, asset: str, input_id: str, part: str, writer: Callable[[Path], None], *, key: str
) -> None:
    store.write(asset, input_id, preview_part(part), writer, key=key, made_by="preview")


def _shrink(source: Path, target: Path, width_px: int, height_px: int) -> None:
    with Image.open(source) as picture:
        small = picture.convert("RGB")
    small.thumbnail((width_px, height_px), Image.Resampling.LANCZOS)
    small.save(target, format="JPEG", quality=_JPEG_QUALITY)


def write_video_previews(value: FinalVideo, store: ArtifactStore) -> None:
    """Previews of a video's poster and contact sheet."""
    of = ("final_videos", value.input_id)
    write_portrait_preview(store, *of, value.poster_part, key=value.sha256)
    write_sheet_preview(store, *of, value.contact_sheet_part, store.read_path(*of, value.video_part), key=value.sha256)
