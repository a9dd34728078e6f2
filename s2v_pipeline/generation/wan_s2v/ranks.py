"""Several GPUs of one host on one chunk: the processes that take part, and how they divide the work.

Belongs here: forming the group, who does what, the exchanges that the models need.
Does not belong here: starting and replacing processes (cluster), the networks themselves.

Three divisions, and all of them give what one GPU gives, but for rounding:

    guidance   one half of the ranks runs the network with text and sound, the other half without: no traffic but the
               results
    sequence   tokens are divided; each self-attention sees all tokens of some heads (Ulysses, arXiv 2309.14509)
    rows       the VAE's pictures are divided by rows, and each convolution gets its neighbours' edge rows
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from s2v_pipeline.errors import ClusterError, SettingsError
from s2v_pipeline.generation.ranks import Rank

Split = Literal["auto", "sequence", "guidance"]


@dataclass(frozen=True, eq=False)
class Peers:
    """Processes that exchange tensors; all of them call the same methods in the same order.

    Attributes:
        index: of this process among them.
        n: how many they are.
        group: torch's.

    All methods raise ClusterError where one of them does not answer.
    """

    index: int
    n: int
    group: dist.ProcessGroup

    def exchange(self, parts: Tensor) -> Tensor:
        """(n, ...), row k for peer k -> (n, ...), row k from peer k."""
        sent = parts.contiguous()
        received = torch.empty_like(sent)
        with _answers():
            dist.all_to_all_single(received, sent, group=self.group)
        return received

    def gather(self, own: Tensor) -> Tensor:
        """(...) of the same shape from each -> (n, ...), row k from peer k."""
        sent = own.contiguous()
        received = sent.new_empty((self.n, *sent.shape))
        with _answers():
            dist.all_gather_into_tensor(received.view(self.n * sent.shape[0], *sent.shape[1:]), sent, group=self.group)
        return received

    def total(self, own: Tensor) -> Tensor:
        """The sum over all of a tensor that each has."""
        summed = own.clone()
        with _answers():
            dist.all_reduce(summed, group=self.group)
        return summed


@dataclass(frozen=True, eq=False)
class Division:
    """How a chunk's work is divided; `None` where it is not.

    Attributes:
        guidance: two peers, the first with text and sound.
        sequence: peers that share the tokens.
        rows: peers that share the pictures' rows.
    """

    guidance: Peers | None = None
    sequence: Peers | None = None
    rows: Peers | None = None


WHOLE = Division()
"""One process does all."""


class Ranks:
    """The group that this process has joined."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self._divisions: dict[bool, Division] = {}

    def division(self, split: Split, *, is_guided: bool, n_heads: int) -> Division:
        """How work is divided; every rank must ask, and in the same order.

        Args:
            split: "auto" divides guidance where it can: that needs no traffic within a step.
            is_guided: whether a step runs the network twice.
            n_heads: of the transformer; the ranks of a sequence share them evenly.

        Raises:
            SettingsError: they cannot be shared so.
        """
        n_ranks = self.rank.n_ranks
        by_guidance = is_guided and n_ranks % 2 == 0 and split != "sequence"
        if split == "guidance" and not by_guidance:
            raise SettingsError(
                "wan.split = 'guidance' needs guidance and an even number of GPUs",
                got=f"{n_ranks} GPUs, {'with' if is_guided else 'no'} guidance",
                cure="Set wan.split = 'auto'.",
            )
        n_sequence = n_ranks // 2 if by_guidance else n_ranks
        if n_heads % n_sequence:
            raise SettingsError(
                f"the GPUs of a sequence must share {n_heads} heads evenly",
                got=f"{n_sequence}",
                cure="Set cluster.gpus_per_video to 2, 4 or 8.",
            )
        if by_guidance not in self._divisions:
            halves = [list(range(start, start + n_sequence)) for start in range(0, n_ranks, n_sequence)]
            sequence = self._peers(halves)
            guidance = None
            if by_guidance:
                guidance = self._peers([[first, first + n_sequence] for first in range(n_sequence)])
            everybody = self._peers([list(range(n_ranks))])
            self._divisions[by_guidance] = Division(guidance, sequence if n_sequence > 1 else None, everybody)
        return self._divisions[by_guidance]

    def _peers(self, groups: list[list[int]]) -> Peers:
        """This rank's group; torch wants every rank to make every group."""
        own: Peers | None = None
        for members in groups:
            # A group of its own does not take over the timeout of the whole; torch's own is half an hour.
            group = dist.new_group(members, timeout=datetime.timedelta(seconds=self.rank.timeout_s))
            if self.rank.index in members:
                own = Peers(members.index(self.rank.index), len(members), group)
        assert own is not None  # noqa: S101 (the groups hold every rank)
        return own


_joined: Ranks | None = None


def join_ranks(rank: Rank) -> None:
    """Join the group; returns when all have. Once in a process.

    Raises:
        ClusterError: the others did not come within the rank's timeout.
    """
    global _joined
    on_gpu = torch.cuda.is_available()
    try:
        if on_gpu:
            torch.cuda.set_device(0)  # Ray shows each process its own GPU alone
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=f"tcp://{rank.address}",
            rank=rank.index,
            world_size=rank.n_ranks,
            timeout=datetime.timedelta(seconds=rank.timeout_s),
            device_id=torch.device("cuda", 0) if on_gpu else None,
        )
        dist.barrier()
    except (dist.DistError, RuntimeError) as error:
        raise ClusterError(
            f"all {rank.n_ranks} processes of a video must join within {rank.timeout_s:g} s",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            cure="Run it again; `s2v doctor` checks the GPUs. A busy machine may need a longer cluster.rank_timeout_s.",
        ) from error
    _joined = Ranks(rank)


def joined_ranks() -> Ranks | None:
    """The group that this process has joined; None where it works alone."""
    return _joined


def leave_ranks() -> None:
    """Leave the group."""
    global _joined
    if _joined is not None:
        _joined = None
        dist.destroy_process_group()


@contextmanager
def _answers() -> Iterator[None]:
    """An exchange with processes that may be gone. On GPUs it fails later, and torch then ends the process."""
    try:
        yield
    except RuntimeError as error:
        raise ClusterError(
            "all processes that make a chunk together must answer each other",
            got=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
            cure="Run it again; finished chunks are kept. `s2v doctor` checks the GPUs.",
        ) from error
