"""All that one chunk needs, and the key under which it is kept.

Belongs here: the request value and its hash.
Does not belong here: making requests from tables for a whole plan (build), generating.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pandas as pd

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.chunks.speech_window import SpeechWindow
from s2v_pipeline.timebase import FrameSpan

PHONEME_COLUMNS = ("phone", "start_s", "end_s")
"""Columns of `ChunkRequest.phonemes` that a generator may rely on."""

FEATURE_COLUMNS = ("frame", "time_s", "rms_db", "speech_probability", "f0_hz", "onset")
"""Columns of `ChunkRequest.features` that a generator may rely on."""


@dataclass(frozen=True)
class FileRef:
    """A file that a worker reads: where it lies, and the hash that stands for its content in keys."""

    path: Path
    sha256: str


@dataclass(frozen=True, eq=False)
class ChunkRequest:
    """All that one chunk of one input needs; small enough to be sent to a worker.

    Attributes:
        input_id: partition key of the input.
        index: position of the chunk in the plan.
        frames: which frames of the video it makes.
        fps: frames a second.
        width_px, height_px: size of the frames.
        seed: of this chunk alone, for generators that draw noise.
        input_seed: of the input, for what must be continuous over chunks.
        prompt: the user's words.
        portrait: PNG of exactly (height_px, width_px), RGB, the face framed for this size.
        phonemes: rows that touch the chunk or its context, sorted by start: phone (ARPABET without stress, or SIL),
            start_s, end_s. No rows for generators that take no tables.
        features: one row a video frame, for the chunk's frames and its context, sorted by frame. No rows for generators
            that take no tables.
        speech_level_db: loudness of the whole speech's active parts (rms dBFS), rounded to whole dB; 0 for generators
            that take no tables.
        median_f0_hz: of the voiced frames of the whole speech, rounded to 5 Hz; 0 where nothing is voiced, and for
            generators that take no tables.
        sound: the speech itself, for generators that listen to it.
        is_last: whether no chunk continues it, so that nobody needs its carry; only set for chained generators.
        segment_start_frame: first frame of its segment. A chunk that starts there continues nothing.

    Raises:
        ValueError: an empty chunk, a size or rate that is not positive, a segment that starts after it, or a table
            without its columns.
    """

    input_id: str
    index: int
    frames: FrameSpan
    fps: Fraction
    width_px: int
    height_px: int
    seed: int
    input_seed: int
    prompt: str
    portrait: FileRef
    phonemes: pd.DataFrame
    features: pd.DataFrame
    speech_level_db: int
    median_f0_hz: int
    sound: SpeechWindow | None = None
    is_last: bool = False
    segment_start_frame: int = 0

    def __post_init__(self) -> None:
        if not len(self.frames) or self.fps <= 0 or min(self.width_px, self.height_px) <= 0:
            raise ValueError(
                f"a chunk needs frames, a rate and a size; got {self.frames}, {self.fps}, "
                f"{self.width_px}x{self.height_px}"
            )
        if not 0 <= self.segment_start_frame <= self.frames.start_frame:
            raise ValueError(f"a chunk lies in its segment; got {self.frames}, segment at {self.segment_start_frame}")
        for table, columns in ((self.phonemes, PHONEME_COLUMNS), (self.features, FEATURE_COLUMNS)):
            missing = set(columns) - set(table.columns)
            if missing:
                raise ValueError(f"a chunk's tables need the columns {columns}; missing {sorted(missing)}")

    @property
    def continues(self) -> bool:
        """Whether a chained generator makes it from the chunk before."""
        return self.frames.start_frame > self.segment_start_frame

    def key(self, generator_fingerprint: str, carry_key: str = "") -> str:
        """Hash of everything that the chunk's file depends on; paths and the input's name are not part of it.

        Args:
            generator_fingerprint: of what makes it.
            carry_key: key of the chunk before it, where that is needed. So the keys of a whole chain are known before
                anything is made.
        """
        # Names that only some generators use enter where they are used: the keys of the others stay as they are.
        optional: dict[str, object] = {}
        if self.sound is not None:
            optional["sound"] = self.sound.sha256
        if self.is_last:
            optional["is_last"] = True
        if self.frames.start_frame == self.segment_start_frame > 0:
            # Later chunks of the segment depend on it by the key before theirs, and by the sound that they hear.
            optional["starts_anew"] = True
        return content_key(
            {
                "generator": generator_fingerprint,
                "carry": carry_key,
                "frames": [self.frames.start_frame, self.frames.stop_frame],
                "fps": str(self.fps),
                "size_px": [self.width_px, self.height_px],
                "seeds": [self.seed, self.input_seed],
                "prompt": self.prompt,
                "portrait": self.portrait.sha256,
                "phonemes": _table_sha256(self.phonemes, PHONEME_COLUMNS),
                "features": _table_sha256(self.features, FEATURE_COLUMNS),
                "level": [self.speech_level_db, self.median_f0_hz],
                **optional,
            }
        )


def _table_sha256(table: pd.DataFrame, columns: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for column in columns:
        values = table[column]
        digest.update(f"{column}:{len(values)}:".encode())
        if pd.api.types.is_numeric_dtype(values.dtype):
            digest.update(values.to_numpy(dtype="<f8").tobytes())
        else:
            digest.update("\x00".join(str(value) for value in values).encode())
    return digest.hexdigest()


SourceHashes = Mapping[str, str]
"""Name -> hash of what a chunk was made from, as it is written into provenance records."""
