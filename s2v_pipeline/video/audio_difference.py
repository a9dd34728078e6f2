"""Is the sound of a video the speech that it was made from?

Belongs here: lag, signal-to-noise ratio and difference in length between a video's sound and a speech file.
Does not belong here: what is done about a difference (the asset check), lip sync (picture against sound).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from s2v_pipeline.clips.container import is_webm, open_video
from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.boxes import read_movie_layout
from s2v_pipeline.video.sound import DecodedSound, SoundBlock, SoundFormat, delivered_format, open_flac, remixed

MAX_LAG_S = 0.3  # encoders prime AAC with 1024 to 2112 samples, up to 0.264 s at 8 kHz: a lost edit list shows
_BLOCK_SAMPLES = 2**17  # a few seconds: long against the lags, small in memory
PERFECT_SNR_DB = 200.0  # stands for "no difference": beyond what float32 samples can show


@dataclass(frozen=True)
class AudioDifference:
    """A video's sound against the speech.

    Attributes:
        lag_samples: by how many samples of the video's rate the video's sound comes late, within MAX_LAG_S.
        snr_db: energy of the speech over that of the difference once the lag is taken out; near 0 or below for
            another sound. Silence against silence gives PERFECT_SNR_DB, and sound against silence its negative.
        length_difference_s: exact length of what the video plays less that of the speech.
    """

    lag_samples: int
    snr_db: float
    length_difference_s: Fraction


def audio_difference(video_path: Path, speech_path: Path, *, channels: str = "source") -> AudioDifference:
    """Compare in one pass, block by block; memory does not grow with the length.

    `channels` is what the video must have: those of the speech ("source"), "mono" or "stereo"; the speech is then mixed
    as it is for delivery.
    All lags within MAX_LAG_S are correlated over the whole length; the best one is taken. The difference's energy
    follows from the same sums: |s - v|^2 = |s|^2 + |v|^2 - 2 s.v.

    Raises:
        MediaError: one of the files is not readable, or the video has no sound or other channels.
    """
    edit = None if is_webm(video_path) else read_movie_layout(video_path).track("audio")
    with open_video(video_path) as container, open_flac(speech_path) as (source, speech_stream):
        streams = container.streams.audio
        n_channels = streams[0].codec_context.channels if streams else 0
        spoken_in = SoundFormat(speech_stream.codec_context.sample_rate, speech_stream.codec_context.channels)
        n_wanted = delivered_format(spoken_in, "aac", channels).channels
        if n_channels != n_wanted:
            raise MediaError(
                f"the sound of {video_path.name} must have {n_wanted} channels",
                got=f"{n_channels}",
                cure="Materialise final_videos for this partition again.",
            )
        rate_hz = streams[0].codec_context.sample_rate
        speech, heard = DecodedSound(source, speech_stream, rate_hz), DecodedSound(container, streams[0], rate_hz)
        # A WebM says its end in its last packet, and the decoder keeps to it.
        stop_sample = sys.maxsize if edit is None else int(edit.duration_s * rate_hz)
        played = _until(heard.blocks(), stop_sample)
        with closing(played), closing(speech.blocks()) as blocks:
            spoken = (remixed(block, n_channels) for block in blocks)
            lag_samples, snr_db = _compare(
                _Tape(played, n_channels), _Tape(spoken, n_channels), int(MAX_LAG_S * rate_hz)
            )
    played_s = Fraction(heard.n_samples, rate_hz) if edit is None else edit.duration_s
    return AudioDifference(lag_samples, snr_db, played_s - Fraction(speech.n_samples, spoken_in.rate_hz))


def _until(blocks: Iterator[SoundBlock], stop_sample: int) -> Generator[SoundBlock]:
    """The blocks without what a decoder gives after the end that a player keeps."""
    n_samples = 0
    for block in blocks:
        yield block[:, : max(0, stop_sample - n_samples)]
        n_samples += block.shape[1]


class _Tape:
    """Blocks of any length, read in blocks of one length; zeros follow the end."""

    def __init__(self, blocks: Iterator[SoundBlock], channels: int) -> None:
        self._blocks = blocks
        self._rest: SoundBlock = np.zeros((channels, 0), np.float32)
        self.ended = False

    def read(self, n_samples: int) -> NDArray[np.float64]:
        """(channels, n_samples)."""
        parts, n_found = [self._rest], self._rest.shape[1]
        while n_found < n_samples and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                parts.append(block)
                n_found += block.shape[1]
        found = np.concatenate(parts, axis=1)
        self._rest = found[:, n_samples:]
        return np.pad(found[:, :n_samples].astype(np.float64), ((0, 0), (0, max(0, n_samples - n_found))))


def _compare(played: _Tape, spoken: _Tape, max_lag_samples: int) -> tuple[int, float]:
    """(lag of the played sound in samples, SNR in dB at that lag)."""
    first = played.read(max_lag_samples)
    window = np.concatenate([np.zeros_like(first), first], axis=1)
    products = np.zeros(2 * max_lag_samples + 1)
    played_energy, spoken_energy = float(np.sum(first**2)), 0.0
    while not (played.ended and spoken.ended):
        block, ahead = spoken.read(_BLOCK_SAMPLES), played.read(_BLOCK_SAMPLES)
        window = np.concatenate([window, ahead], axis=1)
        for heard, said in zip(window, block, strict=True):
            products += correlate(heard, said, mode="valid", method="fft")
        played_energy += float(np.sum(ahead**2))
        spoken_energy += float(np.sum(block**2))
        window = window[:, -2 * max_lag_samples :]

    best = int(np.argmax(products))
    if products[best] <= products[max_lag_samples]:
        best = max_lag_samples  # silence has no lag
    difference_energy = spoken_energy + played_energy - 2 * float(products[best])
    return best - max_lag_samples, _ratio_db(spoken_energy, difference_energy)


def _ratio_db(energy: float, difference_energy: float) -> float:
    if difference_energy <= energy * 10 ** (-PERFECT_SNR_DB / 10):
        return PERFECT_SNR_DB
    if energy <= difference_energy * 10 ** (-PERFECT_SNR_DB / 10):
        return -PERFECT_SNR_DB
    return 10 * math.log10(energy / difference_energy)
