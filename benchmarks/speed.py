"""Time by stage and peak memory of whole runs, as multiples of the audio's length.

    python benchmarks/speed.py [--lengths 15 120] [--width 512] [--height 512]

Each length is a run of its own process in a fresh project folder: a real instance, a real local Ray, nothing cached.
The speech is the sample's sentence with a pause, repeated, with its transcript.

Memory is sampled over the whole family of processes: the run's own (driver), its Ray workers (largest single one), and
all of them with Ray's daemons, as proportional set size where the kernel gives it, so that shared pages count once.

Belongs here: the measurement and its print-out. Does not belong here: judging it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import psutil

SAMPLE = Path(__file__).parent.parent / "data" / "samples" / "astronaut"
PAUSE_S = 0.8
SAMPLING_S = 0.25
MB = 1 << 20


def make_speech(folder: Path, length_s: float) -> tuple[Path, Path]:
    """The sample's sentence repeated up to a length, and the words that fit into it."""
    with wave.open(str(SAMPLE / "speech.wav")) as file:
        rate_hz = file.getframerate()
        sentence = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    words = (SAMPLE / "transcript.txt").read_text().strip()
    unit = np.concatenate([sentence, np.zeros(int(PAUSE_S * rate_hz), "<i2")])
    n_whole = max(1, int(length_s * rate_hz) // len(unit))
    samples = np.tile(unit, n_whole)
    samples = np.pad(samples, (0, max(0, int(length_s * rate_hz) - len(samples))))
    audio, transcript = folder / "speech.wav", folder / "transcript.txt"
    with wave.open(str(audio), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    transcript.write_text("\n".join([words] * n_whole))
    return audio, transcript


def child(folder: Path, width_px: int, height_px: int) -> None:
    """One run in this process; prints its steps as JSON."""
    from s2v_pipeline import SpeechToVideo

    started_at = time.perf_counter()
    with SpeechToVideo(project_dir=folder) as s2v:
        video = s2v.generate_video(
            image_path=SAMPLE / "portrait.png",
            audio_path=folder / "speech.wav",
            transcript=(folder / "transcript.txt").read_text(),
            width=width_px,
            height=height_px,
        )
    took_s = time.perf_counter() - started_at
    print(json.dumps({"total_s": took_s, "step_s": dict(video.step_s), "video": video.metadata["video"]}))


def watch(process: subprocess.Popen[str]) -> dict[str, float]:
    """Peak memory in MB until the process ends."""
    peaks = {"driver": 0.0, "largest_worker": 0.0, "all": 0.0}
    while process.poll() is None:
        try:
            driver = psutil.Process(process.pid)
            family = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        total = 0.0
        for member in family:
            try:
                size_mb = member.memory_full_info().pss / MB
                name = " ".join(member.cmdline()[:1])
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            total += size_mb
            if member == driver:
                peaks["driver"] = max(peaks["driver"], size_mb)
            elif name.startswith("ray::"):
                peaks["largest_worker"] = max(peaks["largest_worker"], size_mb)
        peaks["all"] = max(peaks["all"], total)
        time.sleep(SAMPLING_S)
    return peaks


def measure(length_s: float, width_px: int, height_px: int) -> dict[str, object]:
    """One run of its own, with its steps and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_speech(folder, length_s)
        arguments = ["--child", str(folder), "--width", str(width_px), "--height", str(height_px)]
        process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
        peaks = watch(process)
        output = process.stdout.read() if process.stdout else ""
        if process.wait() != 0:
            raise SystemExit(f"the run of {length_s} s failed")
        return {**json.loads(output.splitlines()[-1]), "peak_mb": peaks}


def show(length_s: float, result: dict[str, object]) -> None:
    steps: dict[str, float] = result["step_s"]  # type: ignore[assignment]
    print(f"\n{length_s:g} s of speech: {result['total_s']:.1f} s, {result['total_s'] / length_s:.2f} x the audio")
    for step, seconds in steps.items():
        print(f"  {step:46} {seconds:8.2f} s {seconds / length_s:7.3f} x")
    print("  peak memory, MB: " + ", ".join(f"{name} {size:.0f}" for name, size in result["peak_mb"].items()))  # type: ignore[attr-defined]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=float, nargs="+", default=[15, 120])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.width, given.height)
    else:
        for length in given.lengths:
            show(length, measure(length, given.width, given.height))
