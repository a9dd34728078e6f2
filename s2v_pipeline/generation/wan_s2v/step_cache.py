"""Skipping a step's blocks when little has changed since the last computed step. An approximation, off by default.

Belongs here: deciding when to reuse, and what is reused.
Does not belong here: the blocks (transformer), choosing the threshold (settings).

The rule is that of first-block caching (chengzeyi/ParaAttention, also in diffusers.hooks.first_block_cache): the change
that block 0 makes to its input stands for the change of all. diffusers' own hook keeps its state on the module, so that
two requests on one model would meet; this one is a value of the clip and the guidance branch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2v_pipeline.generation.wan_s2v.ranks import Peers


class StepCache:
    """Of one clip and one guidance branch; make a new one for each.

    Args:
        threshold: relative change of block 0's output below which the other blocks are not computed; larger is
            faster and further from the exact result.
        keep_first, keep_last: steps at both ends that are always computed.
        n_steps: of the clip.
        peers: who have the other tokens; all must come to the same decision.
    """

    def __init__(
        self, threshold: float, *, n_steps: int, keep_first: int = 2, keep_last: int = 1, peers: Peers | None = None
    ) -> None:
        if threshold <= 0:
            raise ValueError(f"a step cache needs a positive threshold; got {threshold}")
        self._threshold = threshold
        self._always = set(range(keep_first)) | set(range(n_steps - keep_last, n_steps))
        self._peers = peers
        self._step = -1
        self._first_output: Tensor | None = None
        self._pending: Tensor | None = None
        self._rest: Tensor | None = None
        self.n_reused = 0

    def reuse(self, after_first: Tensor) -> Tensor | None:
        """The hidden state after all blocks, from this step's state after block 0; None if it must be computed."""
        self._step += 1
        if (
            self._step not in self._always
            and self._first_output is not None
            and self._rest is not None
            and self._change(after_first, self._first_output) < self._threshold
        ):
            self.n_reused += 1
            return after_first + self._rest
        self._pending = after_first
        return None

    def _change(self, now: Tensor, before: Tensor) -> float:
        """Mean change relative to the mean size."""
        change, size = (now - before).abs().mean(), before.abs().mean()
        if self._peers is not None:
            change, size = self._peers.total(torch.stack((change, size))).unbind()
        return float(change / size)

    def keep(self, after_all: Tensor) -> None:
        """Remember what the other blocks added in this step."""
        if self._pending is None:
            raise RuntimeError("keep() belongs to a reuse() that said None")
        self._first_output, self._rest, self._pending = self._pending, after_all - self._pending, None
