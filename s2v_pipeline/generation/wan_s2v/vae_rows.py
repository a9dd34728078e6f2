"""The rows of a picture that one rank has, and the rows of its neighbours that a convolution also sees.

Belongs here: who has which rows at each size, the exchange of edges, the whole picture from all parts.
Does not belong here: the layers (vae_tail), forming groups (ranks).

Unlike tiles, which overlap and approximate, edges are exchanged before every convolution: the result is that of whole
pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from s2v_pipeline.generation.wan_s2v.ranks import Peers

_ROWS = -2  # the axis, in pictures (frames, channels, h, w) and in video (1, channels, frames, h, w)


class Rows:
    """Rows of pictures whose height is a multiple of the number of latent rows.

    Args:
        peers: who have the others, from top to bottom.
        latent_rows: of the whole picture; at least one a peer.
    """

    def __init__(self, peers: Peers, latent_rows: int) -> None:
        if latent_rows < peers.n:
            raise ValueError(f"{peers.n} ranks need a latent row each; got {latent_rows}")
        self._peers = peers
        self._latent_rows = latent_rows
        # As even as it goes; the first ones have the row more.
        each, more = divmod(latent_rows, peers.n)
        self._counts = [each + (index < more) for index in range(peers.n)]

    def own(self, whole: Tensor) -> Tensor:
        """This rank's rows of whole pictures of any size."""
        scale = self._scale(whole.shape[_ROWS], self._latent_rows)
        start = sum(self._counts[: self._peers.index]) * scale
        return whole.narrow(_ROWS, start, self._counts[self._peers.index] * scale)

    def whole(self, own: Tensor) -> Tensor:
        """Whole pictures on every rank."""
        scale = self._scale(own.shape[_ROWS], self._counts[self._peers.index])
        filled = functional.pad(own, (0, 0, 0, max(self._counts) * scale - own.shape[_ROWS]))
        parts = self._peers.gather(filled)
        return torch.cat([part.narrow(_ROWS, 0, n * scale) for part, n in zip(parts, self._counts, strict=True)], _ROWS)

    def with_edges(self, own: Tensor, *, above: int, below: int) -> Tensor:
        """Own rows with so many (0 or 1) of the neighbours'; zeros beyond the picture, as a convolution pads."""
        top, bottom = own.narrow(_ROWS, 0, 1), own.narrow(_ROWS, own.shape[_ROWS] - 1, 1)
        edges = self._peers.gather(torch.cat((top, bottom), _ROWS))
        shape = list(own.shape)
        shape[_ROWS] += above + below
        wide = torch.empty(shape, dtype=own.dtype, device=own.device, memory_format=_layout(own))
        wide.narrow(_ROWS, above, own.shape[_ROWS]).copy_(own)
        index = self._peers.index
        if above:
            _fill(wide.narrow(_ROWS, 0, 1), edges[index - 1].narrow(_ROWS, 1, 1) if index else None)
        if below:
            is_last = index == self._peers.n - 1
            _fill(wide.narrow(_ROWS, -1, 1), None if is_last else edges[index + 1].narrow(_ROWS, 0, 1))
        return wide

    def _scale(self, rows: int, latent_rows: int) -> int:
        scale, rest = divmod(rows, latent_rows)
        if rest or not scale:
            raise ValueError(f"rows must be a multiple of the {latent_rows} latent rows; got {rows}")
        return scale


def _fill(place: Tensor, row: Tensor | None) -> None:
    if row is None:
        place.zero_()
    else:
        place.copy_(row)


def _layout(x: Tensor) -> torch.memory_format:
    """Channels innermost where they are so: the convolutions are written for it."""
    layout = torch.channels_last_3d if x.dim() == 5 else torch.channels_last
    return layout if x.is_contiguous(memory_format=layout) else torch.contiguous_format
