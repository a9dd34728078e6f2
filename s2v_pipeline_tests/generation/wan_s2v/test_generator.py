"""The generator beyond its contract: chain, batches, what it refuses, being cancelled."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2v_pipeline.chunks.latents import load_carry, save_latents
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.chunks.speech_window import SpeechWindow, cut_window, rounded_level_rms
from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.protocol import Carry, GeneratedChunk
from s2v_pipeline.generation.wan_s2v.checkpoint import find_checkpoint
from s2v_pipeline.generation.wan_s2v.generator import _MAX_BATCH_BYTES, WanGenerator
from s2v_pipeline.generation.wan_s2v.loading import load_pipeline
from s2v_pipeline.generation.wan_s2v.pipeline import VideoClip
from s2v_pipeline.generation.wan_s2v.sampling import CancelledError, Sampling, make_noise
from s2v_pipeline.generation.wan_s2v.speech_encoder import load_speech_encoder
from s2v_pipeline.generation.wan_s2v.video_plan import plan_video
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import WanSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline_tests.generation.wan_s2v.wan_requests import FPS, generator, portrait, request, speech, tiny_settings
from s2v_pipeline_tests.wan_checkpoint import write_tiny_checkpoint

FIRST, SECOND = FrameSpan(0, 77), FrameSpan(77, 112)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> FileRef:
    return portrait(tmp_path_factory.mktemp("portrait"))


@pytest.fixture(scope="module")
def made(weights: Path) -> WanGenerator:
    return generator(tiny_settings(weights))


@pytest.fixture(scope="module")
def chain(made: WanGenerator, picture: FileRef) -> list[tuple[ChunkRequest, GeneratedChunk]]:
    requests = [request(picture, FIRST, 0), request(picture, SECOND, 1, is_last=True)]
    first = made.generate(requests[0], None)
    return [(requests[0], first), (requests[1], made.generate(requests[1], first.carry))]


def frames_of(made: WanGenerator, asked: ChunkRequest, chunk: GeneratedChunk) -> np.ndarray:
    return np.concatenate([batch.pixels for batch in made.decode(asked, chunk)])


def test_a_chunk_brings_its_frames_and_where_its_time_went(
    made: WanGenerator, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    for asked, chunk in chain:
        assert chunk.pixels is not None
        assert np.array_equal(chunk.pixels, frames_of(made, asked, chunk))
        assert {"denoise", "decode"} <= {part for part, _ in chunk.timings_s}
        assert all(seconds >= 0 for _, seconds in chunk.timings_s)


def test_the_chain_is_the_pipelines_video(weights: Path, picture: FileRef) -> None:
    """The same network, noise and speech both ways, guided, over two steps: the same frames but for rounding.

    The generator takes the speech's mean as zero and its level to a quarter of a decibel, so this speech has such a
    mean and level; shorter than the window's context, it is heard whole by both.
    """
    settings = tiny_settings(weights).model_copy(update={"steps": 2, "guidance": 3.0})
    heard = at_rounded_level(speech())
    assert rounded_level_rms(heard) == pytest.approx(float(np.std(heard.samples, dtype=np.float64)), rel=1e-5)
    made = generator(settings)
    asked = [request(picture, FIRST, 0, of=heard), request(picture, SECOND, 1, of=heard, is_last=True)]
    first = made.generate(asked[0], None)
    chunks = [first, made.generate(asked[1], first.carry)]
    clips = pipeline_clips(weights, settings, picture, heard, asked)
    assert [len(clip.span.shown) for clip in clips] == [77, 35]
    for clip, of, chunk in zip(clips, asked, chunks, strict=True):
        difference = np.abs(clip.frames.astype(int) - frames_of(made, of, chunk).astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.soak  # a figure of the design, not of the code
def test_rounding_the_level_changes_little(
    weights: Path, made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    """Any speech: its level is off by up to an eighth of a decibel, which random weights make visible but small."""
    clips = pipeline_clips(weights, tiny_settings(weights), picture, speech(), [asked for asked, _ in chain])
    for clip, (asked, chunk) in zip(clips, chain, strict=True):
        difference = np.abs(clip.frames.astype(int) - frames_of(made, asked, chunk).astype(int))
        assert difference.mean() < 1.0
        assert difference.max() <= 12


def pipeline_clips(
    weights: Path, settings: WanSettings, picture: FileRef, heard: Waveform, asked: list[ChunkRequest]
) -> list[VideoClip]:
    pipeline = load_pipeline(weights, settings=settings)
    noise = [
        make_noise(each.seed >> 1, latent_frames=n, height_px=64, width_px=64)
        for each, n in zip(asked, (20, 9), strict=True)
    ]
    clips: list[VideoClip] = []
    pipeline(
        np.array(Image.open(picture.path)),
        heard,
        asked[0].prompt,
        size_px=(64, 64),
        sampling=Sampling(steps=settings.steps, guidance=settings.guidance),
        noise=noise,
        clock="aligned",
        on_clip=clips.append,
    )
    return clips


def at_rounded_level(waveform: Waveform) -> Waveform:
    """The speech with mean 0, at the level that rounding gives."""
    centred = waveform.samples.astype(np.float64) - waveform.samples.mean(dtype=np.float64)
    return Waveform((centred * (rounded_level_rms(waveform) / centred.std())).astype(np.float32), waveform.rate_hz)


def test_a_chunk_from_its_stored_carry_is_the_same(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]], tmp_path: Path
) -> None:
    (first_request, first), (second_request, second) = chain
    assert first.carry is not None
    assert first.carry.key == first_request.key(made.fingerprint)
    assert second.carry is None  # nothing follows
    save_latents(tmp_path / "0.safetensors", first.frames, first.latents, first.carry.tensors)
    stored = Carry(first.carry.key, load_carry(tmp_path / "0.safetensors"))
    other = request(picture, FrameSpan(0, 9), 0, is_last=True)
    made.generate(other, None)  # whatever came between leaves nothing behind
    again = made.generate(second_request, stored)
    assert all(np.array_equal(again.latents[name], second.latents[name]) for name in second.latents)
    assert np.array_equal(frames_of(made, second_request, again), frames_of(made, second_request, second))


def test_a_last_chunk_is_as_short_as_the_audio_allows(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    carry = chain[0][1].carry
    for n_frames, n_latents in ((1, 1), (4, 1), (5, 2)):
        asked = request(picture, FrameSpan(77, 77 + n_frames), 1, is_last=True)
        chunk = made.generate(asked, carry)
        assert len(chunk.latents["video"]) == n_latents
        assert frames_of(made, asked, chunk).shape == (n_frames, 64, 64, 3)


def test_what_does_not_fit_is_refused(
    made: WanGenerator, picture: FileRef, chain: list[tuple[ChunkRequest, GeneratedChunk]]
) -> None:
    (first_request, first), (second_request, second) = chain
    with pytest.raises(GenerationError, match="continues the one before"):
        made.generate(second_request, None)
    with pytest.raises(GenerationError, match="continues the one before"):
        made.generate(first_request, first.carry)
    with pytest.raises(GenerationError, match="16 frames a second"):
        made.generate(replace(first_request, fps=Fraction(25)), None)
    with pytest.raises(GenerationError, match="no sound"):
        made.generate(replace(first_request, sound=None), None)
    with pytest.raises(GenerationError, match="at least 73 frames"):
        made.generate(request(picture, FrameSpan(0, 72), 0), None)
    assert first.carry is not None
    short = Carry(first.carry.key, {"motion": first.carry.tensors["motion"][1:]})
    with pytest.raises(GenerationError, match="motion latents"):
        made.generate(second_request, short)
    with pytest.raises(GenerationError, match="motion latents"):
        made.generate(second_request, Carry(first.carry.key, {"other": first.carry.tensors["motion"]}))
    wide = replace(second_request, width_px=128)
    with pytest.raises(GenerationError, match="motion latents"):
        made.generate(wide, first.carry)
    with pytest.raises(GenerationError, match="latents of chunk 1"):
        list(made.decode(wide, second))
    with pytest.raises(GenerationError, match="latents of chunk 0"):
        list(made.decode(replace(first_request, frames=FrameSpan(0, 73)), first))
    with pytest.raises(GenerationError, match="latents of chunk 1"):
        list(made.decode(second_request, replace(second, latents=first.latents)))


def test_frames_come_in_order_in_bounded_batches(
    made: WanGenerator,
    chain: list[tuple[ChunkRequest, GeneratedChunk]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _MAX_BATCH_BYTES <= 64_000_000
    asked, chunk = chain[1]
    whole = frames_of(made, asked, chunk)
    for limit_bytes, sizes in ((10 * 64 * 64 * 3 + 5, [10, 10, 10, 5]), (1, [1] * 35)):
        monkeypatch.setattr("s2v_pipeline.generation.wan_s2v.generator._MAX_BATCH_BYTES", limit_bytes)
        batches = list(made.decode(asked, chunk))
        assert [len(batch.pixels) for batch in batches] == sizes
        starts = [77 + sum(sizes[:index]) for index in range(len(sizes))]
        assert [batch.start_frame for batch in batches] == starts
        assert {batch.fps for batch in batches} == {Fraction(16)}
        assert np.array_equal(np.concatenate([batch.pixels for batch in batches]), whole)


def test_a_far_chunk_hears_its_own_sound(made: WanGenerator, weights: Path, picture: FileRef) -> None:
    """A window that begins in the middle of the speech: features of the same sound, wherever it is counted from."""
    whole = at_rounded_level(speech(30.0))
    span = FrameSpan(317, 397)
    asked = request(picture, span, 4, of=whole)
    assert asked.sound is not None
    assert asked.sound.first_sample == (317 - 128) * 1000
    ours = made._features(asked, 80)
    spans, features = plan_video(
        load_speech_encoder(find_checkpoint(weights).speech_encoder, device=torch.device("cpu")),
        whole,
        clock="aligned",
        clip_frames=80,
        init_first_frame=False,
    )
    assert spans[4].shown == span
    first = spans[4].first_feature_frame
    around = {shift: float((ours - features[first + shift :][:80]).square().mean()) for shift in range(-2, 3)}
    assert ours.shape == (80, *features.shape[1:])
    assert min(around, key=around.__getitem__) == 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, CancelledError])
def test_a_chunk_cancelled_in_the_middle_leaves_nothing(
    weights: Path, picture: FileRef, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    made = generator(tiny_settings(weights).model_copy(update={"steps": 3}))
    asked = request(picture, FrameSpan(0, 9), 0, is_last=True)
    expected = made.generate(asked, None)
    seen: list[int] = []

    def interrupted(_: object, n_done: int, n_total: int) -> bool:
        seen.append(n_done)
        if n_done == 2 and kind is KeyboardInterrupt:
            raise KeyboardInterrupt
        return n_done < 2

    files = {path: path.stat().st_mtime_ns for path in weights.rglob("*")}
    monkeypatch.setattr("s2v_pipeline.generation.wan_s2v.generator._StepLog.__call__", interrupted)
    with pytest.raises(kind):
        made.generate(asked, None)
    assert seen == [1, 2]
    assert {path: path.stat().st_mtime_ns for path in weights.rglob("*")} == files
    monkeypatch.undo()
    again = made.generate(asked, None)  # the same generator goes on
    assert all(np.array_equal(again.latents[name], expected.latents[name]) for name in expected.latents)


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param((FrameSpan(0, 2),), id="shorter than what is dropped"),
        pytest.param((FrameSpan(0, 77), FrameSpan(77, 83)), id="a short last chunk", marks=pytest.mark.soak),
    ],
)
def test_a_segment_is_made_as_a_video_of_its_own(
    made: WanGenerator, picture: FileRef, spans: tuple[FrameSpan, ...]
) -> None:
    """From the same sound and seeds the same latents and frames, wherever it starts: lengths, features and motion
    follow the rules of a video."""
    whole = speech(14.0)
    start, stop = 61, 61 + spans[-1].stop_frame
    level_rms = rounded_level_rms(whole)
    own = Waveform(whole.samples[start * 1000 : stop * 1000].copy(), whole.rate_hz)

    def heard(of: Waveform, frames: FrameSpan, **limits: int) -> SpeechWindow:
        return cut_window(of, frames, FPS, context_s=Fraction(8), level_rms=level_rms, **limits)

    carries: list[Carry | None] = [None, None]
    for index, span in enumerate(spans):
        is_last = span == spans[-1]
        alone = replace(request(picture, span, index, is_last=is_last), sound=heard(own, span))
        frames = FrameSpan(start + span.start_frame, start + span.stop_frame)
        sound = heard(whole, frames, from_frame=start, until_frame=stop)
        moved = replace(alone, index=index + 1, frames=frames, segment_start_frame=start, sound=sound)
        chunks = [made.generate(each, carry) for each, carry in zip((alone, moved), carries, strict=True)]
        carries = [chunk.carry for chunk in chunks]
        assert all(np.array_equal(chunks[0].latents[name], chunks[1].latents[name]) for name in ("video", "context"))
        shown = [frames_of(made, each, chunk) for each, chunk in zip((alone, moved), chunks, strict=True)]
        assert np.array_equal(shown[0], shown[1])
        assert len(shown[1]) == len(span)
        assert (carries[1] is None) is is_last
    with pytest.raises(GenerationError, match="of a segment continues"):
        made.generate(replace(moved, segment_start_frame=0), None)
