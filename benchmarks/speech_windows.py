"""What do windows change in wav2vec2's hidden states, and what does an hour of speech take?

    python -m benchmarks.speech_windows

The network is tiny and random: its convolutions, positional convolution and windows are of the real one's kind, and
so is memory that does not depend on the length. Attention with random weights is about the mean of all that is heard,
as no trained network's is: the differences of the last hidden state are no forecast for one.

First table: `--seconds` of speech encoded whole against windows of 30 s with so much context on both sides: largest and
root mean square difference of the first hidden state (before attention) and of the last one, and the last one's own
root mean square. Then an hour, asked for window by window: time, and the heap (RssAnon) after each quarter.

Belongs here: measuring the windows.
Does not belong here: equality with the official code (`python -m s2v_pipeline_tests.golden`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.generation.wan_s2v.speech_encoder import (
    CONTEXT_S,
    HIDDEN_HZ,
    MAX_WINDOW_S,
    SPEECH_RATE_HZ,
    SpeechEncoder,
)
from s2v_pipeline.generation.wan_s2v.speech_features import normalise

VOICES = Path(__file__).parent.parent / "s2v_pipeline_tests" / "data"
WINDOW_S = 30
CONTEXTS_S = (0, 1, 2, 4, 8)
RANGE_S = MAX_WINDOW_S - 2 * CONTEXT_S  # what one window keeps
QUARTER_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="of the first table")
    parser.add_argument("--hours", type=float, default=1.0, help="of the second table")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = tiny_model()
    print_differences(model, speech(arguments.seconds))
    print_memory(model, speech(round(arguments.hours * 3600)))


def tiny_model() -> Wav2Vec2Model:
    """Two layers of 16 in the architecture of wav2vec2-large-xlsr-53."""
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=2,
    )
    return Wav2Vec2Model(config).eval()


def speech(seconds: int) -> Tensor:
    """(n,) float32 at 16 kHz, normalised: two voices one after another, over and over, at changing levels."""
    rng = np.random.default_rng(0)
    voices = [read_waveform(path, rate_hz=SPEECH_RATE_HZ).samples for path in sorted(VOICES.glob("*.flac"))]
    samples = np.empty(seconds * SPEECH_RATE_HZ, np.float32)
    first = 0
    while first < samples.size:
        voice = voices[rng.integers(len(voices))][: samples.size - first] * np.float32(rng.uniform(0.1, 1.0))
        samples[first : first + voice.size] = voice
        first += voice.size
    return normalise(torch.from_numpy(samples), float(samples.mean()), float(samples.std()))


def print_differences(model: Wav2Vec2Model, samples: Tensor) -> None:
    """One line a context."""
    whole = SpeechEncoder(model, max_window_s=len(samples) / SPEECH_RATE_HZ + 1).hidden_states(samples)
    print(f"{len(samples) / SPEECH_RATE_HZ:g} s, windows of {WINDOW_S} s; last state's rms {_rms(whole[-1]):.3f}")
    print(f"{'context s':>9} {'first: max':>11} {'last: max':>10} {'last: rms':>10}")
    for context_s in CONTEXTS_S:
        found = SpeechEncoder(model, max_window_s=WINDOW_S, context_s=context_s).hidden_states(samples)
        difference = (found - whole).abs()
        print(
            f"{context_s:9d} {float(difference[0].max()):11.1e} {float(difference[-1].max()):10.4f} "
            f"{_rms(difference[-1]):10.4f}"
        )


def print_memory(model: Wav2Vec2Model, samples: Tensor) -> None:
    """One line a quarter of an hour."""
    encoder = SpeechEncoder(model)
    n_frames = encoder.n_hidden_frames(len(samples))
    started_at = time.perf_counter()
    print(f"{len(samples) / SPEECH_RATE_HZ:g} s in ranges of {RANGE_S} s, the encoder's own windows and context")
    print(f"{'at s':>6} {'s':>7} {'heap MB':>8}")
    for start_frame in range(0, n_frames, RANGE_S * HIDDEN_HZ):
        states = encoder.hidden_states(samples, start_frame, min(start_frame + RANGE_S * HIDDEN_HZ, n_frames))
        assert bool(torch.isfinite(states).all())
        at_s = start_frame // HIDDEN_HZ + RANGE_S
        if at_s // QUARTER_S > (at_s - RANGE_S) // QUARTER_S or not start_frame:
            print(f"{at_s:6d} {time.perf_counter() - started_at:7.1f} {_heap_mb():8.0f}", flush=True)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _heap_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


if __name__ == "__main__":
    main()
