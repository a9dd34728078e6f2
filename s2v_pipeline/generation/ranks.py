"""One process's place among those that make the same chunk together, each on its own GPU.

Belongs here: the value alone, without torch.
Does not belong here: how work is divided (wan_s2v.ranks), starting the processes (cluster).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """A process of a group.

    Attributes:
        index: 0-based; rank 0 stores what the group makes, the others take part.
        n_ranks: processes of the group.
        address: host:port at which rank 0 listens while the group forms.
        timeout_s: after which a rank that waits for the others gives up, as one of them hangs or is gone.

    Raises:
        ValueError: an index outside of the group.
    """

    index: int
    n_ranks: int
    address: str
    timeout_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.n_ranks:
            raise ValueError(f"a rank must be one of {self.n_ranks}; got {self.index}")
