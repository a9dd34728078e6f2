"""A picture of an alignment, for people to judge it by.

Belongs here: drawing waveform, pitch, speech, words and phones on one time axis, and the whole of a long recording.
Does not belong here: computing any of them, colours of other pictures.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import ArrayLike, NDArray

from s2v_pipeline.alignment.judging import MIN_FIT
from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.pitch import MAX_F0_HZ
from s2v_pipeline.audio.voice_activity import ENTER_PROBABILITY
from s2v_pipeline.media import Waveform

ROW_S = 2.0
"""Time a row shows: about 25 phones, whose names are still legible side by side."""

MAX_ROWS = 10
"""Rows at most, so that the picture of an hour is as small as that of 20 s."""

_WIDTH_IN, _ROW_IN, _DPI = 6.8, 1.95, 100  # 680 px: what the Dagster UI leaves for a picture on a usual screen
_TITLE_IN, _OVERVIEW_IN = 0.5, 1.15
_TICKS_IN, _LEFT_IN, _RIGHT_IN = 0.3, 0.18, 0.38  # room for the times below a row, and for the pitches beside it
_COLUMNS = 680  # one minimum and one maximum a pixel column stand for the samples in it
_LETTER_S = 0.0022  # width of a letter of one point
_PHONE_SIZES, _WORD_SIZES = (8.0, 7.0, 6.0, 5.0), (9.0, 8.0, 7.0, 6.0)  # points; the first that fits is taken
_LEAST_LETTERS = 4  # of a word that is cut, the ellipsis included; less says nothing
_QUIET_DB, _LOUD_DB = -60.0, 0.0  # range of the overview's level
_OVERVIEW_TICKS_S = (5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400)
_MOST_TICKS = 8
# Heights of the bands in a row, as fractions of it, from below.
_PHONES, _WORDS, _SOUND = (0.0, 0.16), (0.16, 0.33), (0.37, 1.0)
_PHONE_COLOUR = "#dfe6ee"
_WORD_COLOURS = ("#cfe3f7", "#f7e3c4")
_BAD_COLOUR, _BAD_EDGE = "#f6b5ab", "#b3261e"
_SPEECH_COLOUR, _WAVE_COLOUR, _PITCH_COLOUR = "#e3f4e1", "#8fa0b6", "#c0392b"
_MISSING = "\u25a1"

Boxes = list[tuple[float, float]]


def draw_alignment(
    waveform: Waveform, features: pd.DataFrame, phonemes: pd.DataFrame, path_png: Path, words: pd.DataFrame
) -> None:
    """Write a PNG of the first 20 s at most, in rows of 2 s, under an overview of the whole where that is longer.

    Args:
        waveform: the speech, any rate.
        features: with `time_s`, `rms_db`, `speech_probability`, `f0_hz`; speech is shaded, pitch drawn as dots.
        phonemes: with `phone`, `start_s`, `end_s`, `confidence` as in `Alignment`.
        path_png: where to write; not atomic by itself.
        words: with `word`, `spoken`, `start_s`, `end_s`, `confidence`: named as written, or in italics as spoken; red
            below the least fit that is believed.

    Raises:
        OSError: the file cannot be written.
    """
    duration_s = float(waveform.duration_s)
    n_rows = max(1, min(MAX_ROWS, int(np.ceil(duration_s / ROW_S))))
    shown_s = n_rows * ROW_S
    overview_in = _OVERVIEW_IN if duration_s > shown_s else 0.0
    height_in = _TITLE_IN + overview_in + n_rows * _ROW_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.text(
        0.5,
        1 - 0.06 / height_in,
        "waveform, pitch in Hz (red dots), speech (green), words (in italics: as heard), phones\n"
        f"red: words that fit the sound badly (confidence below {MIN_FIT})"
        + (f"; the first {shown_s:.0f} s of {_clock(duration_s)} below" if overview_in else ""),
        ha="center",
        va="top",
        fontsize=8,
    )
    if overview_in:
        axes = _axes(figure, height_in, _TITLE_IN, overview_in)
        _draw_overview(axes, features, words, duration_s, shown_s)
    # Scaled to the whole speech's peak, so that rows can be compared.
    peak = max(float(np.max(waveform.samples)), -float(np.min(waveform.samples)), 1e-6)
    for row in range(n_rows):
        axes = _axes(figure, height_in, _TITLE_IN + overview_in + row * _ROW_IN, _ROW_IN)
        start_s = row * ROW_S
        _set_up(axes, start_s)
        _draw_sound(axes, waveform, start_s, peak)
        _draw_features(axes, features, start_s)
        _draw_phones(axes, phonemes, start_s)
        _draw_words(axes, words, start_s)
    figure.savefig(path_png, format="png", metadata={"Software": None})


def _axes(figure: Figure, height_in: float, top_in: float, row_in: float) -> Axes:
    """Axes of a row that starts `top_in` below the picture's top."""
    width = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / _WIDTH_IN
    bottom = 1 - (top_in + row_in - _TICKS_IN) / height_in
    return figure.add_axes((_LEFT_IN / _WIDTH_IN, bottom, width, (row_in - _TICKS_IN) / height_in))


