"""What the clean-up does to noisy and to clean speech.

    python -m benchmarks.denoise [FOLDER_OF_WAVS]

Needs pystoi (`pip install -c constraints.txt '.[bench]'`). PESQ is measured where the package pesq is installed: it
holds the ITU's reference code, which has its own terms (`pip install pesq`, with a C compiler, if those allow it to
you).

Without a folder the speech is what the repository ships: a LibriVox reading and two synthetic sentences, 2 to 7 s each;
with one it is every *.wav and *.flac in it, mixed to mono at 16 kHz.

Mixtures: pink noise at several SNRs (mean power over the whole file), and babble at 10 dB: every other voice at hand,
each at four places, summed. Measures against the clean speech: SI-SDR (Le Roux et al., ICASSP 2019), PESQ wide band
(ITU-T P.862.2), STOI (Taal et al., 2011). `lag` is the peak of the cross-correlation with the clean speech, which must
be 0. `measured SNR` is what audio.noise finds, `auto` how many of the files it would have denoised. `CPU` is processor
time over the sound's length, the model's loading included.

Belongs here: the measurement and its print-out. Does not belong here: thresholds (audio.clean).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from s2v_pipeline.audio.clean import DENOISE_BELOW_SNR_DB
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.audio.denoise import denoise, denoiser_problem
from s2v_pipeline.audio.noise import measure_noise
from s2v_pipeline.audio.voice_activity import speech_probabilities
from s2v_pipeline.media import Waveform

REPOSITORY = Path(__file__).parents[1]
SHIPPED = (
    "data/samples/astronaut/speech.wav",
    "s2v_pipeline_tests/data/flite_slt_depth_of_a_well.flac",
    "s2v_pipeline_tests/data/flite_kal16_juice_of_lemons.flac",
)
PINK_SNRS_DB = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0)
BABBLE_SNR_DB = 10.0
PLACES_IN_BABBLE = 4

Sound = NDArray[np.float64]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="speech of your own: *.wav, *.flac")
    paths = _paths(parser.parse_args().folder)
    try:
        from pystoi import stoi
    except ImportError:
        sys.exit("pystoi is missing: pip install -c constraints.txt '.[bench]'")
    pesq = _pesq()
    problem = denoiser_problem()
    if problem is not None:
        sys.exit(problem)

    voices = {path.stem: _read(path) for path in paths}
    print(f"{len(voices)} files, {sum(map(len, voices.values())) / SPEECH_RATE_HZ:.1f} s; means over files")
    print("| mixture | measured SNR | auto | SI-SDR dB | PESQ-WB | STOI | lag | CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for name, mix in _mixtures(voices).items():
        rows = [_measure(voices[voice], mix(voice), pesq, stoi) for voice in voices]
        before, after = (np.mean([row[side] for row in rows], axis=0) for side in (0, 1))
        snrs = [row[2] for row in rows if row[2] is not None]
        arrows = [f"{a:.{digits}f} → {b:.{digits}f}" for a, b, digits in zip(before, after, (1, 2, 3), strict=True)]
        n_auto = sum(snr < DENOISE_BELOW_SNR_DB for snr in snrs)
        lags = sorted({row[3] for row in rows})
        cpu = np.mean([row[4] for row in rows])
        found = f"{np.mean(snrs):.1f} dB" if snrs else "none"
        print(f"| {name} | {found} | {n_auto} of {len(rows)} | {' | '.join(arrows)} | {lags} | {cpu:.2f} |", flush=True)


def _pesq() -> Callable[..., float]:
    try:
        from pesq import pesq
    except ImportError:
        print("PESQ is left out (nan): the package pesq is not installed")
        return lambda *_: float("nan")
    return pesq


def _paths(folder: Path | None) -> list[Path]:
    if folder is None:
        return [REPOSITORY / name for name in SHIPPED]
    found = sorted([*folder.glob("*.wav"), *folder.glob("*.flac")])
    if not found:
        sys.exit(f"{folder} has no *.wav and no *.flac")
    return found


def _read(path: Path) -> Sound:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE_HZ)
    with path.open("rb") as file, av.open(file) as container:
        frames = [*container.decode(audio=0), None]
        blocks = [made.to_ndarray()[0] for frame in frames for made in resampler.resample(frame)]
    return np.concatenate(blocks).astype(np.float64)


def _mixtures(voices: dict[str, Sound]) -> dict[str, Callable[[str], Sound]]:
    def pink(snr_db: float) -> Callable[[str], Sound]:
        return lambda voice: _at_snr(voices[voice], _pink_noise(len(voices[voice])), snr_db)

    def babble(voice: str) -> Sound:
        others = [sound for name, sound in voices.items() if name != voice]
        return _at_snr(voices[voice], _babble(others, len(voices[voice])), BABBLE_SNR_DB)

    mixtures = {f"pink {snr_db:g} dB": pink(snr_db) for snr_db in PINK_SNRS_DB}
    if len(voices) > 1:
        mixtures[f"babble {BABBLE_SNR_DB:g} dB"] = babble
    return {**mixtures, "clean": lambda voice: voices[voice]}


def _pink_noise(n_samples: int) -> Sound:
    random = np.random.default_rng(7)
    frequencies_hz = np.fft.rfftfreq(n_samples, 1 / SPEECH_RATE_HZ)
    spectrum = random.standard_normal(frequencies_hz.size) + 1j * random.standard_normal(frequencies_hz.size)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies_hz, 20.0)), n_samples)


def _babble(others: list[Sound], n_samples: int) -> Sound:
    random = np.random.default_rng(11)
    total = np.zeros(n_samples)
    for other in others:
        level = np.sqrt(np.mean(other**2))
        for _ in range(PLACES_IN_BABBLE):
            total += np.resize(np.roll(other, int(random.integers(len(other)))), n_samples) / level
    return total


def _at_snr(clean: Sound, noise: Sound, snr_db: float) -> Sound:
    return clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (snr_db / 10))


def _measure(
    clean: Sound, mixed: Sound, pesq: Callable[..., float], stoi: Callable[..., float]
) -> tuple[list[float], list[float], float | None, int, float]:
    """(measures before, measures after, measured SNR, lag, CPU seconds a second)."""
    given = mixed.astype(np.float32)
    waveform = Waveform(given, SPEECH_RATE_HZ)
    levels = measure_noise(waveform, speech_probabilities(waveform))
    began_s = time.process_time()
    made = np.concatenate(list(denoise([given[None]], SPEECH_RATE_HZ, channels=1)), axis=1)[0].astype(np.float64)
    cpu = (time.process_time() - began_s) / (len(clean) / SPEECH_RATE_HZ)
    assert made.size == clean.size
    lag = int(np.argmax(correlate(made, clean, method="fft"))) - (clean.size - 1)
    before, after = (
        [
            _si_sdr_db(clean, other),
            pesq(SPEECH_RATE_HZ, clean, other, "wb"),
            float(stoi(clean, other, SPEECH_RATE_HZ)),
        ]
        for other in (mixed, made)
    )
    return before, after, None if levels is None else levels.snr_db, lag, cpu


def _si_sdr_db(clean: Sound, other: Sound) -> float:
    target, given = clean - clean.mean(), other - other.mean()
    target = target * (given @ target) / (target @ target)
    # A copy has no distortion; 100 dB stand for it.
    distortion = max(float(np.sum((given - target) ** 2)), 1e-10 * float(target @ target))
    return float(10 * np.log10((target @ target) / distortion))


if __name__ == "__main__":
    main()
