"""Hearing and placing with a CTC network: the piecewise aligner's `PassageSearch` for any language of a checkpoint.

Belongs here: posteriors of a speech on one grid of frames, words and phones placed in them.
Does not belong here: the network (ctc), the search through frames (ctc_paths), how words are spelt (ctc_words).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.alignment.aligner import PhoneRow
from s2v_pipeline.alignment.ctc_paths import LabelSpan, best_symbols, place_labels, times_of
from s2v_pipeline.alignment.ctc_words import WordReader, phone_columns, spread
from s2v_pipeline.alignment.passage_search import Word
from s2v_pipeline.alignment.pocketsphinx_aligner import Phones
from s2v_pipeline.alignment.recogniser_aligner import HeardWord
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.audio.voice_activity import Segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform

if TYPE_CHECKING:
    from s2v_pipeline.alignment.ctc import CtcModel

CONTEXT_S = 1.0
"""What the network hears before and after a piece that was cut within speech: some words."""

LEAST_HEARD = 0.3
"""Least mean probability of a symbol that counts as heard: below it another one is about as likely, as in the glide
from one sound to the next."""

WORD_GAP_S = 0.2
"""Nothing heard for so long parts words where the checkpoint has no mark between them."""

_SURE, _NEVER = 0.0, -20.0  # log probabilities where no speech is: of the blank, and of all else
_STORED = np.dtype("<f2")  # 1 % of a probability is exact enough, and any machine's rounding is below it


@dataclass
class _Posteriors:
    """Log posteriors of the pieces heard so far, in a file of their own: an hour has 14 MB with 40 symbols, 1 GB with
    3000."""

    n_symbols: int
    blank: int
    pieces: list[tuple[int, int, int]] = field(default_factory=list)  # first frame, frames, offset in the file
    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def add(self, first: int, values: NDArray[np.float32]) -> None:
        self.pieces.append((first, len(values), self.file.seek(0, 2)))
        self.file.write(values.astype(_STORED).tobytes())

    def between(self, first: int, stop: int) -> NDArray[np.float32]:
        """Frames [first, stop), silent where nothing was heard."""
        found = np.full((stop - first, self.n_symbols), _NEVER, np.float32)
        found[:, self.blank] = _SURE
        for at, n_frames, offset in self.pieces:
            low, high = max(at, first), min(at + n_frames, stop)
            if low < high:
                self.file.seek(offset + (low - at) * self.n_symbols * _STORED.itemsize)
                stored = self.file.read((high - low) * self.n_symbols * _STORED.itemsize)
                found[low - first : high - first] = np.frombuffer(stored, _STORED).reshape(-1, self.n_symbols)
        return found


class CtcSearch:
    """See `PassageSearch`. Frames lie on one grid through the whole speech: frame g begins at sample hop g + offset.

    Args:
        model: network and vocabulary.
        language: of the transcript, as in the settings.
        segments: of speech.
    """

    method = "ctc checkpoint with transcript"
    late_s = 0.0
    # Confidence is the mean probability of what is said. With the tests' tiny checkpoint right words have 0.3 to 0.5,
    # wrong ones 0.01 to 0.02; a large one is surer of the right ones.
    min_fit = 0.1
    min_fit_of_heard = 0.05
    min_fit_of_half_heard: float | None = None

    def __init__(self, model: CtcModel, language: str, segments: Segments) -> None:
        self._model = model
        self._reader = WordReader(model.vocabulary, language)
        self._posteriors = _Posteriors(len(model.vocabulary.tokens), model.vocabulary.blank)
        self._columns = phone_columns(model.vocabulary)
        self._is_letters = model.vocabulary.kind == "characters"
        edges_s = [-math.inf, *(edge for segment in segments for edge in segment), math.inf]
        self._pauses: Segments = tuple(zip(edges_s[0::2], edges_s[1::2], strict=True))

    def close(self) -> None:
        """Lets go of what was heard."""
        self._posteriors.file.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """How letters became phones, where no dictionary said it."""
        return self._reader.notes

    def words(self, transcript: str) -> tuple[list[Word], tuple[str, ...]]:
        """See `PassageSearch`."""
        return self._reader.words_of(transcript)

    def phones(self, word: Word) -> Phones:
        """See `PassageSearch`."""
        return word[1] or ()

    def hear(self, waveform: Waveform, start_s: float, end_s: float) -> tuple[list[HeardWord], str | None]:
        """See `PassageSearch`."""
        first, stop = self._frames(waveform, start_s, end_s)
        self._posteriors.add(first, self._listen(waveform, first, stop))
        values = self._posteriors.between(first, stop)
        best = best_symbols(values, self._model.vocabulary.blank)
        spans = [span for span in best if span.score >= math.log(LEAST_HEARD)]
        words = self._heard_words(spans, self._start_s(waveform, first, start_s), start_s)
        return words, None if words else "the checkpoint heard nothing"

    def place(self, waveform: Waveform, start_s: float, end_s: float, words: Sequence[Word]) -> list[PhoneRow]:
        """See `PassageSearch`."""
        first, stop = self._frames(waveform, start_s, end_s)
        said = [self._labels(text, phones or ()) for text, phones in words]
        labels = [label for word in said for label in word]
        values = self._posteriors.between(first, stop)
        gaps = np.zeros(len(labels) + 1, np.bool_)
        gaps[np.cumsum([0, *map(len, said)])] = True
        emissions = values if self._is_letters else self._by_phone(values)
        spans = place_labels(emissions, self._between(values), labels, gaps)
        if spans is None:
            raise AlignmentError(
                "the words must fit the sound",
                got=f"{len(labels)} sounds in {end_s - start_s:.2f} s",
                cure="Check that the transcript holds what is said, in order; or remove it.",
            )
        times = self._times(spans, self._start_s(waveform, first, start_s), start_s)
        return list(self._rows(words, said, spans, times))

    def place_heard(
        self, waveform: Waveform, start_s: float, end_s: float, heard: Sequence[HeardWord], why_none: str | None
    ) -> tuple[list[PhoneRow], str | None]:
        """See `PassageSearch`."""
        if not heard:
            return [], f"{why_none}; the mouth stays shut there"
        words: list[Word] = [(word.ipa, tuple(phone for phone, _, _ in word.phones)) for word in heard]
        try:
            return self.place(waveform, start_s, end_s, words), None
        except AlignmentError as error:
            rows = [
                PhoneRow(phone, at_s, to_s, word.ipa, index)
                for index, word in enumerate(heard)
                for phone, at_s, to_s in word.phones
            ]
            return rows, f"the heard symbols could not be placed ({error.got}); their own times"

    def _frames(self, waveform: Waveform, start_s: float, end_s: float) -> tuple[int, int]:
        """Frames whose middle lies in a part."""
        hop, middle = self._model.hop_samples, self._model.offset_samples + self._model.hop_samples / 2
        first, stop = (math.ceil((time_s * waveform.rate_hz - middle) / hop) for time_s in (start_s, end_s))
        n_frames = max(0, (len(waveform.samples) - self._model.receptive_samples) // hop + 1)
        return min(max(0, first), n_frames), min(max(0, stop), n_frames)

    def _listen(self, waveform: Waveform, first: int, stop: int) -> NDArray[np.float32]:
        """Log posteriors of frames [first, stop), heard with their surroundings."""
        model = self._model
        context = math.ceil(CONTEXT_S * waveform.rate_hz / model.hop_samples)
        heard_from = max(0, first - context)
        until = (stop + context - 1) * model.hop_samples + model.receptive_samples
        found = model.log_posteriors(waveform.samples[heard_from * model.hop_samples : until])
        return found[first - heard_from : stop - heard_from]

    def _start_s(self, waveform: Waveform, first: int, start_s: float) -> float:
        """When frame `first` begins, from the start of the part at `start_s`."""
        origin = round(start_s * waveform.rate_hz)
        return (first * self._model.hop_samples + self._model.offset_samples - origin) / waveform.rate_hz

    def _times(self, spans: Sequence[LabelSpan], first_s: float, part_s: float) -> list[tuple[float, float]]:
        pauses = tuple((start_s - part_s, end_s - part_s) for start_s, end_s in self._pauses)
        return times_of(spans, frame_s=self._model.hop_samples / SPEECH_RATE_HZ, start_s=first_s, pauses=pauses)

    def _between(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        blank = values[:, self._model.vocabulary.blank]
        delimiter = self._model.vocabulary.delimiter
        mark = blank if delimiter is None else np.maximum(blank, values[:, delimiter])
        return np.stack([blank, mark], axis=1)

    def _by_phone(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(frames, 39): how probable any symbol of each phone is."""
        return np.stack([np.logaddexp.reduce(values[:, numbers], axis=1) for numbers in self._columns.values()], axis=1)

    def _labels(self, text: str, phones: Phones) -> list[int]:
        if self._is_letters:
            return self._reader.labels(text)
        names = list(self._columns)
        return [names.index(phone) for phone in phones]

    def _rows(
        self,
        words: Sequence[Word],
        said: Sequence[Sequence[int]],
        spans: Sequence[LabelSpan],
        times: Sequence[tuple[float, float]],
    ) -> Iterator[PhoneRow]:
        edges = np.cumsum([0, *map(len, said)])
        for index, ((text, phones), (first, stop)) in enumerate(zip(words, pairwise(edges), strict=True)):
            scores = [min(0.0, span.score) for span in spans[first:stop]]
            placed = self._shared(phones or (), times[first:stop])
            if self._is_letters:
                scores = [float(np.mean(scores))] * len(placed)
            for (phone, from_s, until_s), score in zip(placed, scores, strict=True):
                yield PhoneRow(phone, from_s, until_s, text, index, math.exp(score))

    def _shared(self, phones: Phones, times: Sequence[tuple[float, float]]) -> list[tuple[str, float, float]]:
        """Phones of a word in the times of its labels."""
        if self._is_letters:
            return spread(phones, times)
        return [(phone, from_s, until_s) for phone, (from_s, until_s) in zip(phones, times, strict=True)]

    def _heard_words(self, spans: Sequence[LabelSpan], first_s: float, part_s: float) -> list[HeardWord]:
        """Symbols that were heard as words: parted by the checkpoint's mark between words, or by a pause."""
        times = self._times(spans, first_s, part_s)
        groups: list[list[int]] = [[]]
        for at, span in enumerate(spans):
            is_mark = span.label == self._model.vocabulary.delimiter
            if is_mark or (groups[-1] and times[at][0] - times[groups[-1][-1]][1] >= WORD_GAP_S):
                groups.append([])
            if not is_mark and self._model.vocabulary.tokens[span.label]:
                groups[-1].append(at)
        return [word for word in (self._heard_word(spans, times, group) for group in groups if group) if word.phones]

    def _heard_word(
        self, spans: Sequence[LabelSpan], times: Sequence[tuple[float, float]], group: Sequence[int]
    ) -> HeardWord:
        tokens = [self._model.vocabulary.tokens[spans[at].label] for at in group]
        text = "".join(tokens)
        if self._is_letters:
            text = text.lower()
            phones = self._reader.phones_of(text)
            return HeardWord(text, tuple(spread(phones, [times[at] for at in group])) if phones else ())
        heard: list[tuple[str, float, float]] = []
        for at in group:
            sounds = self._model.vocabulary.phones[spans[at].label]
            heard.extend(spread(sounds, [times[at]]) if sounds else ())
        return HeardWord(text, tuple(heard))
