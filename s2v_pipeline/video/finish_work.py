"""The finishing of one stored video: what it depends on, and doing it in a folder that is gone afterwards.

Belongs here: from the artifact store and settings to a plan, its key, the finished clips.
Does not belong here: stages (finish_plan), running them (finish), joining what comes out (mux).
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore, disk_errors
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.clips.encoders import ENCODER_SOURCE, SOFTWARE, choose_encoder
from s2v_pipeline.clips.label import Stamp
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.burned import BurnCaptions
from s2v_pipeline.video.captions import read_cues
from s2v_pipeline.video.finish import FinishedClips, finish_clips
from s2v_pipeline.video.finish_plan import PicturePlan, delivered_label, encodes_again, finish_key, output_fps

_WORKING, _LOCK = ".finishing-", "lock"


@dataclass(frozen=True)
class FinishWork:
    """What is to be done to a video's clips.

    Attributes:
        plan: stages and what they need.
        clips: files of rendered_clips, in order.
        settings: of the input.
        encoders: FFmpeg's names of the encoders of the delivered picture; normally one.
        stamp: the visible label, where it is laid over here and not when clips are made.
        key: for the delivered file's key; {} where clips are delivered as they are.
    """

    plan: PicturePlan
    clips: tuple[Path, ...]
    settings: Settings
    encoders: tuple[str, ...]
    stamp: Stamp | None
    key: dict[str, object]

    @contextmanager
    def done(self, folder: Path, on_progress: Callable[[int, int], None]) -> Generator[FinishedClips]:
        """The delivered clips; new ones lie below `folder` until the context ends.

        Raises:
            MediaError: clips that do not fit, or a stage that failed.
            ArtifactError: the disk is full or may not be written.
        """
        with _working_folder(folder) as working:
            yield finish_clips(
                self.clips,
                self.plan,
                working,
                video=self.settings.video,
                encoder=self.encoders[0],
                stamp=self.stamp,
                face_model=self.settings.paths.face_model,
                on_progress=on_progress,
            )


@contextmanager
def _working_folder(folder: Path) -> Generator[Path]:
    """An empty folder below `folder`; those of processes that were killed are removed.

    A living process holds a lock in its own, which the kernel lets go when the process ends, however it ends.
    """
    with ExitStack() as stack:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"{_WORKING}*"):
                _remove_if_left(left)
            working = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=_WORKING)))
            lock = stack.enter_context((working / _LOCK).open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield working


def _remove_if_left(working: Path) -> None:
    try:
        with (working / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(working)
    except (BlockingIOError, FileNotFoundError):
        return  # somebody works in it, or has just made or removed it


def finish_work(
    speech: SpeechInput, clips: ChunkManifest, captions: str, settings: Settings, store: ArtifactStore
) -> FinishWork:
    """What is to be done to the clips of an input; `captions` is the text of its WebVTT file.

    Raises:
        SettingsError: no encoder works that makes what the settings ask for, or a label that cannot be drawn.
        ArtifactError: a file is missing or damaged.
    """
    again = encodes_again(settings)
    with Image.open(store.read_path("speech_inputs", speech.input_id, speech.framed.name)) as framed:
        portrait = np.array(framed.convert("RGB"), np.uint8)
    plan = PicturePlan(
        settings.enhance,
        portrait,
        tuple(len(clip.frames) for clip in clips.chunks),
        clips.fps,
        speech.n_samples,
        speech.rate_hz,
        _burned(captions, clips, settings),
    )
    if not again:
        encoders, stamp = _encoders(clips, store), None
    else:
        encoders = (choose_encoder(settings.video.codec, settings.video.bit_depth, settings.cluster.video_encoder),)
        stamp = delivered_label(settings, speech.width_px, speech.height_px)
    return FinishWork(
        plan=plan,
        clips=tuple(store.read_path(clips.asset, speech.input_id, clip.part) for clip in clips.chunks),
        settings=settings,
        encoders=encoders,
        stamp=stamp,
        key=finish_key(settings, encoders[0], captions, stamp.sha256 if stamp else ""),
    )


def _burned(captions: str, clips: ChunkManifest, settings: Settings) -> BurnCaptions | None:
    style = settings.delivery.burn_captions
    if style == "off":
        return None
    return BurnCaptions(
        read_cues(captions),
        output_fps(clips.fps, settings.enhance),
        style,
        settings.delivery.burn_place,
        settings.credentials.label_font,
    )


def _encoders(clips: ChunkManifest, store: ArtifactStore) -> tuple[str, ...]:
    """Of the clips."""
    records = [store.provenance(clips.asset, clips.input_id, clip.part) for clip in clips.chunks]
    # Clips of versions that knew one encoder have no name in their records.
    names = [(record.sources if record else {}).get(ENCODER_SOURCE, SOFTWARE["h264"]) for record in records]
    return tuple(sorted(set(names)))