def _draw_overview(axes: Axes, features: pd.DataFrame, words: pd.DataFrame, duration_s: float, shown_s: float) -> None:
    """Level and speech of the whole recording, badly fitting words below, and a frame around what the rows show."""
    axes.set_xlim(0, duration_s)
    axes.set_ylim(0, 1)
    step_s = next((step for step in _OVERVIEW_TICKS_S if duration_s / step <= _MOST_TICKS), _OVERVIEW_TICKS_S[-1])
    ticks_s = np.arange(0, duration_s + 1e-9, step_s)
    axes.set_xticks(ticks_s, [_clock(float(tick_s)) for tick_s in ticks_s])
    axes.set_yticks([])
    axes.tick_params(labelsize=7)
    starts = np.unique(np.linspace(0, len(features), _COLUMNS, endpoint=False).astype(np.int64))
    times_s = np.append(features["time_s"].to_numpy()[starts], duration_s)
    loudest_db = np.maximum.reduceat(features["rms_db"].to_numpy(), starts)
    level = np.clip((loudest_db - _QUIET_DB) / (_LOUD_DB - _QUIET_DB), 0, 1)
    likeliest = np.maximum.reduceat(features["speech_probability"].to_numpy(), starts)
    speech = np.append(likeliest, 0) >= ENTER_PROBABILITY
    axes.fill_between(times_s, 0, 1, where=list(speech), color=_SPEECH_COLOUR, step="post", linewidth=0, zorder=0)
    axes.fill_between(times_s, 0.12, 0.12 + 0.88 * np.append(level, 0), color=_WAVE_COLOUR, step="post", linewidth=0)
    bad_s = words["start_s"].to_numpy()[(words["confidence"] < MIN_FIT).to_numpy()]
    axes.vlines(bad_s, 0, 0.1, color=_BAD_EDGE, linewidth=1)
    axes.axvspan(0, shown_s, facecolor="none", edgecolor="black", linewidth=1.2, zorder=3)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"


def _set_up(axes: Axes, start_s: float) -> None:
    axes.set_xlim(start_s, start_s + ROW_S)
    axes.set_ylim(0.0, 1.0)
    axes.set_xticks(np.arange(start_s, start_s + ROW_S + 0.01, 0.5))
    axes.tick_params(labelsize=8)
    axes.yaxis.tick_right()
    pitches_hz = (100, 200, 300, 400)
    axes.set_yticks(_from_hz(pitches_hz), [str(pitch_hz) for pitch_hz in pitches_hz])
    axes.tick_params(axis="y", labelsize=7, colors=_PITCH_COLOUR)


def _from_hz(f0_hz: ArrayLike) -> NDArray[np.float64]:
    low, high = _SOUND
    return low + (high - low) * np.asarray(f0_hz, np.float64) / MAX_F0_HZ


def _draw_sound(axes: Axes, waveform: Waveform, start_s: float, peak: float) -> None:
    first, stop = round(start_s * waveform.rate_hz), round((start_s + ROW_S) * waveform.rate_hz)
    samples = waveform.samples[first:stop]
    if not samples.size:
        return
    starts = np.unique(np.linspace(0, samples.size, _COLUMNS, endpoint=False).astype(np.int64))
    lows, highs = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    middle, half = sum(_SOUND) / 2, (_SOUND[1] - _SOUND[0]) / 2
    times_s = start_s + starts / waveform.rate_hz
    axes.fill_between(
        times_s, middle + half * lows / peak, middle + half * highs / peak, color=_WAVE_COLOUR, linewidth=0.4, zorder=2
    )


