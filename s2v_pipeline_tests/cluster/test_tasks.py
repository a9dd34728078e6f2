"""What a worker does with a chunk: look up, make, store; and what it refuses."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.artifacts import ArtifactStore, file_sha256
from s2v_pipeline.chunks.build import chain_keys
from s2v_pipeline.chunks.latents import load_carry
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.clips.clip_encoding import ClipEncoding
from s2v_pipeline.clips.label import make_stamp
from s2v_pipeline.cluster import tasks
from s2v_pipeline.cluster.executor import SplitTask
from s2v_pipeline.cluster.frame_counter import FrameCounter
from s2v_pipeline.cluster.tasks import GenerateChunk, RenderClip, WarmUp
from s2v_pipeline.errors import ArtifactError, GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.frames import iter_frames

N_FRAMES = 6


@dataclass
class Ramp:
    """A small generator whose frames are grey ramps; counts what it was asked for."""

    fingerprint: str = "ramp 1"
    chained: bool = False
    n_generated: int = 0
    n_decoded: int = 0
    carries: list[Carry | None] = field(default_factory=list)
    forgets_its_carry: bool = False
    brings_frames: bool = False

    def generate(self, request: ChunkRequest, carry: Carry | None) -> GeneratedChunk:
        self.n_generated += 1
        self.carries.append(carry)
        levels = np.arange(request.frames.start_frame, request.frames.stop_frame, dtype=np.float32)
        if not self.chained or request.is_last or self.forgets_its_carry:
            chunk = GeneratedChunk(request.frames, {"levels": levels})
            if self.brings_frames:
                pixels = np.concatenate([batch.pixels for batch in self.decode(request, chunk)])
                return replace(chunk, pixels=pixels)
            return chunk
        key = request.key(self.fingerprint, carry.key if carry else "")
        return GeneratedChunk(request.frames, {"levels": levels}, Carry(key, {"last": levels[-1:]}))

    def decode(self, request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        self.n_decoded += 1
        for offset, level in enumerate(chunk.latents["levels"]):
            pixels = np.full((1, request.height_px, request.width_px, 3), 40 + 10 * int(level), np.uint8)
            yield FrameBatch(pixels, request.fps, request.frames.start_frame + offset)


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> Ramp:
    """The tasks find this generator under any name."""
    generator = Ramp()
    monkeypatch.setattr(tasks, "load_generator", lambda spec: generator)
    return generator


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def request_(tmp_path: Path) -> ChunkRequest:
    portrait = tmp_path / "framed.png"
    portrait.write_bytes(b"not looked at by the ramp")
    frames = np.arange(N_FRAMES)
    return ChunkRequest(
        input_id="anna",
        index=0,
        frames=FrameSpan(0, N_FRAMES),
        fps=Fraction(25),
        width_px=64,
        height_px=64,
        seed=1,
        input_seed=2,
        prompt="",
        portrait=FileRef(portrait, file_sha256(portrait)),
        phonemes=pd.DataFrame({"phone": ["SIL"], "start_s": [0.0], "end_s": [0.24]}),
        features=pd.DataFrame(
            {
                "frame": frames,
                "time_s": (frames + 0.5) / 25,
                **dict.fromkeys(("rms_db", "speech_probability", "f0_hz", "onset"), 0.0),
            }
        ),
        speech_level_db=-20,
        median_f0_hz=0,
    )


def test_latents_are_made_once(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    task = GenerateChunk(GeneratorSpec("ramp"), request_, store)
    first, second = task.run(), task.run()
    assert (first.made, second.made, ramp.n_generated) == (True, False, 1)
    assert first.part == second.part
    assert store.holds("chunk_latents", "anna", first.part, key=first.key)


def test_another_fingerprint_is_another_file(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    task = GenerateChunk(GeneratorSpec("ramp"), request_, store)
    first = task.run()
    ramp.fingerprint = "ramp 2"
    second = task.run()
    assert second.made
    assert first.part != second.part
    assert store.holds("chunk_latents", "anna", first.part, key=first.key)


def test_frames_that_come_with_the_latents_are_encoded_at_once(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, caplog: pytest.LogCaptureFixture
) -> None:
    spec, encoding = GeneratorSpec("ramp"), ClipEncoding(VideoSettings(width_px=64, height_px=64))
    plain = RenderClip(spec, request_, GenerateChunk(spec, request_, store, clip=encoding).run(), encoding, store)
    assert not plain.is_made()  # the generator brought none
    wanted = store.path("rendered_clips", "anna", plain.run().part).read_bytes()

    ramp.brings_frames, elsewhere = True, ArtifactStore(store.root.parent / "ahead")
    latents = GenerateChunk(spec, replace(request_, is_last=True), elsewhere, clip=encoding).run()
    task = RenderClip(spec, replace(request_, is_last=True), latents, encoding, elsewhere)
    n_decoded = ramp.n_decoded
    assert task.is_made()
    found = task.run()
    assert (found.made, ramp.n_decoded) == (False, n_decoded)  # nobody said whose it is
    assert elsewhere.path("rendered_clips", "anna", found.part).read_bytes() == wanted

    # What fails ahead is said, loses no latents, and fails again where it counts.
    broken = ClipEncoding(VideoSettings(width_px=64, height_px=64), encoder="no_such_encoder")
    third = ArtifactStore(store.root.parent / "third")
    latents = GenerateChunk(spec, replace(request_, is_last=True), third, clip=broken).run()
    assert third.holds("chunk_latents", "anna", latents.part, key=latents.key)
    assert "could not be encoded ahead" in caplog.text
    with pytest.raises(Exception, match="no_such_encoder"):
        RenderClip(spec, replace(request_, is_last=True), latents, broken, third).run()


def test_a_clip_encoded_ahead_counts_as_made_by_its_own_run_once(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, caplog: pytest.LogCaptureFixture
) -> None:
    ramp.brings_frames = True
    spec, encoding = GeneratorSpec("ramp"), ClipEncoding(VideoSettings(width_px=64, height_px=64))
    last = replace(request_, is_last=True)

    def seen_after(spoil: Callable[[Path], object], by: str) -> list[str]:
        latents = GenerateChunk(spec, last, store, clip=encoding, run_id="one").run()
        folder = store.path("rendered_clips", "anna", "any").parent
        (told,) = folder.glob(".*.ahead")
        spoil(told)
        task = RenderClip(spec, last, latents, encoding, store, run_id=by)
        files = [task.run(), task.run()]
        assert not list(folder.glob(".*.ahead")) or files[0].origin == "found"
        if files[0].made:
            assert dict(files[0].timings_s)["encode"] > 0
            assert files[0].worker == latents.worker
        shutil.rmtree(store.root)
        return [file.origin for file in files]

    assert seen_after(lambda told: None, "one") == ["made", "found"]
    assert seen_after(lambda told: None, "two") == ["found", "found"]
    assert seen_after(lambda told: told.write_text("{}"), "one") == ["found", "found"]
    assert "who made it cannot be read" in caplog.text


def test_a_clip_is_made_once_and_again_when_it_was_damaged(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    spec, video = GeneratorSpec("ramp"), VideoSettings(width_px=64, height_px=64)
    latents = GenerateChunk(spec, request_, store).run()
    task = RenderClip(spec, request_, latents, ClipEncoding(video), store)
    first = task.run()
    assert first.made
    assert not task.run().made
    path = store.path("rendered_clips", "anna", first.part)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert task.run().made
    assert path.read_bytes() == content
    assert ramp.n_decoded == 2


def test_a_clip_counts_its_frames_as_they_are_done(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest, tmp_path: Path
) -> None:
    counter = FrameCounter(tmp_path / "0")
    seen: list[int] = []
    decode = ramp.decode

    def decode_and_look(request: ChunkRequest, chunk: GeneratedChunk) -> Iterator[FrameBatch]:
        for batch in decode(request, chunk):
            seen.append(counter.read())
            yield batch

    ramp.decode = decode_and_look  # type: ignore[method-assign]
    spec, video = GeneratorSpec("ramp"), VideoSettings(width_px=64, height_px=64)
    latents = GenerateChunk(spec, request_, store).run()
    assert counter.read() == 0
    task = RenderClip(spec, request_, latents, ClipEncoding(video), store, counter=counter)
    assert task.run().made
    assert seen == list(range(N_FRAMES))
    assert counter.read() == N_FRAMES

    found = FrameCounter(tmp_path / "1")
    assert not replace(task, counter=found).run().made
    assert found.read() == N_FRAMES
    # Nobody counts any more, as after the driver's end: the clip is made all the same.
    store.path("rendered_clips", "anna", task.run().part).unlink()
    assert replace(task, counter=FrameCounter(tmp_path / "gone" / "0")).run().made


def test_sound_settings_do_not_remake_the_picture(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    spec = GeneratorSpec("ramp")
    latents = GenerateChunk(spec, request_, store).run()
    quiet, loud, sharp = (
        RenderClip(
            spec, request_, latents, ClipEncoding(VideoSettings(width_px=64, height_px=64, **changed)), store
        ).key
        for changed in ({"audio_kbps": 64}, {"audio_kbps": 192}, {"crf": 12})
    )
    assert quiet == loud
    assert sharp != quiet


def test_tasks_travel_to_workers(store: ArtifactStore, request_: ChunkRequest) -> None:
    task = pickle.loads(pickle.dumps(GenerateChunk(GeneratorSpec("portrait"), request_, store)))  # noqa: S301
    assert task.request.key("g") == request_.key("g")
    assert task.label == "latents of chunk 0"


def test_other_ranks_do_the_same_and_write_nothing(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    first, second, _ = chained_tasks(ramp, chain(request_), store)
    assert isinstance(first, SplitTask)
    assert first.find() is None
    first.follow()
    assert list(store.root.rglob("*.safetensors")) == []
    made_first = first.run()
    found = first.find()
    assert found is not None
    assert (found.part, found.made, found.cached) == (made_first.part, False, False)
    assert second.find() is None
    second.follow()
    second.run()
    # Rank 0 and the others were asked for the same, with the same carry.
    assert [None if carry is None else carry.tensors["last"].tolist() for carry in ramp.carries] == [
        None,
        None,
        [1.0],
        [1.0],
    ]
    clip = RenderClip(GeneratorSpec("ramp"), request_, first.run(), VideoSettings(), store)
    assert not isinstance(clip, SplitTask)


def chain(request: ChunkRequest, n_chunks: int = 3) -> tuple[ChunkRequest, ...]:
    return tuple(
        replace(
            request,
            index=index,
            frames=FrameSpan(2 * index, 2 * index + 2),
            is_last=index == n_chunks - 1,
        )
        for index in range(n_chunks)
    )


def chained_tasks(ramp: Ramp, requests: tuple[ChunkRequest, ...], store: ArtifactStore) -> list[GenerateChunk]:
    ramp.chained = True
    previous = ("", *chain_keys(requests, ramp.fingerprint)[:-1])
    return [
        GenerateChunk(GeneratorSpec("ramp"), request, store, key)
        for request, key in zip(requests, previous, strict=True)
    ]


def test_a_chain_hands_its_carry_on_through_the_store(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    tasks_ = chained_tasks(ramp, chain(request_), store)
    files = [task.run() for task in tasks_]
    assert [file.key for file in files] == list(chain_keys([task.request for task in tasks_], ramp.fingerprint))
    first, second, third = ramp.carries
    assert first is None
    assert second is not None
    assert third is not None
    assert [(each.key, each.tensors["last"].tolist()) for each in (second, third)] == [
        (files[0].key, [1.0]),
        (files[1].key, [3.0]),
    ]
    assert load_carry(store.read_path("chunk_latents", "anna", files[2].part)) == {}
    record = store.provenance("chunk_latents", "anna", files[1].part)
    assert record is not None
    assert record.sources["previous"] == files[0].key


def test_a_chain_goes_on_where_it_stopped(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    tasks_ = chained_tasks(ramp, chain(request_), store)
    kept = [task.run() for task in tasks_[:2]]
    again = [task.run() for task in tasks_]
    assert [file.made for file in again] == [False, False, True]
    assert [file.part for file in again[:2]] == [file.part for file in kept]
    # A chunk that is lost is made again, and those after it, whose keys are the same, are not.
    store.path("chunk_latents", "anna", again[0].part).unlink()
    assert [task.run().made for task in tasks_] == [True, False, False]


def test_a_longer_chain_makes_the_last_chunk_again_and_none_before(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    for task in chained_tasks(ramp, chain(request_), store):
        task.run()
    longer = [task.run() for task in chained_tasks(ramp, chain(request_, 4), store)]
    assert [file.made for file in longer] == [False, False, True, True]


def test_a_chunk_without_the_one_before_is_refused(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    first, second, _ = chained_tasks(ramp, chain(request_), store)
    with pytest.raises(ArtifactError, match="must exist"):
        second.run()
    first.run()
    assert second.run().made
    assert ramp.n_generated == 2
    for wrong in (replace(second, previous_key=""), replace(first, previous_key="aa")):
        with pytest.raises(GenerationError, match="need the one before"):
            wrong.run()
    ramp.chained = False
    with pytest.raises(GenerationError, match="need the one before"):
        second.run()


def test_a_carry_that_is_missing_is_told_at_once(ramp: Ramp, store: ArtifactStore, request_: ChunkRequest) -> None:
    first, _, _ = chained_tasks(ramp, chain(request_), store)
    ramp.forgets_its_carry = True
    with pytest.raises(GenerationError, match="hands a carry to the next chunk"):
        first.run()
    assert list((store.root).rglob("*.safetensors")) == []


def test_how_the_portrait_was_framed_does_not_remake_the_clip(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    latents = ChunkFile(0, FrameSpan(0, 4), "x", "aa", made=True, seconds_s=0.0, worker="w")
    # A change of this key would make every clip of every video again.
    clip = RenderClip(GeneratorSpec("ramp"), request_, latents, ClipEncoding(VideoSettings()), store)
    assert clip.key == "5c215fbaa6c18c5d8100e7ab38dacb50b05717817e5905f0579061b348f2db7e"
    assert replace(clip, encoding=ClipEncoding(VideoSettings(framing="picture"))).key == clip.key


def test_workers_are_not_warmed_up_for_what_one_worker_loads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(tasks, "import_generator", imported.append)
    for name in ("portrait", "wan_s2v", "unknown"):
        WarmUp(name)()
    assert imported == ["portrait"]


def test_a_label_is_part_of_the_clip_s_key_and_of_its_frames(
    ramp: Ramp, store: ArtifactStore, request_: ChunkRequest
) -> None:
    spec, video = GeneratorSpec("ramp"), VideoSettings(width_px=64, height_px=64)
    latents = GenerateChunk(spec, request_, store).run()
    plain = RenderClip(spec, request_, latents, ClipEncoding(video), store)
    stamps = [make_stamp(text, corner="top_left", font=None, width_px=64, height_px=64) for text in ("AI", "KI")]
    labelled = [RenderClip(spec, request_, latents, ClipEncoding(video, stamp=stamp), store) for stamp in stamps]
    assert len({plain.key, *(task.key for task in labelled)}) == 3
    parts = [task.run().part for task in (plain, labelled[0])]
    shown = [next(iter_frames(store.path("rendered_clips", "anna", part))).pixels for part in parts]
    difference = abs(shown[0].astype(int) - shown[1]).max(axis=-1)
    assert difference[: len(difference) // 2].max() > 100
    assert difference[-8:].max() < 16
