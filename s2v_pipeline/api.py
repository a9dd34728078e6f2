"""The public Python class: one call from files to a video, over the same asset graph as every other way in.

Belongs here: turning a call's arguments into a registered input and a run, and the result that the caller sees.
Does not belong here: how a run is executed (defs.launch), terminal output (cli).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from s2v_pipeline.artifacts import atomic_path, file_sha256
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.inputs.source import InputSource, given_source
from s2v_pipeline.setting_groups import Quality
from s2v_pipeline.video_settings import CODECS_OF

_NAME_HASH_LETTERS = 8  # tells apart inputs whose files have the same names


@dataclass(frozen=True)
class GeneratedVideo:
    """A delivered video.

    Attributes:
        output_path: the mp4.
        caption_paths: SubRip and WebVTT files beside it; () without captions, and `no_captions` says why.
        poster_path: a still of it.
        metadata: content of generation_metadata.json.
        run_id: of the Dagster run, as the UI's history shows it.
        step_s: wall seconds of each step of the run.
    """

    output_path: Path
    caption_paths: tuple[Path, ...]
    no_captions: str
    poster_path: Path
    metadata: Mapping[str, Any]
    run_id: str
    step_s: Mapping[str, float]


class SpeechToVideo:
    """Makes talking videos in this process; use it as a context manager.

    Args:
        project_dir: folder of s2v.toml, data/ and the Dagster instance; the working folder when absent.
        num_gpus: GPUs that a video must be made with, or be refused: 0 or 1; absent, generator and `wan.device` say.

    Raises:
        SettingsError: num_gpus is neither 0 nor 1, or a setting is wrong.
    """

    def __init__(self, *, project_dir: Path | str | None = None, num_gpus: int | None = None) -> None:
        if num_gpus not in (None, 0, 1):
            raise SettingsError(
                "num_gpus must be 0 or 1: portrait runs on CPUs, and one worker makes the chunks of wan_s2v",
                got=str(num_gpus),
                cure="Leave num_gpus out.",
            )
        self._num_gpus = num_gpus
        # Dagster takes over a second to import; `from s2v_pipeline import SpeechToVideo` must not.
        from s2v_pipeline.defs.launch import Project

        self._project = Project(Path(project_dir) if project_dir is not None else Path.cwd())
        self._instance = self._project.instance()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the Dagster instance."""
        self._instance.dispose()

    def generate_video(
        self,
        *,
        image_path: Path | str,
        audio_path: Path | str,
        prompt: str = "",
        transcript: str | None = None,
        quality: Quality | None = None,
        width: int | None = None,
        height: int | None = None,
        fps: float | str | None = None,
        generator: str | None = None,
        seed: int | None = None,
        enhance_quality: bool | None = None,
        optimize_streaming: bool | None = None,
        output_path: Path | str | None = None,
        name: str | None = None,
    ) -> GeneratedVideo:
        """Make one video; takes up where an interrupted call with the same arguments stopped.

        Args:
            image_path: the portrait.
            audio_path: the speech.
            prompt: style in plain words.
            transcript: what is said; recognised from the sound when absent.
            quality: preset; see `s2v config show`.
            width, height: of the picture, in pixels; the preset's when absent.
            fps: frames a second, such as 25 or "30000/1001".
            generator: name of a registered generator.
            seed: of the input.
            enhance_quality: the generator's own set of `enhance` settings.
            optimize_streaming: HLS and DASH in several sizes, and a seek bar's pictures, beside the file.
            output_path: where a copy of the video goes, its captions beside it as .srt and .vtt, in the place of files
                of these names; without it the files stay in the artifact store.
            name: what the input is called in Dagster; made from the files when absent.

        Raises:
            InputError: a file is not usable.
            SettingsError: a value is not.
            S2VError: the run failed; the message names it.
        """
        from s2v_pipeline.defs.chunk_steps import placement_of
        from s2v_pipeline.defs.launch import register, run_here

        flags = flag_layer(
            quality=quality,
            width=width,
            height=height,
            fps=fps,
            generator=generator,
            seed=seed,
            enhance_quality=enhance_quality,
            optimize_streaming=optimize_streaming,
        )
        source = command_source(
            Path(image_path), Path(audio_path), prompt=prompt, transcript=transcript, settings=flags, name=name
        )
        needed = placement_of(self._project.pipeline.settings_for(source).settings, ()).n_gpus
        if self._num_gpus not in (None, needed):
            raise SettingsError(
                f"num_gpus must be {needed} for this generator and wan.device",
                got=str(self._num_gpus),
                cure="Leave num_gpus out, or choose another generator or wan.device.",
            )
        (input_id,) = register(self._project, self._instance, [source])
        outcome = run_here(self._project, self._instance, input_id, way_in="python")
        if outcome.error is not None or outcome.video is None:
            raise outcome.error or AssertionError("a run without an error has a video")
        store = self._project.pipeline.store()
        files = tuple(store.read_path("final_videos", input_id, part) for part in outcome.video.delivered_parts)
        video, *captions = copy_files(files, Path(output_path)) if output_path is not None else files
        metadata = store.read_path("final_videos", input_id, outcome.video.metadata_part)
        return GeneratedVideo(
            output_path=video,
            caption_paths=tuple(captions),
            no_captions=outcome.video.no_captions,
            poster_path=store.read_path("final_videos", input_id, outcome.video.poster_part),
            metadata=json.loads(metadata.read_text(encoding="utf-8")),
            run_id=outcome.run_id,
            step_s=outcome.step_s,
        )


