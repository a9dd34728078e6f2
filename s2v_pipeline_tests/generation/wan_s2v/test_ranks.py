"""Several processes on one chunk: what they make is what one makes, whatever is divided; what cannot be divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from s2v_pipeline.errors import ClusterError, SettingsError
from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.generation.wan_s2v.ranks import Peers, Ranks, join_ranks, joined_ranks
from s2v_pipeline.generation.wan_s2v.token_share import TokenShare
from s2v_pipeline.generation.wan_s2v.vae_rows import Rows
from s2v_pipeline_tests.generation.wan_s2v.ranks_at_work import in_processes, results

ROUNDING = 5e-5
"""float32 products of other shapes are summed in another order."""


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return results()


@pytest.mark.parametrize("n_ranks", [pytest.param(2, marks=pytest.mark.soak), 4])
def test_ranks_make_what_one_process_makes(alone: dict[str, Tensor], tmp_path: Path, n_ranks: int) -> None:
    of_ranks = in_processes(n_ranks, tmp_path)
    assert len(of_ranks) == n_ranks
    for name, wanted in alone.items():
        for made in of_ranks:
            assert (made[name] - wanted).abs().max() <= ROUNDING, name
            # What the next chunk starts from must not depend on who made it.
            assert torch.equal(made[name], of_ranks[0][name]), name


def test_tokens_that_do_not_divide_are_filled_up() -> None:
    tokens = torch.arange(1, 8).reshape(1, 7, 1)
    shares = [TokenShare(peers(index, 4), 7) for index in range(4)]
    assert [share.own(tokens, 1).flatten().tolist() for share in shares] == [[1, 2], [3, 4], [5, 6], [7, 0]]
    crowded = [TokenShare(peers(index, 4), 2).own(tokens[:, :2], 1).flatten().tolist() for index in range(4)]
    assert crowded == [[1], [2], [0], [0]]
    flags = TokenShare(peers(3, 4), 7).own(torch.ones(7, 1, dtype=torch.bool), 0)
    assert flags.flatten().tolist() == [True, False]


def test_rows_are_shared_as_evenly_as_it_goes() -> None:
    picture = torch.arange(2 * 56).reshape(1, 56, 2)
    parts = [Rows(peers(index, 3), 7).own(picture) for index in range(3)]
    assert [part.shape[1] for part in parts] == [24, 16, 16]
    assert torch.equal(torch.cat(parts, dim=1), picture)
    with pytest.raises(ValueError, match="a latent row each; got 2"):
        Rows(peers(0, 3), 2)


@pytest.mark.parametrize(
    ("n_ranks", "split", "is_guided", "message"),
    [
        (2, "guidance", False, "2 GPUs, no guidance"),
        (3, "guidance", True, "3 GPUs, with guidance"),
        (3, "auto", False, "share 40 heads evenly.*got 3"),
        (6, "auto", True, "share 40 heads evenly.*got 3"),
    ],
)
def test_what_cannot_be_divided_is_refused(n_ranks: int, split: Any, is_guided: bool, message: str) -> None:
    ranks = Ranks(Rank(0, n_ranks, "127.0.0.1:1", 1.0))
    with pytest.raises(SettingsError, match=message):
        ranks.division(split, is_guided=is_guided, n_heads=40)


def test_others_that_do_not_come_are_an_error_in_time() -> None:
    # Rank 1 of a group whose rank 0 is not there.
    with pytest.raises(ClusterError, match="all 2 processes of a video must join within 1 s"):
        join_ranks(Rank(1, 2, "127.0.0.1:1", 1.0))
    assert joined_ranks() is None


def test_a_rank_is_one_of_its_group() -> None:
    with pytest.raises(ValueError, match="one of 2; got 2"):
        Rank(2, 2, "127.0.0.1:1", 1.0)


def peers(index: int, n: int) -> Peers:
    return Peers(index, n, cast(Any, None))
