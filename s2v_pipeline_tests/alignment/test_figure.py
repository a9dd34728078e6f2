from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.exports import words_table
from s2v_pipeline.alignment.figure import MAX_ROWS, ROW_S, draw_alignment
from s2v_pipeline.alignment.judging import MIN_FIT
from s2v_pipeline.alignment.written_words import write_words
from s2v_pipeline.audio.features import extract_features
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline_tests.alignment.known_speech import NAMES, joined, load

RED = (0xF6, 0xB5, 0xAB)


def _draw(waveform: Waveform, transcript: str | None, path: Path, *, confidence: float | None = None) -> np.ndarray:
    fps = Fraction(25)
    features = extract_features(waveform, n_frames=frames_for_samples(waveform.samples.size, 16_000, fps), fps=fps)
    alignment = align_speech(waveform, transcript, speech_segments(waveform))
    words = words_table(write_words(alignment.phonemes, transcript, lambda word: word == "it's"))
    if confidence is not None:
        words["confidence"] = confidence
    draw_alignment(waveform, features, alignment.phonemes, path, words)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_two_rows_for_a_sentence_and_the_same_bytes_again(tmp_path: Path) -> None:
    known = load(NAMES[0])
    pixels = _draw(known.waveform, known.transcript, tmp_path / "a.png")
    assert pixels.shape[1] == 680
    assert pixels.shape[0] < 500
    # Red pitch dots and blue word boxes are there.
    assert (np.abs(pixels.astype(int) - (0xC0, 0x39, 0x2B)).sum(axis=2) < 10).sum() > 50
    assert (np.abs(pixels.astype(int) - (0xCF, 0xE3, 0xF7)).sum(axis=2) < 10).sum() > 1000
    _draw(known.waveform, known.transcript, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def _n_pixels(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels.astype(int) - colour).sum(axis=2) < 10).sum())


def test_words_that_fit_badly_are_red(tmp_path: Path) -> None:
    known = load(NAMES[0])
    good = _draw(known.waveform, known.transcript, tmp_path / "a.png", confidence=MIN_FIT)
    bad = _draw(known.waveform, known.transcript, tmp_path / "b.png", confidence=MIN_FIT - 0.01)
    assert _n_pixels(good, RED) < 50  # the rims of letters and dots
    assert _n_pixels(bad, RED) > 5000


def test_odd_writing_is_drawn_without_a_warning(tmp_path: Path) -> None:
    known = load(NAMES[0])
    first, *rest = known.transcript.split()
    odd = " ".join([first, "\U0001f389 $\\frac{1$ \u65e5\u672c", *rest])  # emoji, a broken formula, Japanese
    assert _draw(known.waveform, odd, tmp_path / "a.png").any()


def test_long_speech_has_a_bounded_picture(tmp_path: Path) -> None:
    silence = Waveform(np.zeros(round(16_000 * ROW_S * (MAX_ROWS + 3)), np.float32), 16_000)
    pixels = _draw(joined(load(NAMES[1]).waveform, silence), None, tmp_path / "a.png")
    assert pixels.shape[0] < 400 * MAX_ROWS
    shorter = joined(
        load(NAMES[1]).waveform, Waveform(np.zeros(round(16_000 * (MAX_ROWS * ROW_S - 3)), np.float32), 16_000)
    )
    short = _draw(shorter, None, tmp_path / "b.png")
    assert pixels.shape[0] - short.shape[0] > 80  # the overview of what the rows do not show


def test_silence_is_drawn(tmp_path: Path) -> None:
    assert _draw(Waveform(np.zeros(1600, np.float32), 16_000), None, tmp_path / "a.png").any()
