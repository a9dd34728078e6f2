"""Cuts in long pauses, and what a chunk of a segment knows of the others: nothing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.chunks.build import VideoRequest, build_requests, chain_keys, keys_before
from s2v_pipeline.chunks.plan import chunk_seed, plan_chunks
from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, ChunkRequest, FileRef
from s2v_pipeline.chunks.segments import pause_cuts
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.conftest import REPOSITORY

FPS = Fraction(16)
RATE_HZ = 16_000


def cuts(*speech: tuple[float, float], least_pause_s: float = 1.0, n_frames: int = 160) -> tuple[int, ...]:
    return pause_cuts(speech, least_pause_s=least_pause_s, n_frames=n_frames, fps=FPS)


def test_a_long_pause_is_cut_in_its_middle_on_the_frame_grid() -> None:
    assert cuts((0.5, 3.0), (4.0, 6.0), (6.9, 9.0)) == (56,)
    assert cuts((0.5, 3.0), (4.0, 6.0), (6.9, 9.0), least_pause_s=0.9) == (56, 103)  # 6.45 s is frame 103.2
    assert cuts((0.5, 3.0), (4.0625, 6.0)) == (57,)  # half a frame counts up
    # 0.1 + 0.2 is more than 0.3: floats decide nothing.
    assert cuts((0.0, 0.1 + 0.2), (1.3, 2.0)) == (13,)


def test_silence_before_and_after_the_speech_is_no_pause() -> None:
    assert cuts((3.0, 5.0)) == cuts() == ()
    assert cuts((0.5, 3.0), (4.0, 6.0), least_pause_s=0) == ()


def test_no_segment_is_empty() -> None:
    assert cuts((0.0, 0.01), (0.03, 1.0), least_pause_s=0.01) == ()
    assert cuts((0.0, 1.0), (1.03, 1.04), (1.06, 2.0), least_pause_s=0.01) == (16, 17)
    assert cuts((0.0, 9.96), (9.99, 10.0), least_pause_s=0.01) == ()


@given(
    n_frames=st.integers(1, 2000),
    chunk_frames=st.integers(4, 120),
    cut_set=st.sets(st.integers(1, 1999), max_size=9),
)
def test_each_segment_is_planned_as_a_video_of_its_own(n_frames: int, chunk_frames: int, cut_set: set[int]) -> None:
    cut = tuple(sorted(each for each in cut_set if each < n_frames))
    plan = plan_chunks(n_frames, chunk_frames=chunk_frames, first_chunk_frames=chunk_frames - 3, cuts=cut)
    assert plan.segment_starts == (0, *cut)
    assert sum(len(segment) for segment in plan.segments) == plan.n_frames == n_frames
    for segment in plan.segments:
        alone = plan_chunks(len(segment), chunk_frames=chunk_frames, first_chunk_frames=chunk_frames - 3)
        inside = [chunk for chunk in plan.chunks if plan.segment_of(chunk) == segment]
        assert [len(chunk) for chunk in inside] == [len(chunk) for chunk in alone.chunks]
        assert inside[0].start_frame == segment.start_frame


@pytest.mark.parametrize("wrong", [(0,), (50,), (30, 20), (20, 20), (-1,)])
def test_cuts_out_of_place_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cuts must be in order"):
        plan_chunks(50, chunk_frames=20, cuts=wrong)


def requests(sound: np.ndarray, cut: Sequence[int], n_frames: int = 480) -> tuple[ChunkRequest, ...]:
    """Chunks of 80 frames of half a minute, as `wan_s2v` has them."""
    frame = np.arange(n_frames)
    features = pd.DataFrame({"frame": frame, **dict.fromkeys(FEATURE_COLUMNS[1:], 0.0)})
    return build_requests(
        VideoRequest("anna", FPS, 64, 64, 3, "calm", FileRef(Path("p.png"), "ab" * 32), 0, 0),
        plan_chunks(n_frames, chunk_frames=80, first_chunk_frames=77, cuts=cut),
        phonemes=pd.DataFrame(columns=list(PHONEME_COLUMNS)),
        features=features,
        context_s=8.0,
        with_tables=False,
        sound=Waveform(sound, RATE_HZ),
        chained=True,
    )


SOUND = np.random.default_rng(4).normal(0, 0.1, 30 * RATE_HZ).astype(np.float32)


def test_without_cuts_keys_are_fixed_for_ever() -> None:
    # Of the version before there were segments: a change here would make every chunk of every video again.
    keys = chain_keys(requests(SOUND, ()), "wan 1")
    assert (keys[0][:16], keys[-1][:16]) == ("40a92fda7146256e", "9c8676b68e5b0489")
    assert keys_before(requests(SOUND, ()), "wan 1") == ("", *keys[:-1])


def test_a_segment_hears_itself_alone_and_continues_nothing() -> None:
    made = requests(SOUND, (200, 300))
    assert [(each.frames.start_frame, each.frames.stop_frame) for each in made] == [
        *((0, 77), (77, 157), (157, 200)),
        *((200, 277), (277, 300)),
        *((300, 377), (377, 457), (457, 480)),
    ]
    assert [each.continues for each in made] == [False, True, True, False, True, False, True, True]
    assert [each.is_last for each in made] == [False, False, True, False, True, False, False, True]
    heard = [
        (each.sound.first_sample // 1000, (each.sound.first_sample + each.sound.samples.size) // 1000)
        for each in made
        if each.sound is not None
    ]
    assert heard == [(0, 200), (0, 200), (29, 200), (200, 300), (200, 300), (300, 480), (300, 480), (329, 480)]
    keys = chain_keys(made, "wan 1")
    assert keys_before(made, "wan 1") == ("", *keys[:2], "", keys[3], "", *keys[5:7])
    assert len(set(keys)) == len({each.seed for each in made}) == len(made)
    # What was so before the first cut stays: chunks that hear nothing of it.
    assert chain_keys(requests(SOUND, (400,)), "wan 1")[:3] == chain_keys(requests(SOUND, ()), "wan 1")[:3]


def test_an_edit_in_one_segment_leaves_the_chunks_of_the_others() -> None:
    before = chain_keys(requests(SOUND, (200, 300)), "wan 1")
    louder = SOUND.copy()
    louder[250 * 1000] += 0.01
    after = chain_keys(requests(louder, (200, 300)), "wan 1")
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 3 + [False] * 2 + [True] * 3
    # A pause more in the first one is a chunk more before the others: they stay, too.
    cut = chain_keys(requests(SOUND, (100, 200, 300)), "wan 1")
    assert len(cut) == len(before) + 1
    assert cut[4:] == before[3:]
    assert chunk_seed(3, 1, 200) not in (chunk_seed(3, 1), chunk_seed(3, 1, 300), chunk_seed(3, 2, 200))


def test_real_words_in_one_segment_can_be_others() -> None:
    one, other = (
        read_waveform(REPOSITORY / "s2v_pipeline_tests" / "data" / name, rate_hz=RATE_HZ).samples[: 2 * RATE_HZ]
        for name in ("flite_kal16_juice_of_lemons.flac", "flite_slt_depth_of_a_well.flac")
    )
    pause = np.random.default_rng(0).normal(0, 1e-4, 3 * RATE_HZ // 2).astype(np.float32)

    def planned(middle: np.ndarray) -> tuple[tuple[int, ...], tuple[str, ...]]:
        joined = np.concatenate([one, pause, middle, pause, one])
        joined *= np.float32(0.1 / joined.std())
        n_frames = joined.size // 1000
        speech = speech_segments(Waveform(joined, RATE_HZ))
        cut = pause_cuts(speech, least_pause_s=1.0, n_frames=n_frames, fps=FPS)
        return cut, chain_keys(requests(joined, cut, n_frames), "wan 1")

    (cut, keys), (edited_cut, edited_keys) = planned(one), planned(other)
    assert len(cut) == len(edited_cut) == 2
    for at, edited_at, middle_s in zip(cut, edited_cut, (2.75, 6.25), strict=True):
        assert abs(at / 16 - middle_s) < 0.4
        assert abs(edited_at - at) <= 2
    assert keys[1] != edited_keys[1]
