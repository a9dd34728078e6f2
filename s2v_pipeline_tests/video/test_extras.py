"""What is delivered beside a video: written when asked for, gone when not."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.captions import read_cues
from s2v_pipeline.video.extras import Delivered, write_extras
from s2v_pipeline_tests.video.material import make_video, voice

FPS = Fraction(25)
N_SAMPLES = 36077
ALL = {"streaming": True, "ladder": [64], "preview": "webp", "audio_file": True, "thumbnails": True}


@pytest.fixture
def delivered(tmp_path: Path) -> Delivered:
    made = make_video(tmp_path, n_samples=N_SAMPLES, rate_hz=16000, fps=FPS, chunk_frames=25)
    return Delivered(
        asset="final_videos",
        input_id="anna",
        video=made.path,
        clips=made.clips,
        frame_counts=[25, 25, 6],
        fps=FPS,
        width_px=64,
        height_px=64,
        speech=made.speech,
        captions="",
        title="Anna",
        encoder="libx264",
        key="k",
        made_by="a test",
    )


def test_all_are_written_and_go_again(tmp_path: Path, delivered: Delivered) -> None:
    store = ArtifactStore(tmp_path / "store")
    parts = write_extras(delivered, Settings.model_validate({"delivery": ALL}), store)
    folder = store.path("final_videos", "anna", "x").parent
    assert set(parts) == {"moving.webp", "anna.m4a", "streaming.json", "thumbnails.jpg", "thumbnails.vtt"}

    listed = json.loads(store.read_path("final_videos", "anna", "streaming.json").read_text())
    assert {path.name: file_sha256(path) for path in (folder / "streaming").iterdir()} == listed["sha256"]
    assert (listed["segments"], listed["sizes"]) == (3, [[64, 64]])

    with av.open(str(store.read_path("final_videos", "anna", "anna.m4a"))) as container:
        stream = container.streams.audio[0]
        assert (stream.start_time, stream.duration, stream.time_base) == (0, N_SAMPLES, Fraction(1, 16000))
        assert container.metadata["title"] == "Anna"

    with Image.open(store.read_path("final_videos", "anna", "moving.webp")) as moving:
        assert (moving.n_frames, moving.size) == (28, (64, 64))

    cues = read_cues(store.read_path("final_videos", "anna", "thumbnails.vtt").read_text())
    assert [(cue.start_ms, cue.end_ms) for cue in cues] == [(0, 1000), (1000, 2000), (2000, 2240)]
    assert [cue.text for cue in cues] == [f"thumbnails.jpg#xywh={left},0,64,64" for left in (0, 64, 128)]
    with Image.open(store.read_path("final_videos", "anna", "thumbnails.jpg")) as sheet:
        assert sheet.size == (192, 64)

    assert write_extras(delivered, Settings(), store) == ()
    assert list(folder.iterdir()) == []


def test_a_gif_takes_the_place_of_a_webp(tmp_path: Path, delivered: Delivered) -> None:
    store = ArtifactStore(tmp_path / "store")
    for kind in ("webp", "gif"):
        parts = write_extras(delivered, Settings.model_validate({"delivery": {"preview": kind}}), store)
        assert parts == (f"moving.{kind}",)
    left = {path.name for path in store.path("final_videos", "anna", "x").parent.iterdir()}
    assert left == {"moving.gif", "moving.gif.provenance.json"}


def test_a_stream_that_fails_leaves_the_old_one(tmp_path: Path, delivered: Delivered) -> None:
    store = ArtifactStore(tmp_path / "store")
    settings = Settings.model_validate({"delivery": {"streaming": True}})
    write_extras(delivered, settings, store)
    folder = store.path("final_videos", "anna", "x").with_name("streaming")
    before = {path.name: file_sha256(path) for path in folder.iterdir()}
    delivered.clips[1].write_bytes(b"damaged")
    with pytest.raises(Exception, match="must be a readable"):
        write_extras(delivered, settings, store)
    assert {path.name: file_sha256(path) for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_voice_is_what_the_fixture_says() -> None:
    """The exact length above is that of the sound that is encoded."""
    assert voice(N_SAMPLES, 16000).shape == (1, N_SAMPLES)
