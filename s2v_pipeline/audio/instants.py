"""Windows of sound around instants, a block of them at a time.

Belongs here: cutting many windows without a copy of the whole sound.
Does not belong here: what is measured in a window (features, pitch).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def windows_at(
    samples: NDArray[np.float32], starts: NDArray[np.int64], length: int, *, block: int
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """(which starts, their windows (n, length) float64), `block` starts at a time; silence outside the sound.

    Memory grows with `block` and with how far the starts of one block lie apart, not with the length of the sound.
    """
    for first in range(0, starts.size, block):
        which = slice(first, min(first + block, starts.size))
        low, high = int(starts[which].min()), int(starts[which].max()) + length
        heard = samples[max(0, low) : max(0, high)]
        near = np.zeros(high - low, np.float64)
        near[max(0, -low) : max(0, -low) + heard.size] = heard
        yield which, near[(starts[which, None] - low) + np.arange(length)]