def flag_layer(
    *,
    quality: str | None = None,
    width: int | None = None,
    height: int | None = None,
    fps: float | str | None = None,
    generator: str | None = None,
    seed: int | None = None,
    enhance_quality: bool | None = None,
    optimize_streaming: bool | None = None,
) -> Mapping[str, Mapping[str, object]]:
    """The settings layer of a call's or command's flags; those not given are left to the other layers.

    `optimize_streaming` is HLS and DASH with the ladder of `delivery.ladder`, and thumbnails for the seek bar; the
    file's index lies before its media in any case.
    """
    layer: dict[str, dict[str, object]] = {
        "video": {"width_px": width, "height_px": height, "fps": fps},
        "generation": {
            "quality": quality,
            "generator": generator,
            "seed": seed,
            "enhance_quality": enhance_quality,
        },
        "delivery": {"streaming": optimize_streaming, "thumbnails": optimize_streaming},
    }
    return {
        group: given
        for group, values in layer.items()
        if (given := {name: value for name, value in values.items() if value is not None})
    }


def command_source(
    image: Path,
    audio: Path,
    *,
    prompt: str,
    transcript: str | None,
    settings: Mapping[str, object],
    name: str | None,
) -> InputSource:
    """An input given by files; without a name it is named after them and their content.

    Raises:
        ManifestError: a file is missing.
    """
    source = given_source(
        name or audio.stem, image=image, audio=audio, prompt=prompt, transcript=transcript, settings=settings
    )
    if name is not None:
        return source
    # The same call goes on where it was interrupted; other content or other words are another input.
    content = hashlib.sha256(
        "\0".join((file_sha256(image), file_sha256(audio), source.prompt, source.transcript or "")).encode()
    ).hexdigest()
    return given_source(
        f"{image.stem}-{audio.stem}-{content[:_NAME_HASH_LETTERS]}",
        image=image,
        audio=audio,
        prompt=prompt,
        transcript=transcript,
        settings=settings,
    )


def copy_files(files: Sequence[Path], destination: Path) -> tuple[Path, ...]:
    """Copy a video to `destination` and its captions beside it under its name, each whole or not at all; the copies.

    A destination that is named as another container than the video's gets the video's suffix.
    """
    named_as = destination.suffix.lower()
    if named_as != files[0].suffix and named_as.lstrip(".") in CODECS_OF:
        destination = destination.with_suffix(files[0].suffix)
    copies = (destination, *(destination.with_suffix(file.suffix) for file in files[1:]))
    for file, copy in zip(files, copies, strict=True):
        with atomic_path(copy) as temporary:
            shutil.copyfile(file, temporary)
    return copies
