"""How alike two phones are to a recogniser's ear.

Belongs here: the score of every pair of phones.
Does not belong here: the search that adds scores up (matching), what phones look like (phonemes).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.alignment.phonemes import ARPABET, VOWELS

PHONE_NUMBERS: Mapping[str, int] = MappingProxyType({phone: index for index, phone in enumerate(sorted(ARPABET))})
"""Row and column of a phone in `LIKENESS`."""

SAME, ALIKE, KINDRED, UNLIKE = 4, 2, 0, -4
"""Scores of a pair. A gap on either side costs 3 (matching.GAP), so an unlike pair is still cheaper than two gaps, but
a passage of unlike words is dearer than leaving it out."""

_ALIKE = (
    "P B", "T D", "K G", "F V", "TH DH", "S Z", "SH ZH CH JH", "M N NG", "V B", "D DH", "T TH F", "S SH", "Z ZH",
    "W L", "R ER", "Y IY", "W UW", "AA AO AH", "AA AE AY", "AE EH", "AH IH EH UH ER", "IY IH EY", "UW UH OW",
    "AO OW OY", "AW AA OW", "AY EY OY", "T CH", "D JH",
)  # fmt: skip
"""Groups whose members are taken for one another: by voicing, by place, and vowels that neighbour or are reduced."""


def _likeness() -> NDArray[np.int32]:
    scores = np.full((len(PHONE_NUMBERS), len(PHONE_NUMBERS)), UNLIKE, np.int32)
    vowels = [PHONE_NUMBERS[phone] for phone in sorted(VOWELS)]
    scores[np.ix_(vowels, vowels)] = KINDRED
    for group in _ALIKE:
        members = [PHONE_NUMBERS[phone] for phone in group.split()]
        scores[np.ix_(members, members)] = ALIKE
    np.fill_diagonal(scores, SAME)
    scores.flags.writeable = False
    return scores


LIKENESS = _likeness()
"""(39, 39) int32, recognised phone by expected phone."""
