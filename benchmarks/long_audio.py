"""What does a long recording cost, and is its middle analysed as an excerpt of it would be?

Makes a recording of `--hours` from the shipped voices, with pauses of 0.3 to 3 s and a gain that changes between -25
and 0 dB, as 48 kHz stereo FLAC or mp3. Each step then runs in a process of its own, which prints its time and its peak
memory; what it makes lies in a temporary folder (or `--folder`), where a second call finds the recording.

    python -m benchmarks.long_audio                     # 3 hours
    python -m benchmarks.long_audio --hours 0.2 --codec mp3

Memory: `heap` is the highest RssAnon, what the process itself holds and the system cannot take back, sampled every
20 ms; `all` is the highest resident set, with the pages of mapped files, which the system drops when it needs room;
`start` is the heap once everything is imported. `read` is what every later step does first; they map its samples here,
so that their times are their own.

The excerpt begins at a multiple of 512 samples and 1/25 s, so that frames and windows of the voice-activity model lie
alike; it is compared from 1 s behind its start. Level, mel bands, pitch and onset must be equal bit for bit; the
voice-activity network remembers what it heard, so its probabilities are compared with a tolerance and from
`SETTLED_S` on.

Belongs here: the recording, measuring the steps.
Does not belong here: accuracy (other benchmarks), the alignment of hours (it is measured on minutes, `--align-s`).
"""

from __future__ import annotations

import argparse
import mmap
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_waveform
from s2v_pipeline.audio.features import MEL_COLUMNS, describe_speech, extract_features
from s2v_pipeline.audio.loudness import measure_loudness
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.audio.voice_activity import segments_from_probabilities, speech_probabilities
from s2v_pipeline.inputs.speech import copy_speech
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline.timebase import frames_for_samples

ROOT = Path(__file__).parent.parent
VOICES = (
    ROOT / "data" / "samples" / "astronaut" / "speech.wav",
    ROOT / "s2v_pipeline_tests" / "data" / "flite_slt_depth_of_a_well.flac",
    ROOT / "s2v_pipeline_tests" / "data" / "flite_kal16_juice_of_lemons.flac",
)
RATE_HZ = 48_000
FPS = Fraction(25)
EXCERPT_S = 120
EDGE_S = 1.0
SETTLED_S = 30.0
STEPS = ("decode", "read", "voice", "loudness", "features", "excerpt", "align")
_SAMPLED_EVERY_S = 0.02
_ALIGNED_S = 600
_ALIKE_SAMPLES = 16_000 * 16 // 25  # 0.64 s: 20 windows of 512 samples, 16 frames


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--codec", choices=("flac", "mp3"), default="flac")
    parser.add_argument("--align-s", type=float, default=_ALIGNED_S, help="seconds that are aligned without transcript")
    parser.add_argument("--folder", type=Path, help="where the recording and the results lie; kept")
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.step, arguments.folder, arguments.codec, arguments.align_s)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recording = folder / f"recording.{arguments.codec}"
        if not recording.exists():
            write_recording(recording, arguments.hours, arguments.codec)
        print(f"{arguments.hours:g} h, {recording.stat().st_size / 1e6:.0f} MB of {arguments.codec}")
        print(f"{'step':9} {'s':>8} {'start MB':>9} {'heap MB':>8} {'all MB':>7}  result", flush=True)
        for step in arguments.steps:
            command = [sys.executable, "-m", "benchmarks.long_audio", "--step", step, "--folder", str(folder)]
            command += ["--codec", arguments.codec, "--align-s", str(arguments.align_s)]
            if subprocess.run(command, check=False).returncode:
                return 1
    return 0


def write_recording(path: Path, hours: float, codec: str) -> None:
    """Voices one after another with pauses and changing gain, 48 kHz stereo; the same for the same arguments."""
    name = {"flac": "flac", "mp3": "libmp3lame"}[codec]
    with av.open(str(path), "w", format=codec) as output:
        stream = output.add_stream(name, rate=RATE_HZ, layout="stereo")
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="stereo", rate=RATE_HZ)
        n_written = 0
        for samples in _utterances(round(hours * 3600 * RATE_HZ)):
            frame = av.AudioFrame.from_ndarray(np.stack([samples, 0.8 * samples]), format="fltp", layout="stereo")
            frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), n_written
            n_written += samples.size
            for converted in resampler.resample(frame):
                output.mux(stream.encode(converted))
        output.mux(stream.encode(None))


