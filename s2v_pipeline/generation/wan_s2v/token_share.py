"""The tokens of one rank of a sequence, and attention over those of all.

Belongs here: which tokens a rank has, the exchange around self-attention, the whole result from all shares.
Does not belong here: forming groups (ranks), the network (transformer), kernels (attention).

Any number of tokens is divided: the last share is filled up with tokens that nobody attends to. (The official code
sends shares of unequal length through an exchange of equal ones, and at 832x480 on 4 GPUs its result is wrong without
an error.)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend

from s2v_pipeline.generation.wan_s2v.attention import attend
from s2v_pipeline.generation.wan_s2v.ranks import Peers


@dataclass(frozen=True, eq=False)
class TokenShare:
    """Tokens start to stop of all; stop may lie beyond the last one.

    Attributes:
        peers: who has the others.
        n_tokens: of all ranks, without filling.
    """

    peers: Peers
    n_tokens: int

    @property
    def size(self) -> int:
        """Tokens of each rank, with filling."""
        return -(-self.n_tokens // self.peers.n)

    @property
    def start(self) -> int:
        """First token of this rank."""
        return self.peers.index * self.size

    def own(self, tokens: Tensor, axis: int) -> Tensor:
        """This rank's part of a tensor that has all tokens along an axis; filled up with zeros (False)."""
        start = min(self.start, self.n_tokens)
        stop = min(start + self.size, self.n_tokens)
        part = tokens.narrow(axis, start, stop - start)
        missing = self.size - (stop - start)
        if not missing:
            return part.contiguous()
        return functional.pad(part, (0, 0) * (tokens.dim() - 1 - axis) + (0, missing))

    def whole(self, own: Tensor) -> Tensor:
        """(1, size, channels) of each rank -> (1, n_tokens, channels) on every rank."""
        return self.peers.gather(own.squeeze(0)).flatten(0, 1)[None, : self.n_tokens]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kernel: SDPBackend) -> Tensor:
        """Self-attention of own queries over the keys of all ranks.

        Args:
            query, key, value: (1, size, heads, channels) of the own tokens.

        Returns:
            (1, size, heads * channels) of the own tokens.
        """
        # 1. all tokens of a part of the heads
        query, key, value = self._by_heads(query), self._by_heads(key), self._by_heads(value)
        # 2. filling asks, but nobody looks at it
        attended = attend(query, key[:, : self.n_tokens], value[:, : self.n_tokens], kernel)
        # 3. all heads of the own tokens
        parts = self.peers.exchange(attended.reshape(self.peers.n, self.size, -1))
        return parts.transpose(0, 1).flatten(1)[None]

    def _by_heads(self, heads: Tensor) -> Tensor:
        """(1, size, heads, channels) -> (1, n * size, heads / n, channels)."""
        parts = heads.squeeze(0).unflatten(1, (self.peers.n, -1)).transpose(0, 1)
        return self.peers.exchange(parts).flatten(0, 1)[None]
