"""A picture of an alignment, for people to judge it by.

Belongs here: drawing waveform, pitch, speech, words and phones on one time axis.
Does not belong here: computing any of them, colours of other pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from s2v_pipeline.alignment.phonemes import SILENCE
from s2v_pipeline.audio.pitch import MAX_F0_HZ
from s2v_pipeline.audio.voice_activity import ENTER_PROBABILITY
from s2v_pipeline.media import Waveform

ROW_S = 2.0
"""Time a row shows: about 25 phones, whose names are still legible side by side."""

MAX_ROWS = 10
"""Rows at most, so that the picture of an hour is as small as that of 20 s."""

_WIDTH_IN, _ROW_HEIGHT_IN, _DPI = 6.8, 2.0, 100  # 680 px: what the Dagster UI leaves for a picture on a usual screen
_COLUMNS = 680  # one minimum and one maximum a pixel column stand for the samples in it
_LETTER_S = 0.0022  # width of a letter of one point: words that a row cuts do not run into their neighbours
_NARROW_S = 0.035  # phones shorter than this are named in smaller type
# Heights of the bands in a row, as fractions of it, from below.
_PHONES, _WORDS, _SOUND = (0.0, 0.16), (0.16, 0.32), (0.36, 1.0)
_PHONE_COLOUR = "#dfe6ee"
_WORD_COLOURS = ("#cfe3f7", "#f7e3c4")
_SPEECH_COLOUR, _WAVE_COLOUR, _PITCH_COLOUR = "#e3f4e1", "#44546a", "#c0392b"


def draw_alignment(waveform: Waveform, features: pd.DataFrame, phonemes: pd.DataFrame, path_png: Path) -> None:
    """Write a PNG of the first 20 s at most, in rows of 2 s.

    Args:
        waveform: the speech, any rate.
        features: with `time_s`, `speech_probability`, `f0_hz`; speech is shaded, pitch drawn as dots.
        phonemes: with `phone`, `start_s`, `end_s`, and `word`, `word_index`, `confidence` as in `Alignment`.
        path_png: where to write; not atomic by itself.

    Raises:
        OSError: the file cannot be written.
    """
    duration_s = float(waveform.duration_s)
    n_rows = max(1, min(MAX_ROWS, int(np.ceil(duration_s / ROW_S))))
    figure = Figure(figsize=(_WIDTH_IN, _ROW_HEIGHT_IN * n_rows + 0.3), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for row, axes in enumerate(figure.subplots(n_rows, 1, squeeze=False)[:, 0]):
        start_s = row * ROW_S
        _set_up(axes, start_s)
        _draw_sound(axes, waveform, start_s)
        _draw_features(axes, features, start_s)
        _draw_phonemes(axes, phonemes, start_s)
    shown = f"the first {n_rows * ROW_S:.0f} s of {duration_s:.1f} s" if duration_s > n_rows * ROW_S else ""
    figure.suptitle(f"waveform, pitch (red), speech (green), words, phones {shown}".strip(), fontsize=9)
    figure.savefig(path_png, format="png", metadata={"Software": None})


def _set_up(axes: Axes, start_s: float) -> None:
    axes.set_xlim(start_s, start_s + ROW_S)
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([])
    axes.set_xticks(np.arange(start_s, start_s + ROW_S + 0.01, 0.5))
    axes.tick_params(labelsize=8)
    pitch_axis = axes.secondary_yaxis("right", functions=(_to_hz, _from_hz))
    pitch_axis.set_yticks([100, 200, 300, 400])
    pitch_axis.tick_params(labelsize=7, colors=_PITCH_COLOUR)


def _from_hz(f0_hz: ArrayLike) -> NDArray[np.float64]:
    low, high = _SOUND
    return low + (high - low) * np.asarray(f0_hz, np.float64) / MAX_F0_HZ


def _to_hz(height: ArrayLike) -> NDArray[np.float64]:
    low, high = _SOUND
    return (np.asarray(height, np.float64) - low) / (high - low) * MAX_F0_HZ


def _draw_sound(axes: Axes, waveform: Waveform, start_s: float) -> None:
    first, stop = round(start_s * waveform.rate_hz), round((start_s + ROW_S) * waveform.rate_hz)
    samples = waveform.samples[first:stop]
    if not samples.size:
        return
    # Scaled to the whole speech's peak, so that rows can be compared.
    peak = max(float(np.max(np.abs(waveform.samples))), 1e-6)
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


def _draw_phonemes(axes: Axes, phonemes: pd.DataFrame, start_s: float) -> None:
    shown = phonemes[(phonemes["end_s"] > start_s) & (phonemes["start_s"] < start_s + ROW_S)]
    for row in shown[shown["phone"] != SILENCE].itertuples():
        from_s, until_s = float(str(row.start_s)), float(str(row.end_s))
        # A badly fitting phone is drawn in paler type.
        alpha = 0.35 + 0.65 * float(str(row.confidence))
        _box(
            axes,
            from_s,
            until_s,
            _PHONES,
            _PHONE_COLOUR,
            str(row.phone),
            8 if until_s - from_s >= _NARROW_S else 6,
            alpha,
        )
    for index, word in shown[shown["word_index"] >= 0].groupby("word_index"):
        colour = _WORD_COLOURS[int(str(index)) % len(_WORD_COLOURS)]
        _box(axes, word["start_s"].min(), word["end_s"].max(), _WORDS, colour, str(word["word"].iloc[0]), 9, 1.0)


def _box(
    axes: Axes,
    from_s: float,
    until_s: float,
    band: tuple[float, float],
    colour: str,
    text: str,
    size: int,
    alpha: float,
) -> None:
    low, high = band
    axes.fill_between([from_s, until_s], low, high, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=1)
    left, right = axes.get_xlim()
    from_s, until_s = max(from_s, left), min(until_s, right)
    fitting = text[: int((until_s - from_s) / (_LETTER_S * size))] if band == _WORDS else text
    axes.text(
        (from_s + until_s) / 2,
        (low + high) / 2,
        fitting,
        ha="center",
        va="center",
        fontsize=size,
        alpha=alpha,
        clip_on=True,
        zorder=4,
    )