def _utterances(n_samples: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    voices = [resample(_mono(path), RATE_HZ).samples for path in VOICES]
    while n_samples > 0:
        voice = voices[rng.integers(len(voices))] * np.float32(10.0 ** (rng.uniform(-25, 0) / 20))
        pause = np.zeros(round(rng.uniform(0.3, 3.0) * RATE_HZ), np.float32)
        samples = np.concatenate([voice, pause])[:n_samples]
        # A room's noise, 70 dB below full scale.
        samples += (3e-4 * rng.standard_normal(samples.size)).astype(np.float32)
        n_samples -= samples.size
        yield samples


def _mono(path: Path) -> Waveform:
    with av.open(str(path)) as container:
        rate_hz = container.streams.audio[0].rate
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return Waveform(np.asarray(np.concatenate(blocks) / 32768, np.float32), rate_hz)


def run_step(step: str, folder: Path, codec: str, align_s: float) -> None:
    """Run one step in this process and print its line."""
    actions: dict[str, Callable[[], str]] = {
        "decode": lambda: _decode(folder / f"recording.{codec}", folder),
        "read": lambda: _read(folder),
        "voice": lambda: _voice(folder),
        "loudness": lambda: f"{measure_loudness(_speech(folder)).integrated_lufs:.2f} LUFS",
        "features": lambda: _features(folder),
        "excerpt": lambda: _excerpt(folder),
        "align": lambda: _align(folder, align_s),
    }
    if step == "align":
        import s2v_pipeline.alignment.choose  # noqa: F401 - before the clock starts
    with Peak() as peak:
        result = actions[step]()
    print(
        f"{step:9} {peak.took_s:8.1f} {peak.start_mb:9.0f} {peak.heap_mb:8.0f} {peak.all_mb:7.0f}  {result}", flush=True
    )


class Peak:
    """Time and peak memory of what runs inside it."""

    def __enter__(self) -> Peak:
        self.start_mb = self.heap_mb = _status_mb("RssAnon")
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._started_at = time.perf_counter()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.took_s = time.perf_counter() - self._started_at
        self._done.set()
        self._watcher.join()
        self.all_mb = _status_mb("VmHWM")

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLED_EVERY_S):
            self.heap_mb = max(self.heap_mb, _status_mb("RssAnon"))


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def _read(folder: Path) -> str:
    waveform = read_waveform(folder / "speech.flac", rate_hz=SPEECH_RATE_HZ)
    waveform.samples.tofile(folder / "speech.f32")
    return f"{waveform.samples.size} samples at 16 kHz"


def _speech(folder: Path) -> Waveform:
    with (folder / "speech.f32").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Waveform(np.frombuffer(mapped, np.float32), SPEECH_RATE_HZ)


def _decode(recording: Path, folder: Path) -> str:
    info = copy_speech(recording, folder / "speech.flac", InputSettings())
    return f"{info.n_samples} samples, {(folder / 'speech.flac').stat().st_size / 1e6:.0f} MB of FLAC"


def _voice(folder: Path) -> str:
    waveform = _speech(folder)
    probabilities = speech_probabilities(waveform)
    np.save(folder / "probabilities.npy", probabilities)
    segments = segments_from_probabilities(probabilities, duration_s=float(waveform.duration_s))
    return f"{len(segments)} segments, {sum(end_s - start_s for start_s, end_s in segments):.0f} s of speech"


def _features(folder: Path) -> str:
    waveform, probabilities = _speech(folder), np.load(folder / "probabilities.npy")
    n_frames = frames_for_samples(waveform.samples.size, SPEECH_RATE_HZ, FPS)
    table = extract_features(waveform, n_frames=n_frames, fps=FPS, probabilities=probabilities)
    segments = segments_from_probabilities(probabilities, duration_s=float(waveform.duration_s))
    summary = describe_speech(waveform, table, segments)
    table.to_parquet(folder / "features.parquet")
    size_mb = (folder / "features.parquet").stat().st_size / 1e6
    return f"{n_frames} frames, {size_mb:.0f} MB of Parquet, voice at {summary.median_f0_hz} Hz"


def _excerpt(folder: Path) -> str:
    """The feature table in the middle against that of the excerpt that is cut there."""
    waveform, table = _speech(folder), pd.read_parquet(folder / "features.parquet")
    first = waveform.samples.size // 2 // _ALIKE_SAMPLES * _ALIKE_SAMPLES
    n_samples = min(EXCERPT_S * SPEECH_RATE_HZ, waveform.samples.size - first)
    excerpt = Waveform(waveform.samples[first : first + n_samples].copy(), SPEECH_RATE_HZ)
    n_frames = int(n_samples * FPS / SPEECH_RATE_HZ)
    found = extract_features(excerpt, n_frames=n_frames, fps=FPS)
    first_frame = int(first * FPS / SPEECH_RATE_HZ)
    whole = table.iloc[first_frame : first_frame + n_frames].reset_index(drop=True)
    edge = int(EDGE_S * FPS)
    inner = slice(edge, n_frames - edge)
    exact = [*MEL_COLUMNS, "rms_db", "f0_hz", "voiced", "onset", "spectral_centroid_hz"]
    worst = max(float((found[c].astype(float) - whole[c].astype(float)).iloc[inner].abs().max()) for c in exact)
    differ = (found["speech_probability"] - whole["speech_probability"]).abs()
    settled = slice(int(SETTLED_S * FPS), n_frames - edge)
    in_speech = (found["speech_probability"] >= 0.5) != (whole["speech_probability"] >= 0.5)
    return (
        f"{n_frames} frames at {first / SPEECH_RATE_HZ:.2f} s: largest difference {worst:g} (all but the probability); "
        f"probability {differ.iloc[inner].max():.3f}, after {SETTLED_S:g} s {differ.iloc[settled].max():.4f}; "
        f"{int(in_speech.iloc[inner].sum())} frames on another side of 0.5"
    )


def _align(folder: Path, align_s: float) -> str:
    from s2v_pipeline.alignment.choose import align_speech

    waveform = _speech(folder)
    part = Waveform(waveform.samples[: round(align_s * SPEECH_RATE_HZ)].copy(), SPEECH_RATE_HZ)
    segments = segments_from_probabilities(
        np.load(folder / "probabilities.npy")[: part.samples.size // 512], duration_s=float(part.duration_s)
    )
    alignment = align_speech(part, None, segments)
    return f"{len(alignment.phonemes)} phonemes in {float(part.duration_s):g} s by {alignment.method}"


if __name__ == "__main__":
    sys.exit(main())
