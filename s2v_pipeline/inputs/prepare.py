"""A source becomes a checked input in the artifact store: the asset `speech_inputs`.

Belongs here: the order of the checks, the parts and their keys.
Does not belong here: how a picture (image, framing) or a recording (speech) is read, where sources come from (scan,
manifest), the value that comes out (speech_input).

Parts of an input: `portrait.png` (whole, upright, sRGB), `framed.png` (exactly the video's size, which the settings say
or, where the whole picture is framed, the picture), `speech.flac`, and the facts about either in JSON, so that parts
which were made before for the same bytes and settings are not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore, content_key, disk_errors, file_sha256
from s2v_pipeline.errors import FaceError, ImageError, InputError
from s2v_pipeline.faces.landmarker import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceLandmarker
from s2v_pipeline.inputs.framing import choose_face, frame_portrait, head_angles, notes_on_choice
from s2v_pipeline.inputs.image import load_portrait
from s2v_pipeline.inputs.source import InputSource
from s2v_pipeline.inputs.speech import copy_speech
from s2v_pipeline.inputs.speech_input import ASSET, FaceFacts, Part
from s2v_pipeline.inputs.speech_input import (
    SpeechInput as SpeechInput,
)  # callers of `prepare_input` find its value here
from s2v_pipeline.inputs.whole_picture import frame_whole_picture
from s2v_pipeline.setting_groups import Settings

PORTRAIT_PART = "portrait.png"
FRAMED_PART = "framed.png"
SPEECH_PART = "speech.flac"
_PORTRAIT_FACTS = "portrait_facts.json"
_SPEECH_FACTS = "speech_facts.json"

CODE_VERSION = "2"
"""Part of every key; to be raised when the same files and settings shall give other parts."""
_MADE_BY = f"s2v_pipeline.inputs {CODE_VERSION}"
_PNG_LEVEL = 3  # a tenth larger than the default's files, in a third of its time
_BYTES_PER_MB = 1_000_000
_NOT_HASHED = "not hashed"

_Write = Callable[[str, Callable[[Path], None]], str]


def prepare_input(source: InputSource, settings: Settings, store: ArtifactStore) -> SpeechInput:
    """Check both files of a source and put their parts into the store.

    Args:
        source: what the user gave.
        settings: resolved for this input, its own settings included.
        store: takes the parts, and keeps those that are there for the same key.

    Raises:
        InputError: the portrait or the speech is not usable; where both are not, one error names both.
        ArtifactError: the face model is missing, or the store's folder is full or may not be written.
    """
    errors: list[InputError] = []
    portrait = speech = None
    with disk_errors(store.root):
        landmarker = FaceLandmarker(settings.paths.face_model)
        try:
            portrait = _portrait(source, settings, store, landmarker)
        except InputError as error:
            errors.append(error)
        try:
            speech = _speech(source, settings, store)
        except InputError as error:
            errors.append(error)
    if portrait is None or speech is None:
        raise _one_error(source, errors)
    return SpeechInput.from_json(
        {
            "input_id": source.input_id,
            "name": source.name,
            "prompt": source.prompt,
            "transcript": source.transcript,
            "width_px": settings.video.width_px,  # unless the portrait has a say in its size, see below
            "height_px": settings.video.height_px,
            "fps": settings.video.fps,
            "sources": {"image": portrait.pop("source"), "audio": speech.pop("source")},
            "notes": [*portrait.pop("notes"), *speech.pop("notes")],
            **portrait,
            **speech,
        }
    )


def _portrait(
    source: InputSource, settings: Settings, store: ArtifactStore, landmarker: FaceLandmarker
) -> dict[str, Any]:
    limits = settings.inputs
    width_px, height_px = settings.video.width_px, settings.video.height_px
    original = _original(source.image, limits.max_image_mb)
    key = content_key(
        {
            "code": CODE_VERSION,
            "image": original.sha256,
            "face_model": landmarker.model_sha256,
            "size_px": [width_px, height_px],
            **({"framing": "picture"} if settings.video.framing == "picture" else {}),
            "limits": [limits.max_image_mb, limits.max_image_mpx, limits.min_face_px],
        }
    )

    def make(write: _Write) -> dict[str, Any]:
        loaded = load_portrait(source.image, limits)
        faces = landmarker.find(loaded.pixels)
        try:
            face = choose_face(faces, loaded.pixels.shape, limits)
            if settings.video.framing == "picture":
                framed = frame_whole_picture(loaded.pixels, max_area_px=width_px * height_px)
            else:
                framed = frame_portrait(loaded.pixels, face, width_px=width_px, height_px=height_px)
        except (FaceError, ImageError) as error:
            raise error.about(source.image.name) from error
        original.check_unchanged()
        angles = head_angles(face)
        eyes_px = face.landmarks_px[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER], :2]
        x0, y0, x1, y1 = (float(edge) for edge in face.box_px)
        notes = (*loaded.notes, *notes_on_choice(faces, face), *framed.notes)
        return {
            "portrait": asdict(Part(PORTRAIT_PART, write(PORTRAIT_PART, _png_writer(loaded.pixels)))),
            "framed": asdict(Part(FRAMED_PART, write(FRAMED_PART, _png_writer(framed.pixels)))),
            "face": asdict(
                FaceFacts(
                    box_px=(x0, y0, x1, y1),
                    score=float(face.score),
                    presence=float(face.presence),
                    eye_distance_px=float(np.linalg.norm(eyes_px[1] - eyes_px[0])),
                    yaw_deg=angles.yaw_deg,
                    roll_deg=angles.roll_deg,
                )
            ),
            "crop_px": list(framed.crop_px),
            "height_px": framed.pixels.shape[0],
            "width_px": framed.pixels.shape[1],
            "source": original.sha256,
            "notes": [f"portrait: {note}" for note in notes],
        }

    return _made_once(store, source.input_id, key, original.sha256, (PORTRAIT_PART, FRAMED_PART), _PORTRAIT_FACTS, make)


def _speech(source: InputSource, settings: Settings, store: ArtifactStore) -> dict[str, Any]:
    limits = settings.inputs
    original = _original(source.audio, limits.max_audio_mb)
    key = content_key(
        {
            "code": CODE_VERSION,
            "audio": original.sha256,
            "limits": [limits.max_audio_mb, limits.min_audio_s, limits.max_audio_s],
        }
    )

    def make(write: _Write) -> dict[str, Any]:
        facts: dict[str, Any] = {}

        def copy(path: Path) -> None:
            info = copy_speech(source.audio, path, limits)
            original.check_unchanged()
            kept = ("n_samples", "rate_hz", "channels", "peak_dbfs", "rms_dbfs")
            facts.update({name: getattr(info, name) for name in kept})
            facts["notes"] = [f"speech: {note}" for note in info.notes]

        return {"speech": asdict(Part(SPEECH_PART, write(SPEECH_PART, copy))), "source": original.sha256, **facts}

    return _made_once(store, source.input_id, key, original.sha256, (SPEECH_PART,), _SPEECH_FACTS, make)


def _made_once(
    store: ArtifactStore,
    input_id: str,
    key: str,
    source_sha256: str,
    parts: tuple[str, ...],
    facts_part: str,
    make: Callable[[_Write], dict[str, Any]],
) -> dict[str, Any]:
    """Facts about parts that the store holds for `key`; made by `make` where it does not."""
    if all(store.holds(ASSET, input_id, part, key=key) for part in (*parts, facts_part)):
        kept: dict[str, Any] = json.loads(store.path(ASSET, input_id, facts_part).read_text("utf-8"))
        return kept

    def write(part: str, writer: Callable[[Path], None]) -> str:
        path = store.write(ASSET, input_id, part, writer, key=key, made_by=_MADE_BY, sources={"file": source_sha256})
        return file_sha256(path)

    facts = make(write)
    text = json.dumps(facts, indent=1)
    write(facts_part, lambda path: _write_text(path, text))
    return facts


@dataclass(frozen=True)
class _Original:
    """A user's file as it was when it was hashed."""

    path: Path
    sha256: str
    state: tuple[int, int, int]

    def check_unchanged(self) -> None:
        if _state(self.path) != self.state:
            raise InputError(
                f"{self.path.name} must stay as it is while it is read",
                got="a file that changed",
                cure="Wait until it is copied, and try again.",
            )


