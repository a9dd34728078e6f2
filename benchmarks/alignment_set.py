"""Sets of speech with known phone times: reading one, making one with flite, mixing noise in.

Belongs here: files of a set, sentences, the synthesiser, noise.
Does not belong here: aligning and scoring (alignment).

A set is a folder of NAME.wav with NAME.txt (the transcript) and NAME.phones.csv (start_s, end_s, phone).
"""

from __future__ import annotations

import shutil
import subprocess
import wave
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from s2v_pipeline.alignment.scoring import fold_phone, fold_truth
from s2v_pipeline.media import Waveform

VOICES = ("slt", "rms", "awb", "kal16", "kal")
"""flite's: two American voices and a Scottish one, statistical; one of diphones at 16 kHz and at 8 kHz."""

SPEEDS = (0.8, 1.0, 1.3)
"""`duration_stretch`: above 1 is slower."""

SENTENCES = (
    "The old ferry leaves the harbour just before seven.",
    "Five brown pigeons watched us from the garage roof.",
    "She put both keys under the heavy clay pot.",
    "A measure of thick cream makes the soup smooth.",
    "Which of these yellow jars holds the sugar?",
    "They chose a huge boat with a deep blue sail.",
    "Nothing moved but the shadow of a thin cloud.",
    "My father bought the vase at a village fair.",
    "Loud noise from the yard woke up the baby.",
    "The judge asked them to speak a good deal louder.",
    "We found our hats beneath the big wooden bench.",
    "Fresh bread, warm milk, and then a long walk home.",
    "The thirsty goat pushed the gate and ran off.",
    "Did you hear the whole story, or only a part?",
    "Pay the man for paint, rope and copper pipe.",
    "Birds sing early, while the city is still asleep.",
    "Her usual pleasure was to sit and watch the ships.",
    "Boil the eggs, slice the cheese, and toast the bread.",
    "That young teacher knows how to fix a broken chair.",
    "Few people could have guessed what the box was for.",
)
"""Our own words; together they hold all 39 phones, clusters, and pauses at commas."""

_AUDIBLE_FROM_HZ = 20.0


@dataclass(frozen=True)
class Recording:
    """Files of one recording; `transcript` is None where there is no text, `problem` why it cannot be scored."""

    name: str
    wav: Path
    transcript: str | None
    truth: pd.DataFrame | None
    problem: str | None = None


def read_set(folder: Path) -> list[Recording]:
    """All recordings of a folder by name. What is wrong with one is in its `problem` and stops no other.

    Raises:
        FileNotFoundError: no such folder, or no .wav in it.
    """
    wavs = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav" and path.is_file())
    if not wavs:
        raise FileNotFoundError(f"{folder} must hold NAME.wav files; none is there")
    return [_recording(wav) for wav in wavs]


def _recording(wav: Path) -> Recording:
    text, phones = wav.with_suffix(".txt"), wav.with_suffix(".phones.csv")
    transcript = text.read_text("utf-8-sig", "replace").strip() if text.is_file() else ""
    if not phones.is_file():
        return Recording(wav.stem, wav, transcript or None, None, f"{phones.name} is missing")
    try:
        # "NA" and the like may be labels: only an empty cell is empty.
        truth = fold_truth(pd.read_csv(phones, skipinitialspace=True, keep_default_na=False))
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        return Recording(wav.stem, wav, transcript or None, None, f"{phones.name}: {error}")
    return Recording(wav.stem, wav, transcript or None, truth)


def make_set(
    folder: Path,
    *,
    n_sentences: int = len(SENTENCES),
    sentences: tuple[str, ...] = SENTENCES,
    voices: tuple[str, ...] = VOICES,
    speeds: tuple[float, ...] = SPEEDS,
) -> int:
    """Speaks the first sentences in each voice, at speeds in turn, and writes a set; how many recordings there are.

    flite's phones are CMU's but for `ax` (AH) and `pau` (silence). The ends that -psdur prints are exact against the
    sound (checked at its first and last energy, all voices); only the last pause is printed longer than the diphone
    voices make it, and is cut to the sound.

    Raises:
        FileNotFoundError: flite is not installed.
        RuntimeError: flite fails.
    """
    flite = shutil.which("flite")
    if flite is None:
        raise FileNotFoundError("flite makes the set and is not installed: apt-get install flite (Debian, Ubuntu)")
    folder.mkdir(parents=True, exist_ok=True)
    for voice in voices:
        for number, sentence in enumerate(sentences[:n_sentences]):
            speed = speeds[number % len(speeds)]
            _speak(flite, folder / f"{voice}_{number:02d}", voice, speed, sentence)
    return len(voices) * len(sentences[:n_sentences])


