"""From the user's files to checked parts in the artifact store."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2v_pipeline.artifacts import PROVENANCE_SUFFIX, ArtifactStore, file_sha256
from s2v_pipeline.errors import ArtifactError, AudioError, FaceError, ImageError, InputError
from s2v_pipeline.inputs.picture_size import official_size, resize_and_crop
from s2v_pipeline.inputs.prepare import prepare_input
from s2v_pipeline.inputs.source import InputSource, given_source
from s2v_pipeline.inputs.speech_input import ASSET, SpeechInput
from s2v_pipeline.setting_groups import Settings, VideoSettings
from s2v_pipeline_tests.inputs.sound_files import read_sound, write_wav

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "astronaut"
RATE_HZ = 16_000
NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def source(tmp_path: Path) -> InputSource:
    shutil.copy(SAMPLE / "portrait.png", tmp_path / "portrait.png")
    shutil.copy(SAMPLE / "speech.wav", tmp_path / "speech.wav")
    return given_source("Ann", image=tmp_path / "portrait.png", audio=tmp_path / "speech.wav", prompt="calm")


def sized(width_px: int, height_px: int) -> Settings:
    return Settings(video=VideoSettings(width_px=width_px, height_px=height_px, fps=Fraction(30000, 1001)))


def times(store: ArtifactStore, input_id: str) -> dict[str, int]:
    folder = store.root / ASSET / input_id
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if PROVENANCE_SUFFIX not in path.name}


def test_the_whole_picture_is_framed_at_a_size_of_its_own(source: InputSource, store: ArtifactStore) -> None:
    with Image.open(source.image) as image:
        wide = image.convert("RGB").crop((0, 40, image.width, image.height - 40))
    wide.save(source.image)
    settings = Settings(video=VideoSettings(width_px=320, height_px=192, fps=16, framing="picture"))
    made = prepare_input(source, settings, store)
    height_px, width_px = official_size(wide.height, wide.width, 320 * 192)
    assert (made.width_px, made.height_px) == (width_px, height_px)
    assert width_px * height_px <= 320 * 192
    with Image.open(store.read_path(ASSET, made.input_id, made.framed.name)) as framed:
        assert framed.size == (width_px, height_px)
        expected = resize_and_crop(wide, height_px, width_px)
        assert np.array_equal(np.asarray(framed), expected)
    x0, y0, x1, y1 = made.crop_px
    assert (x1 - x0) / (y1 - y0) == pytest.approx(width_px / height_px, rel=0.02)
    assert abs(x0 - (wide.width - x1)) <= 1
    assert abs(y0 - (wide.height - y1)) <= 1
    before = times(store, made.input_id)
    assert prepare_input(source, settings, store) == made
    assert times(store, made.input_id) == before
    # Framed otherwise it is another picture.
    face = prepare_input(source, Settings(video=VideoSettings(width_px=320, height_px=192, fps=16)), store)
    assert (face.width_px, face.height_px) == (320, 192)
    assert face.framed.sha256 != made.framed.sha256


def test_a_picture_without_a_face_is_refused_however_it_is_framed(source: InputSource, store: ArtifactStore) -> None:
    Image.new("RGB", (400, 300), (90, 120, 60)).save(source.image)
    for framing in ("face", "picture"):
        with pytest.raises(FaceError):
            prepare_input(source, Settings(video=VideoSettings(framing=framing)), store)


def test_parts_of_a_real_input(source: InputSource, store: ArtifactStore) -> None:
    made = prepare_input(source, sized(320, 256), store)
    assert (made.name, made.prompt, made.transcript) == ("Ann", "calm", None)
    assert made.fps == Fraction(30000, 1001)

    for part in (made.portrait, made.framed, made.speech):
        assert file_sha256(store.read_path(ASSET, made.input_id, part.name)) == part.sha256
    with Image.open(store.path(ASSET, made.input_id, "framed.png")) as framed, Image.open(source.image) as given:
        assert (framed.size, framed.mode) == ((320, 256), "RGB")
        with Image.open(store.path(ASSET, made.input_id, "portrait.png")) as portrait:
            assert np.array_equal(np.asarray(portrait), np.asarray(given.convert("RGB")))
            width_px, height_px = portrait.size
    samples, rate_hz = read_sound(store.path(ASSET, made.input_id, "speech.flac"))
    assert samples.shape == (made.channels, made.n_samples)
    assert made.duration_s == Fraction(made.n_samples, rate_hz)

    x0, y0, x1, y1 = made.face.box_px
    assert 0 <= x0 < x1 <= width_px
    assert 0 <= y0 < y1 <= height_px
    assert 0.2 * (x1 - x0) < made.face.eye_distance_px < x1 - x0
    assert made.face.presence > 0.5
    assert made.sources == {"image": file_sha256(source.image), "audio": file_sha256(source.audio)}
    record = store.provenance(ASSET, made.input_id, "framed.png")
    assert record is not None
    assert record.sources == {"file": made.sources["image"]}


def test_json_round_trip(source: InputSource, store: ArtifactStore) -> None:
    made = prepare_input(source, sized(256, 256), store)
    assert SpeechInput.from_json(json.loads(json.dumps(made.to_json()))) == made
    for broken in ({}, {**made.to_json(), "fps": "x"}, {**made.to_json(), "n_samples": 0}, {**made.to_json(), "x": 1}):
        with pytest.raises(ArtifactError, match="speech_inputs manifest"):
            SpeechInput.from_json(broken)


def test_parts_are_made_once_and_only_what_changed_is_made_again(source: InputSource, store: ArtifactStore) -> None:
    first = prepare_input(source, sized(256, 256), store)
    before = times(store, first.input_id)
    assert prepare_input(source, sized(256, 256), store) == first
    assert times(store, first.input_id) == before

    other_words = replace(source, prompt="angry", transcript="Hello.")
    again = prepare_input(other_words, sized(256, 256), store)
    assert (again.prompt, again.transcript) == ("angry", "Hello.")
    assert times(store, first.input_id) == before

    resized = prepare_input(source, sized(128, 256), store)
    after = times(store, first.input_id)
    assert resized.speech == first.speech
    assert resized.framed != first.framed
    assert after["speech.flac"] == before["speech.flac"]
    assert after["framed.png"] != before["framed.png"]


def test_a_damaged_part_is_made_again(source: InputSource, store: ArtifactStore) -> None:
    first = prepare_input(source, sized(128, 128), store)
    store.path(ASSET, first.input_id, "speech.flac").write_bytes(b"damage")
    assert prepare_input(source, sized(128, 128), store) == first
    assert store.read_path(ASSET, first.input_id, "speech.flac")


def test_new_bytes_under_the_old_name_are_seen(source: InputSource, store: ArtifactStore) -> None:
    first = prepare_input(source, sized(128, 128), store)
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ)[None] / RATE_HZ) * 10_000
    write_wav(source.audio, tone.astype(np.int16), RATE_HZ)
    second = prepare_input(source, sized(128, 128), store)
    assert (second.n_samples, second.rate_hz) == (RATE_HZ, RATE_HZ)
    assert second.portrait == first.portrait
    assert second.sources["audio"] != first.sources["audio"]


def test_a_stricter_limit_checks_again(source: InputSource, store: ArtifactStore) -> None:
    prepare_input(source, Settings(), store)
    strict = Settings.model_validate({"inputs": {"max_audio_s": 0.5}})
    with pytest.raises(AudioError, match=r"input ann-.*at most 0.5 s"):
        prepare_input(source, strict, store)


def test_one_bad_file_keeps_its_kind_of_error(source: InputSource, store: ArtifactStore) -> None:
    Image.new("RGB", (300, 300), "grey").save(source.image)
    with pytest.raises(FaceError, match="must show a face"):
        prepare_input(source, Settings(), store)
    source.image.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        prepare_input(source, Settings(), store)


def test_two_bad_files_are_reported_together(source: InputSource, store: ArtifactStore) -> None:
    source.image.write_bytes(b"no picture")
    source.audio.write_bytes(b"no sound")
    with pytest.raises(InputError) as caught:
        prepare_input(source, Settings(), store)
    message = str(caught.value)
    assert "portrait.png" in message
    assert "speech.wav" in message
    assert "(1)" in caught.value.cure
    assert "(2)" in caught.value.cure


def test_missing_and_oversized_files(source: InputSource, store: ArtifactStore) -> None:
    source.audio.unlink()
    with pytest.raises(InputError, match=r"speech.wav must be readable"):
        prepare_input(source, Settings(), store)
    with source.audio.open("wb") as file:
        file.truncate(40 << 30)  # a hole, not hashed: reading 40 GiB would take minutes
    with pytest.raises(AudioError, match="at most 2048 MB"):
        prepare_input(source, Settings(), store)


def test_face_model_of_another_kind(source: InputSource, store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "model.task").write_bytes(b"no model")
    settings = Settings.model_validate({"paths": {"face_model": tmp_path / "model.task"}})
    with pytest.raises(ArtifactError, match="face model"):
        prepare_input(source, settings, store)


@contextmanager
def only_small_files() -> Iterator[None]:
    """No file of this process may exceed 10 kB: the system refuses writes as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_the_parts(source: InputSource, store: ArtifactStore) -> None:
    with only_small_files(), pytest.raises(ArtifactError, match="must have room") as caught:
        prepare_input(source, Settings(), store)
    assert str(store.root) in caught.value.rule
    assert "paths.artifacts" in caught.value.cure
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_no_room_for_the_sound_alone(source: InputSource, store: ArtifactStore) -> None:
    first = prepare_input(source, sized(64, 64), store)
    loud = np.random.default_rng(0).integers(-9_000, 9_000, (1, RATE_HZ), dtype=np.int16)
    write_wav(source.audio, loud, RATE_HZ)
    with only_small_files(), pytest.raises(ArtifactError, match="must have room") as caught:
        prepare_input(source, sized(64, 64), store)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert file_sha256(store.read_path(ASSET, first.input_id, "speech.flac")) == first.speech.sha256
    assert prepare_input(source, sized(64, 64), store).n_samples == RATE_HZ


def test_the_artifact_folder_is_a_file(source: InputSource, tmp_path: Path) -> None:
    (tmp_path / "locked").write_bytes(b"")
    with pytest.raises(ArtifactError, match="locked must take and give files"):
        prepare_input(source, Settings(), ArtifactStore(tmp_path / "locked"))


def test_the_artifact_folder_is_read_only() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "locked").mkdir(mode=0o555)
        for file in ("portrait.png", "speech.wav"):
            shutil.copy(SAMPLE / file, folder / file)
        source = given_source("ann", image=folder / "portrait.png", audio=folder / "speech.wav")
        user = os.geteuid()
        if user == 0:  # whom permissions do not stop
            os.seteuid(NOBODY)
        try:
            with pytest.raises(ArtifactError, match="locked must be writable"):
                prepare_input(source, Settings(), ArtifactStore(folder / "locked"))
        finally:
            os.seteuid(user)
