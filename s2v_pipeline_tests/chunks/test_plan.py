"""Plans cover every frame once, and an edit at the end leaves the beginning alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2v_pipeline.chunks.plan import ChunkPlan, chunk_seed, plan_chunks
from s2v_pipeline.timebase import FrameSpan

FRAMES = st.integers(1, 5000)
SEEDS = st.integers(0, 2**63 - 1)


@given(n_frames=FRAMES, chunk_frames=FRAMES)
def test_every_frame_is_in_exactly_one_chunk(n_frames: int, chunk_frames: int) -> None:
    plan = plan_chunks(n_frames, chunk_frames=chunk_frames)
    covered = [frame for chunk in plan.chunks for frame in range(chunk.start_frame, chunk.stop_frame)]
    assert covered == list(range(n_frames))
    assert plan.n_frames == n_frames
    assert all(len(chunk) == chunk_frames for chunk in plan.chunks[:-1])
    assert 1 <= len(plan.chunks[-1]) <= chunk_frames


@given(n_frames=FRAMES, more=FRAMES, chunk_frames=FRAMES)
def test_longer_audio_leaves_earlier_chunks_as_they_are(n_frames: int, more: int, chunk_frames: int) -> None:
    before = plan_chunks(n_frames, chunk_frames=chunk_frames).chunks
    after = plan_chunks(n_frames + more, chunk_frames=chunk_frames).chunks
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1].start_frame == before[-1].start_frame


@given(n_frames=FRAMES, first=FRAMES, chunk_frames=FRAMES)
def test_the_first_chunk_may_have_another_length(n_frames: int, first: int, chunk_frames: int) -> None:
    plan = plan_chunks(n_frames, chunk_frames=chunk_frames, first_chunk_frames=first)
    assert plan.n_frames == n_frames
    lengths = [len(chunk) for chunk in plan.chunks]
    assert lengths[0] == min(first, n_frames)
    assert all(length == chunk_frames for length in lengths[1:-1])
    assert max(lengths[1:], default=0) <= chunk_frames


@pytest.mark.parametrize(("n_frames", "chunk_frames"), [(0, 100), (-1, 100), (100, 0), (100, -1)])
def test_nothing_to_plan(n_frames: int, chunk_frames: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan_chunks(n_frames, chunk_frames=chunk_frames)


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [(0, 0)],
        [(1, 5)],
        [(0, 5), (6, 9)],
        [(0, 5), (4, 9)],
        [(0, 5), (5, 5)],
        [(5, 9), (0, 5)],
    ],
    ids=["none", "empty", "late start", "gap", "overlap", "empty last", "order"],
)
def test_what_is_no_plan(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="chunk"):
        ChunkPlan(tuple(FrameSpan(*span) for span in spans))


def test_seeds_are_fixed_for_ever() -> None:
    # First 8 bytes of SHA-256 of "0/0" and "7/12": a change here would change videos that exist.
    assert chunk_seed(0, 0) == 0x5513E3EABBA6D754
    assert chunk_seed(7, 12) == 0x2D0BA250DBDB3E61


@given(seed=SEEDS, index=st.integers(0, 10**6))
def test_a_seed_fits_64_bits_and_depends_on_both(seed: int, index: int) -> None:
    found = chunk_seed(seed, index)
    assert 0 <= found < 2**64
    assert found == chunk_seed(seed, index)
    assert found != chunk_seed(seed, index + 1)
    assert found != chunk_seed(seed + 1, index)


def test_seed_and_index_are_kept_apart() -> None:
    assert chunk_seed(1, 11) != chunk_seed(11, 1)
    assert len({chunk_seed(seed, index) for seed in range(30) for index in range(30)}) == 900