def _speak(flite: str, path: Path, voice: str, stretch: float, sentence: str) -> None:
    wav = path.with_suffix(".wav")
    told = subprocess.run(
        [flite, "-voice", voice, "--setf", f"duration_stretch={stretch}", "-psdur", "-t", sentence, "-o", str(wav)],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode or not wav.is_file():
        raise RuntimeError(f"flite failed for voice {voice}: {told.stderr.strip() or told.returncode}")
    with wave.open(str(wav)) as sound:
        duration_s = sound.getnframes() / sound.getframerate()
    rows, start_s = [], 0.0
    for item in told.stdout.split():
        label, end = item.rsplit(":", 1)
        end_s = min(float(end), duration_s)
        phone = fold_phone(label)
        if phone is None:
            raise RuntimeError(f"flite names a phone that is not known: {label}")
        if end_s > start_s:
            rows.append((start_s, end_s, phone))
        start_s = end_s
    pd.DataFrame(rows, columns=["start_s", "end_s", "phone"]).round(4).to_csv(f"{path}.phones.csv", index=False)
    path.with_suffix(".txt").write_text(sentence + "\n", encoding="utf-8")


def with_pink_noise(waveform: Waveform, snr_db: float, name: str) -> Waveform:
    """The sound plus pink noise of all frequencies, at an SNR against the mean power of the whole recording; the same
    for the same name."""
    power = float(np.mean(np.square(waveform.samples, dtype=np.float64)))
    return _with_noise(waveform, power, snr_db, name, from_hz=0.0)


def with_pink_noise_in_speech(waveform: Waveform, truth: pd.DataFrame, snr_db: float, name: str) -> Waveform:
    """A harder mixture of the same name: pink noise from 20 Hz on, at an SNR against the mean power inside true phones.

    Pauses do not count as speech, nor frequencies that nobody hears as noise.
    """
    times_s = np.arange(waveform.samples.size) / waveform.rate_hz
    rows = np.clip(np.searchsorted(truth["start_s"], times_s, side="right") - 1, 0, None)
    is_speech = (truth["phone"] != "SIL").to_numpy()[rows] & (times_s < truth["end_s"].to_numpy()[rows])
    power = float(np.mean(np.square(waveform.samples[is_speech], dtype=np.float64)))
    return _with_noise(waveform, power, snr_db, name, from_hz=_AUDIBLE_FROM_HZ)


def _with_noise(waveform: Waveform, power: float, snr_db: float, name: str, *, from_hz: float) -> Waveform:
    seed = zlib.crc32(f"{name} {snr_db:g}".encode())
    noise = _pink(waveform.samples.size, waveform.rate_hz, from_hz=from_hz, seed=seed)
    noise *= np.sqrt(power / 10 ** (snr_db / 10) / np.mean(noise**2))
    mixed = waveform.samples + noise
    return Waveform((mixed / max(1.0, 1.02 * float(np.max(np.abs(mixed))))).astype(np.float32), waveform.rate_hz)


def _pink(n_samples: int, rate_hz: int, *, from_hz: float, seed: int) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n_samples))
    frequencies_hz = np.fft.rfftfreq(n_samples, 1 / rate_hz)
    lowest_hz = max(from_hz, float(frequencies_hz[1]))
    spectrum *= (frequencies_hz >= lowest_hz) / np.sqrt(np.maximum(frequencies_hz, lowest_hz))
    return np.fft.irfft(spectrum, n_samples)


def write_wav(path: Path, waveform: Waveform) -> None:
    """16 bit, mono."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(waveform.rate_hz)
        sound.writeframes(np.rint(waveform.samples * 32767.0).astype("<i2").tobytes())