def _original(path: Path, max_mb: float) -> _Original:
    """The file and its hash; one that its reader refuses for its kind or size is not read to the end for that."""
    state = _state(path)
    try:
        readable = path.is_file() and state[0] <= max_mb * _BYTES_PER_MB
        return _Original(path, file_sha256(path) if readable else _NOT_HASHED, state)
    except OSError as error:
        raise InputError(
            f"{path.name} must be readable", got=str(error.strerror), cure="Check its name and permissions."
        ) from error


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(
            f"{path.name} must be readable", got=str(error.strerror), cure="Check its name and permissions."
        ) from error
    return found.st_size, found.st_mtime_ns, found.st_ino


def _png_writer(pixels: NDArray[np.uint8]) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(pixels).save(path, format="PNG", compress_level=_PNG_LEVEL)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _one_error(source: InputSource, errors: list[InputError]) -> InputError:
    # People know the name, Dagster the id.
    called = source.input_id if source.name == source.input_id else f"{source.input_id} ({source.name!r})"
    if len(errors) == 1:
        return errors[0].about(f"input {called}")
    return InputError(
        f"input {called}: both the portrait and the speech must be usable",
        got=" and ".join(f"({index}) {error.rule}: {error.got}" for index, error in enumerate(errors, start=1)),
        cure=" ".join(f"({index}) {error.cure}" for index, error in enumerate(errors, start=1)),
    )
