"""Searching in CTC posteriors: the best path through known labels, the best symbols without any, and their times.

Belongs here: Viterbi over the blank-extended labels, greedy decoding, spans of time from frames.
Does not belong here: the network (ctc), what labels mean (ctc_vocabulary, ctc_search).

A. Graves, S. Fernandez, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification", ICML 2006: between any two
labels, before the first and after the last there may be blanks, and a label may last several frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.voice_activity import Segments

MAX_SHARE_S = 0.12
"""Most of the blanks on one side that belongs to a label. CTC networks name a sound in one or two frames and say blank
for the rest of it; the longest sounds, stressed vowels before a pause, last 0.25 s."""

_NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class LabelSpan:
    """Frames [first, stop) in which a label is said, and the mean of its log probabilities there."""

    label: int
    first: int
    stop: int
    score: float


def place_labels(
    emissions: NDArray[np.float32], between: NDArray[np.float32], labels: Sequence[int], gaps: NDArray[np.bool_]
) -> list[LabelSpan] | None:
    """The most probable way to say `labels`, all of them, in order; None where there are too few frames.

    Args:
        emissions: (frames, kinds of label) log probabilities.
        between: (frames, 2) log probabilities of what may stand between labels: of a blank, and of the better of a
            blank and a mark between words.
        labels: column of `emissions` for each label.
        gaps: (len(labels) + 1,) True before and after words, where the mark may stand.
    """
    n_frames, n_states = len(emissions), 2 * len(labels) + 1
    numbers = np.asarray(labels, np.int64)
    if not labels or n_frames < len(labels) + int(np.count_nonzero(numbers[1:] == numbers[:-1])):
        return None
    # State 2 k + 1 is label k; the even ones are the gaps between.
    scores = np.empty((n_frames, n_states), np.float32)
    scores[:, 0::2] = between[:, gaps.astype(np.int64)]
    scores[:, 1::2] = emissions[:, numbers]
    may_skip = np.zeros(n_states, np.bool_)
    may_skip[3::2] = numbers[1:] != numbers[:-1]  # the same label twice needs a blank between
    steps = np.zeros((n_frames, n_states), np.uint8)  # how many states back the path came from
    best = np.full(n_states, _NEVER, np.float32)
    best[:2] = scores[0, :2]
    for frame in range(1, n_frames):
        one, two = np.full_like(best, _NEVER), np.full_like(best, _NEVER)
        one[1:] = best[:-1]
        two[2:] = np.where(may_skip[2:], best[:-2], _NEVER)
        step = steps[frame]
        step[one > best] = 1
        reached = np.maximum(best, one)
        step[two > reached] = 2
        best = np.maximum(reached, two) + scores[frame]
    state = n_states - 1 if best[-1] >= best[-2] else n_states - 2
    path = np.empty(n_frames, np.int64)
    for frame in range(n_frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    spans = []
    for position in range(len(labels)):
        frames = np.flatnonzero(path == 2 * position + 1)
        score = float(np.mean(scores[frames, 2 * position + 1], dtype=np.float64))
        spans.append(LabelSpan(position, int(frames[0]), int(frames[-1]) + 1, score))
    return spans


def best_symbols(log_posteriors: NDArray[np.float32], blank: int) -> list[LabelSpan]:
    """The most probable symbol of each frame, repeats joined and blanks left out; `label` is the symbol's number."""
    symbols = np.argmax(log_posteriors, axis=1)
    if not symbols.size:
        return []
    edges = np.flatnonzero(np.diff(symbols, prepend=-1))
    stops = np.append(edges[1:], len(symbols))
    return [
        LabelSpan(
            int(symbols[first]),
            int(first),
            int(stop),
            float(log_posteriors[first:stop, symbols[first]].mean(dtype=float)),
        )
        for first, stop in zip(edges, stops, strict=True)
        if symbols[first] != blank
    ]


def times_of(
    spans: Sequence[LabelSpan], *, frame_s: float, start_s: float, pauses: Segments
) -> list[tuple[float, float]]:
    """(start_s, end_s) of each span: blanks between neighbours are shared half and half, up to `MAX_SHARE_S` each.

    Args:
        spans: in order.
        frame_s: length of a frame.
        start_s: when frame 0 begins.
        pauses: known silences on the same clock; a label does not reach over the edge of one from outside.
    """
    times = [(start_s + span.first * frame_s, start_s + span.stop * frame_s) for span in spans]
    shared: list[tuple[float, float]] = []
    for index, (first_s, last_s) in enumerate(times):
        before_s = (times[index - 1][1] + first_s) / 2 if index else first_s - MAX_SHARE_S
        after_s = (last_s + times[index + 1][0]) / 2 if index + 1 < len(times) else last_s + MAX_SHARE_S
        begin_s, end_s = max(before_s, first_s - MAX_SHARE_S), min(after_s, last_s + MAX_SHARE_S)
        for pause_start_s, pause_end_s in pauses:
            if begin_s < pause_end_s <= first_s:
                begin_s = pause_end_s
            if last_s <= pause_start_s < end_s:
                end_s = pause_start_s
        shared.append((begin_s, end_s))
    return shared
