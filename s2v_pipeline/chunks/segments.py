"""Where speech pauses so long that a chain of chunks may start anew there.

Belongs here: pauses and the frames at which they are cut.
Does not belong here: finding speech (audio), the plan of chunks (plan).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

_ROUNDING_S = 1e-6  # ends of speech are sums of floats; a pause of exactly the wanted length counts


def pause_cuts(
    speech: Sequence[Sequence[float]], *, least_pause_s: float, n_frames: int, fps: Fraction
) -> tuple[int, ...]:
    """Frames at which a segment starts, but for the first: the ones nearest to the middle of each long pause.

    A pause lies between two spans of speech: silence before the first and after the last one is none.

    Args:
        speech: (start_s, end_s) of each span, in order.
        least_pause_s: shortest pause that is cut; 0 cuts none.
        n_frames: of the video; no segment is empty.
        fps: frames a second.
    """
    cuts: list[int] = []
    if least_pause_s > 0:
        for (_, pause_start_s), (pause_stop_s, _) in pairwise(speech):
            middle_s = (Fraction(pause_start_s) + Fraction(pause_stop_s)) / 2
            cut = int(middle_s * fps + Fraction(1, 2))
            is_long = pause_stop_s - pause_start_s >= least_pause_s - _ROUNDING_S
            if is_long and (cuts[-1] if cuts else 0) < cut < n_frames:
                cuts.append(cut)
    return tuple(cuts)
