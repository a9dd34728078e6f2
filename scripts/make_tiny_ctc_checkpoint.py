"""Train the tiny wav2vec2 checkpoint that the tests of the `ctc` aligner read, on speech of the synthesiser flite.

    python scripts/make_tiny_ctc_checkpoint.py FOLDER

Needs `flite` (Debian: apt install flite) and this package with its extra `ctc`; takes about 10 minutes on one core.

It is trained frame by frame against the synthesiser's own phone times, with pauses as CTC's blank, and hears the voices
slt and kal16 and nobody else: it is for tests, where truth is known. FOLDER has the layout of transformers, and a
vocabulary of IPA.
"""

# ruff: noqa: RUF001  IPA letters are meant to be the letters they are.

from __future__ import annotations

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pocketsphinx import Decoder
from safetensors.torch import save_file
from scipy.io import wavfile
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from s2v_pipeline.alignment.phonemes import ARPABET
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.media import Waveform

VOICES = ("slt", "kal16")
IPA = {
    "AA": "ɑː", "AE": "æ", "AH": "ə", "AO": "ɔː", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜː", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "iː", "JH": "dʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ",
    "T": "t", "TH": "θ", "UH": "ʊ", "UW": "uː", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""Spelt as espeak spells them, whose symbols the public phoneme checkpoints use."""
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
PHONES = (*SPECIAL, *sorted(ARPABET))
FUNCTION_WORDS = (
    *("the", "a", "of", "to", "in", "and", "it", "is", "that", "was", "for", "on"),
    *("with", "as", "at", "by", "from", "this", "his", "her", "they", "we", "you", "it's"),
)
FOLDED = {"AX": "AH", "AXR": "ER", "PAU": "SIL", "SIL": "SIL"}
HIDDEN, CHANNELS, HOP = 96, 64, 320
CROP_FRAMES, BATCH = 100, 8
LEAST_CUT, MOST_PAUSE, NOISY = 25, 40, 0.7
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Spoken:
    """Samples, and the label of each 20 ms frame."""

    samples: NDArray[np.float32]
    phones: NDArray[np.int64]


def sentences(count: int, seed: int) -> Iterator[str]:
    """Random words of the dictionary among function words: every phone in many surroundings, and no one's text."""
    chance = random.Random(seed)
    decoder = Decoder(lm=None, loglevel="FATAL")
    path = Path(str(decoder.config["dict"]))
    known = sorted({line.split()[0] for line in path.read_text().splitlines() if line})
    words = [word for word in known if re.fullmatch(r"[a-z]{3,9}", word)]
    for _ in range(count):
        yield " ".join(chance.choice(words if chance.random() < 0.65 else FUNCTION_WORDS) for _ in range(10))


def config() -> Wav2Vec2Config:
    """A hop of 320 samples as wav2vec2 has it, and a first layer wide enough to be a filter bank."""
    return Wav2Vec2Config(
        vocab_size=len(PHONES), pad_token_id=0, bos_token_id=None, eos_token_id=None, architectures=["Wav2Vec2ForCTC"],
        hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192,
        conv_dim=(CHANNELS,) * 3, conv_kernel=(160, 8, 4), conv_stride=(16, 5, 4), num_feat_extract_layers=3,
        conv_bias=True, feat_extract_norm="group", do_stable_layer_norm=True,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=8,
        hidden_dropout=0.05, attention_dropout=0.05, activation_dropout=0.05, feat_proj_dropout=0.0, final_dropout=0.05,
        layerdrop=0.0, apply_spec_augment=False,
    )  # fmt: skip


def set_filter_bank(model: Wav2Vec2ForCTC) -> None:
    """The first layer starts as windowed tones, spaced as the mel scale is, in two phases each."""
    weight = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight
    mel = np.linspace(2595 * math.log10(1 + 80 / 700), 2595 * math.log10(1 + 7600 / 700), CHANNELS // 2)
    hz = np.repeat(700 * (10 ** (mel / 2595) - 1), 2)
    time_s = (np.arange(160) - 79.5) / SPEECH_RATE_HZ
    phase = np.tile([0.0, math.pi / 2], CHANNELS // 2)
    filters = np.hanning(160) * np.cos(2 * math.pi * hz[:, None] * time_s + phase[:, None]) / 40
    with torch.no_grad():
        weight.copy_(torch.from_numpy(filters[:, None].astype(np.float32)))


def offset_samples() -> int:
    """Half of what a frame hears beyond its hop."""
    receptive, hop = 1, 1
    for kernel, stride in zip(config().conv_kernel, config().conv_stride, strict=True):
        receptive, hop = receptive + (kernel - 1) * hop, hop * stride
    return (receptive - hop) // 2


def speak(text: str, voice: str, stretch: float, folder: Path, number: int) -> Spoken:
    path = folder / f"{number}.wav"
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-psdur", "-t", text, "-o", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate_hz, pcm = wavfile.read(path)
    waveform = Waveform(pcm.astype(np.float32) / 32768, rate_hz)
    n_frames = (len(waveform.samples) - 2 * offset_samples()) // HOP
    middles_s = ((np.arange(n_frames) + 0.5) * HOP + offset_samples()) / SPEECH_RATE_HZ
    ends = [pair.rsplit(":", 1) for pair in printed.split()]
    names = [FOLDED.get(name.upper(), name.upper()) for name, _ in ends]
    ids = np.array([0 if name == "SIL" else PHONES.index(name) for name in names])
    phones = ids[np.minimum(np.searchsorted([float(end) for _, end in ends], middles_s), len(ids) - 1)]
    return Spoken(waveform.samples, phones)


def batches(spoken: Sequence[Spoken], steps: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Two cuts of speech each, as loud as it comes, with a pause between and often a little noise.

    Normalised as the model will hear it: how loud and how long its surroundings are must not change what it hears.
    """
    chance = np.random.default_rng(seed)
    for _ in range(steps):
        sounds, phones = [], []
        for _ in range(BATCH):
            pause = int(chance.integers(0, MOST_PAUSE))
            first = int(chance.integers(LEAST_CUT, CROP_FRAMES - pause - LEAST_CUT))
            one, two = (cut(spoken, n, chance) for n in (first, CROP_FRAMES - pause - first))
            silence = np.zeros(pause * HOP)
            sound = np.concatenate([one[0], silence, two[0], np.zeros(2 * offset_samples())])
            if chance.random() < NOISY:
                level = np.std(sound) * 10 ** (-chance.uniform(20, 50) / 20)
                sound = sound + chance.standard_normal(sound.size) * level
            sounds.append((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7))
            phones.append(np.concatenate([one[1], np.zeros(pause, np.int64), two[1]]))
        yield torch.from_numpy(np.stack(sounds).astype(np.float32)), torch.from_numpy(np.stack(phones))


def cut(
    spoken: Sequence[Spoken], n_frames: int, chance: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`n_frames` frames of some sentence, at some loudness; what the last frame hears beyond them is left out."""
    each = spoken[int(chance.integers(len(spoken)))]
    first = int(chance.integers(0, len(each.phones) - n_frames))
    start = first * HOP
    gain = 10 ** (chance.uniform(-10, 0) / 20)
    return each.samples[start : start + n_frames * HOP].astype(np.float64) * gain, each.phones[first : first + n_frames]


def train(spoken: Sequence[Spoken], steps: int, seed: int) -> Wav2Vec2ForCTC:
    torch.manual_seed(seed)
    model = Wav2Vec2ForCTC(config())
    set_filter_bank(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    model.train()
    for step, (sounds, phones) in enumerate(batches(spoken, steps, seed)):
        logits = model(sounds).logits[:, :CROP_FRAMES]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), phones.flatten(), label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            right = (logits.argmax(-1) == phones).float().mean().item()
            sys.stdout.write(f"step {step}: loss {loss.item():.3f}, frames right {right:.3f}\n")
            sys.stdout.flush()
    return model.eval()


def write(folder: Path, model: Wav2Vec2ForCTC) -> None:
    """The checkpoint, in float16: half the bytes, and as exact as such a model needs."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.detach().half().contiguous() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    tokens = [*SPECIAL, *(IPA[phone] for phone in PHONES[len(SPECIAL) :])]
    files = {
        "config.json": json.loads(model.config.to_json_string()),
        "vocab.json": {token: index for index, token in enumerate(tokens)},
        "preprocessor_config.json": {"do_normalize": True, "sampling_rate": SPEECH_RATE_HZ, "feature_size": 1},
        "tokenizer_config.json": {"pad_token": "<pad>", "unk_token": "<unk>", "word_delimiter_token": "|"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as workers:
        jobs = [
            workers.submit(speak, text, VOICES[number % len(VOICES)], chance.uniform(0.85, 1.2), Path(scratch), number)
            for number, text in enumerate(sentences(given.sentences, given.seed))
        ]
        spoken = [each for each in (job.result() for job in jobs) if len(each.phones) > CROP_FRAMES]
    minutes = sum(len(each.samples) for each in spoken) / SPEECH_RATE_HZ / 60
    sys.stdout.write(f"{len(spoken)} sentences, {minutes:.1f} minutes of speech\n")
    sys.stdout.flush()
    write(given.folder, train(spoken, given.steps, given.seed))


if __name__ == "__main__":
    main()
