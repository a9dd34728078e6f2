"""Requests of a plan, and the promise that they keep: however a video is cut, its frames are the same, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.chunks.build import VideoRequest, build_requests, chain_keys
from s2v_pipeline.chunks.plan import ChunkPlan, plan_chunks
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.registry import generator_profile, load_generator
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.inputs.framing import frame_portrait
from s2v_pipeline.inputs.image import load_portrait
from s2v_pipeline.inputs.speech import copy_speech
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline.timebase import FrameSpan, frames_for_samples

FPS = Fraction(25)
SIZE_PX = 128


@dataclass(frozen=True)
class Speech:
    """The sample's tables and its framed portrait."""

    video: VideoRequest
    phonemes: pd.DataFrame
    features: pd.DataFrame

    def requests(self, plan: ChunkPlan) -> tuple[ChunkRequest, ...]:
        return build_requests(
            self.video,
            plan,
            phonemes=self.phonemes,
            features=self.features,
            context_s=generator_profile("portrait").CONTEXT_S,
        )


@pytest.fixture(scope="module")
def speech(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """The sample, analysed for real."""
    folder = tmp_path_factory.mktemp("speech")
    info = copy_speech(sample / "speech.wav", folder / "speech.flac", InputSettings())
    waveform = read_waveform(folder / "speech.flac", rate_hz=16_000)
    features = extract_features(waveform, n_frames=frames_for_samples(info.n_samples, info.rate_hz, FPS), fps=FPS)
    summary = describe_speech(waveform, features)
    alignment = align_speech(waveform, (sample / "transcript.txt").read_text(), summary.segments)
    portrait = load_portrait(sample / "portrait.png", InputSettings()).pixels
    framed = frame_portrait(portrait, FaceLandmarker().find(portrait)[0], width_px=SIZE_PX, height_px=SIZE_PX)
    path = folder / "framed.png"
    cv2.imwrite(str(path), cv2.cvtColor(framed.pixels, cv2.COLOR_RGB2BGR))
    video = VideoRequest(
        input_id="sample",
        fps=FPS,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        input_seed=7,
        prompt="",
        portrait=FileRef(path, file_sha256(path)),
        speech_level_db=summary.speech_level_db,
        median_f0_hz=summary.median_f0_hz,
    )
    return Speech(video, alignment.phonemes, features)


def frame_hashes(requests: tuple[ChunkRequest, ...]) -> Iterator[str]:
    """Hash of every frame's pixels, before any encoding."""
    generator = load_generator(GeneratorSpec("portrait"))
    for request in requests:
        for batch in generator.decode(request, generator.generate(request, None)):
            for pixels in batch.pixels:
                yield hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


@pytest.mark.slow
def test_frames_are_the_same_in_1_3_and_7_chunks_and_alone(speech: Speech) -> None:
    n_frames = len(speech.features)
    whole = list(frame_hashes(speech.requests(plan_chunks(n_frames, chunk_frames=n_frames))))
    assert len(whole) == n_frames
    assert len(set(whole)) > n_frames * 0.9  # it does move
    for n_chunks in (3, 7):
        plan = plan_chunks(n_frames, chunk_frames=-(-n_frames // n_chunks))
        assert len(plan.chunks) == n_chunks
        assert list(frame_hashes(speech.requests(plan))) == whole
    # The third chunk of seven made by itself, in whatever order.
    alone = speech.requests(plan)[2]
    assert list(frame_hashes((alone,))) == whole[alone.frames.start_frame : alone.frames.stop_frame]


def test_a_change_beyond_the_context_leaves_a_chunk_s_key(speech: Speech) -> None:
    plan = plan_chunks(len(speech.features), chunk_frames=25)
    before = [request.key("g") for request in speech.requests(plan)]
    last_s = float(speech.phonemes["start_s"].iloc[-1])
    changed = speech.phonemes.copy()
    changed.loc[changed.index[-1], "phone"] = "AA"
    after = [request.key("g") for request in Speech(speech.video, changed, speech.features).requests(plan)]
    same = [a == b for a, b in zip(before, after, strict=True)]
    first_affected = next(index for index, kept in enumerate(same) if not kept)
    assert all(same[:first_affected])
    reach_s = plan.chunks[first_affected].stop_frame / float(FPS) + generator_profile("portrait").CONTEXT_S
    assert reach_s > last_s
    assert first_affected > 0


def test_keys_differ_between_chunks_and_with_what_pixels_depend_on(speech: Speech) -> None:
    plan = plan_chunks(len(speech.features), chunk_frames=50)
    keys = [request.key("g") for request in speech.requests(plan)]
    assert len(set(keys)) == len(keys)
    other_generator = [request.key("h") for request in speech.requests(plan)]
    assert not set(keys) & set(other_generator)


def test_requests_follow_the_plan(speech: Speech) -> None:
    plan = plan_chunks(len(speech.features), chunk_frames=50)
    requests = speech.requests(plan)
    assert [request.frames for request in requests] == list(plan.chunks)
    for request in requests:
        seen = FrameSpan(int(request.features["frame"].iloc[0]), int(request.features["frame"].iloc[-1]) + 1)
        assert seen == request.frames.widened(50, within=FrameSpan(0, plan.n_frames))


def test_a_generator_that_listens_is_given_sound_and_no_tables(speech: Speech) -> None:
    plan = plan_chunks(len(speech.features), chunk_frames=50)
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 9).astype(np.float32)

    def requests(sound: np.ndarray, phonemes: pd.DataFrame) -> tuple[ChunkRequest, ...]:
        return build_requests(
            speech.video,
            plan,
            phonemes=phonemes,
            features=speech.features,
            context_s=0.5,
            with_tables=False,
            sound=Waveform(sound, 16_000),
            chained=True,
        )

    made = requests(samples, speech.phonemes)
    assert [request.is_last for request in made] == [False] * (len(made) - 1) + [True]
    assert made[0].sound is not None
    assert made[1].sound is not None
    assert (made[0].sound.first_sample, made[0].sound.samples.size) == (0, 16_000 * 5 // 2)
    assert (made[1].sound.first_sample, made[1].sound.samples.size) == (16_000 * 3 // 2, 16_000 * 3)
    np.testing.assert_array_equal(made[1].sound.samples, samples[16_000 * 3 // 2 :][: 16_000 * 3])
    assert all(request.phonemes.empty and request.features.empty for request in made)

    # Other words change nothing; another sound changes the chunks that hear it and, in a chain, all after them.
    other_words = requests(samples, speech.phonemes.assign(phone="AA"))
    assert chain_keys(other_words, "g") == chain_keys(made, "g")
    louder = samples.copy()
    louder[16_000 * 4] += 0.01
    alone = [a.key("g") == b.key("g") for a, b in zip(made, requests(louder, speech.phonemes), strict=True)]
    assert alone == [True, False, False, *[True] * (len(made) - 3)]
    chained = [
        a == b for a, b in zip(chain_keys(made, "g"), chain_keys(requests(louder, speech.phonemes), "g"), strict=True)
    ]
    assert chained == [True, *[False] * (len(made) - 1)]


def test_keys_of_a_chain_hold_the_key_before(speech: Speech) -> None:
    requests = speech.requests(plan_chunks(len(speech.features), chunk_frames=50))
    keys = chain_keys(requests, "g")
    assert keys[0] == requests[0].key("g")
    assert keys[2] == requests[2].key("g", requests[1].key("g", keys[0]))
    assert chain_keys(requests, "h")[0] != keys[0]


def test_features_of_another_length_are_refused(speech: Speech) -> None:
    plan = plan_chunks(len(speech.features) + 1, chunk_frames=50)
    with pytest.raises(ValueError, match="one row a frame"):
        speech.requests(plan)