def _draw_features(axes: Axes, features: pd.DataFrame, start_s: float) -> None:
    near = features[(features["time_s"] >= start_s - 0.1) & (features["time_s"] <= start_s + ROW_S + 0.1)]
    times_s = near["time_s"].to_numpy()
    speech = (near["speech_probability"] >= ENTER_PROBABILITY).to_numpy()
    axes.fill_between(times_s, _SOUND[0], _SOUND[1], where=list(speech), color=_SPEECH_COLOUR, step="mid", zorder=0)
    voiced = near[near["f0_hz"] > 0]
    axes.plot(
        voiced["time_s"].to_numpy(), _from_hz(voiced["f0_hz"].to_numpy()), ".", color=_PITCH_COLOUR, ms=4, zorder=3
    )


def _draw_phones(axes: Axes, phonemes: pd.DataFrame, start_s: float) -> None:
    shown = phonemes[
        (phonemes["end_s"] > start_s) & (phonemes["start_s"] < start_s + ROW_S) & (phonemes["phone"] != SILENCE)
    ]
    spans = list(zip(shown["start_s"].tolist(), shown["end_s"].tolist(), strict=True))
    _draw_boxes(axes, spans, _PHONES, _PHONE_COLOUR)
    for span, phone, confidence in zip(spans, shown["phone"].tolist(), shown["confidence"].tolist(), strict=True):
        # A badly fitting phone is drawn in paler type.
        _name(axes, span, _PHONES, phone, _PHONE_SIZES, alpha=0.35 + 0.65 * confidence)


def _draw_words(axes: Axes, words: pd.DataFrame, start_s: float) -> None:
    shown = words[(words["end_s"] > start_s) & (words["start_s"] < start_s + ROW_S)]
    spans = list(zip(shown["start_s"].tolist(), shown["end_s"].tolist(), strict=True))
    is_bad = (shown["confidence"] < MIN_FIT).tolist()
    # By the word's number in the whole table, so that a word which a row cuts keeps its colour.
    for turn, colour in enumerate(_WORD_COLOURS):
        fitting = [at for at, number in enumerate(shown.index) if number % len(_WORD_COLOURS) == turn]
        _draw_boxes(axes, (spans[at] for at in fitting if not is_bad[at]), _WORDS, colour)
    _draw_boxes(axes, (span for span, bad in zip(spans, is_bad, strict=True) if bad), _WORDS, _BAD_COLOUR)
    for span, written, spoken in zip(spans, shown["word"].tolist(), shown["spoken"].tolist(), strict=True):
        _name(axes, span, _WORDS, written or spoken, _WORD_SIZES, style="normal" if written else "italic")


def _draw_boxes(axes: Axes, spans: Iterable[tuple[float, float]], band: tuple[float, float], colour: str) -> None:
    widths = [(from_s, until_s - from_s) for from_s, until_s in spans]
    low, high = band
    axes.broken_barh(widths, (low, high - low), facecolors=colour, edgecolors="white", linewidth=0.8, zorder=1)


def _name(
    axes: Axes,
    span: tuple[float, float],
    band: tuple[float, float],
    text: str,
    sizes: tuple[float, ...],
    *,
    alpha: float = 1.0,
    style: str = "normal",
) -> None:
    """The name in the middle of the part of its box that the row shows, in the largest type that fits, or cut."""
    left, right = axes.get_xlim()
    from_s, until_s = max(span[0], left), min(span[1], right)
    letters = (until_s - from_s) / _LETTER_S
    shown = _drawable(text[:_COLUMNS])
    size = next((size for size in sizes if len(shown) * size <= letters), sizes[-1])
    room = int(letters / size)
    if len(shown) > room:
        shown = f"{shown[: room - 1]}\u2026" if room >= _LEAST_LETTERS else ""
    axes.text(
        (from_s + until_s) / 2,
        sum(band) / 2,
        shown,
        ha="center",
        va="center",
        fontsize=size,
        fontstyle=style,
        alpha=alpha,
        clip_on=True,
        parse_math=False,  # $5 to $6 is no formula
        zorder=4,
    )


def _drawable(text: str) -> str:
    """Signs that the font has; matplotlib warns of each other one."""
    font = get_font(findfont(FontProperties()))
    visible = (sign for sign in text if unicodedata.category(sign) not in ("Cf", "Cc", "Cs"))
    return "".join(sign if font.get_char_index(ord(sign)) else _MISSING for sign in visible)
