"""How exactly the aligners place phones in speech of known phone times.

    python benchmarks/alignment.py --make DIR              # makes a set with flite
    python benchmarks/alignment.py DIR                     # measures on a set
    python benchmarks/alignment.py DIR --noise pink --snr 0,5,10,20
    python benchmarks/alignment.py DIR --by-voice --aligners transcript,recogniser
    python benchmarks/alignment.py DIR --ctc CHECKPOINT

DIR holds NAME.wav (any rate, mono or stereo), NAME.txt (what is said) and NAME.phones.csv (start_s, end_s, phone; CMU's
39 phones with or without stress, TIMIT's labels, SIL, sp, pau and the like). Each recording goes the project's own way:
the inputs' decoder, clean-up, 16 kHz, voice activity, aligner. A recording that something is wrong with is named and
left out. Measures, see s2v_pipeline/alignment/scoring.py:

- median, mean, 20, 25, 50: boundary error in ms, and percent of the boundaries within so many ms. Boundaries are the
  starts of phones that truth and alignment both have, and the end of the last. `bias` is the mean signed error.
- PER: percent of phones wrong. vis: percent of 25 fps frames inside phones that show the right one of 15 visemes;
  vis+sil: of all frames, with silence as a viseme.
- fail: recordings without a result. fell: those in which a transcript, or a step without one, was given up.
- RTF: time of the aligner over the sound's, imports and decoding not counted; CPU: the same of the processor's time,
  in which other work on the machine does not count. MiB: peak memory of the aligner's process.

Belongs here: running the aligners and the print-out.
Does not belong here: the measures (alignment.scoring), sets (alignment_set).
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

if __name__ == "__main__":  # as a script, the folder of this file is on the path, not the one above it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.alignment_set import (
    Recording,
    make_set,
    read_set,
    with_pink_noise,
    with_pink_noise_in_speech,
    write_wav,
)
from s2v_pipeline.alignment.aligner import Alignment
from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.recogniser_aligner import PhoneLoopAligner
from s2v_pipeline.alignment.scoring import Score, pooled, score
from s2v_pipeline.audio.clean import clean, plan_clean_up
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_waveform
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.audio.voice_activity import Segments, speech_probabilities, speech_segments
from s2v_pipeline.errors import S2VError
from s2v_pipeline.inputs.speech import copy_speech
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AlignmentSettings, AudioSettings, InputSettings

_MIB = 2**20
_KIB_PER_MIB = 1024
_COLUMNS = (
    *("aligner", "files", "fail", "fell", "bounds", "median", "mean", "bias", "<=20", "<=25", "<=50"),
    *("PER", "vis", "vis+sil", "RTF", "CPU", "MiB"),
)


@dataclass(frozen=True)
class Prepared:
    """A recording as the aligners get it: 16 kHz samples in a file, and what the graph knows about them."""

    recording: Recording
    samples: Path
    segments: Segments
    is_denoised: bool


@dataclass(frozen=True)
class Aligned:
    """What an aligner's process gives back; `rows` is None where it failed."""

    rows: pd.DataFrame | None
    told: str
    fallbacks: tuple[str, ...] = ()
    took_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0


@dataclass(frozen=True)
class Measured:
    """One recording through one aligner."""

    name: str
    duration_s: float
    aligned: Aligned
    score: Score | None


def clean_up(waveform: Waveform) -> tuple[Waveform, bool]:
    """The cleaned track of a waveform, as the graph analyses it, nothing shifted; and whether noise was taken out."""
    heard = resample(waveform, SPEECH_RATE_HZ)
    plan = plan_clean_up(heard, speech_probabilities(heard), AudioSettings())
    if not plan.changes_anything:
        return waveform, False
    cleaned = clean([waveform.samples[None]], waveform.rate_hz, plan, channels=1)
    return Waveform(np.concatenate(list(cleaned), axis=1)[0], waveform.rate_hz), plan.denoise


def _transcript(waveform: Waveform, speech: Prepared) -> Alignment:
    return align_speech(waveform, speech.recording.transcript, speech.segments, is_denoised=speech.is_denoised)


def _recogniser(waveform: Waveform, speech: Prepared) -> Alignment:
    return align_speech(waveform, None, speech.segments, is_denoised=speech.is_denoised)


def _phone_loop(waveform: Waveform, speech: Prepared) -> Alignment:
    return PhoneLoopAligner(speech.segments).align(waveform)


@dataclass(frozen=True)
class _Checkpoint:
    """A CTC checkpoint, with the transcript or by what it hears itself."""

    folder: Path
    uses_transcript: bool

    def __call__(self, waveform: Waveform, speech: Prepared) -> Alignment:
        settings = AlignmentSettings(aligner="ctc", ctc_checkpoint=self.folder)
        transcript = speech.recording.transcript if self.uses_transcript else None
        return align_speech(waveform, transcript, speech.segments, settings, is_denoised=speech.is_denoised)


Aligning = Callable[[Waveform, Prepared], Alignment]
ALIGNERS: dict[str, Aligning] = {
    "transcript": _transcript,
    "recogniser": _recogniser,
    "phone loop": _phone_loop,
}
"""What is measured, by name; with --ctc also "ctc" and "ctc alone"."""
NEED_TRANSCRIPT = ("transcript", "ctc")


@dataclass(frozen=True)
class Noise:
    """What is mixed in.

    Attributes:
        in_speech: whether only speech counts as speech, and only what is heard as noise; see `alignment_set`.
    """

    snr_db: float
    in_speech: bool

    def __str__(self) -> str:
        return f"pink noise{' in speech' if self.in_speech else ''}, SNR {self.snr_db:g} dB"

    def mixed(self, waveform: Waveform, truth: pd.DataFrame, name: str) -> Waveform:
        """The noisy recording."""
        if self.in_speech:
            return with_pink_noise_in_speech(waveform, truth, self.snr_db, name)
        return with_pink_noise(waveform, self.snr_db, name)


def prepared(recordings: Iterable[Recording], work: Path, noise: Noise | None) -> Iterator[Prepared | str]:
    """Each recording by the project's own way to 16 kHz; a line that says why where that fails."""
    for recording in recordings:
        if recording.truth is None:
            yield f"{recording.name}: left out: {recording.problem}"
            continue
        flac, samples = work / f"{recording.name}.flac", work / f"{recording.name}.npy"
        try:
            copy_speech(recording.wav, flac, InputSettings())
            if noise is not None:
                noisy = work / f"{recording.name}.wav"
                write_wav(noisy, noise.mixed(read_waveform(flac), recording.truth, recording.name))
                copy_speech(noisy, flac, InputSettings())
            cleaned, is_denoised = clean_up(read_waveform(flac))
            waveform = resample(cleaned, SPEECH_RATE_HZ)
        except S2VError as error:
            yield f"{recording.name}: left out: {error}"
            continue
        np.save(samples, waveform.samples)
        flac.unlink()
        yield Prepared(recording, samples, speech_segments(waveform), is_denoised)


def align_one(aligning: Aligning, prepared_speech: Prepared) -> Aligned:
    """Runs in the aligner's process: one recording; an exception is a failure that is told."""
    waveform = Waveform(np.load(prepared_speech.samples), SPEECH_RATE_HZ)
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        result = aligning(waveform, prepared_speech)
    except Exception as error:  # noqa: BLE001 - a failure is counted and printed, and must not end the run
        return Aligned(None, f"{type(error).__name__}: {error}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (_MIB if sys.platform == "darwin" else _KIB_PER_MIB)
    took_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return Aligned(result.phonemes, result.method, result.fallbacks, took_s, cpu_s, peak_mib)


def measured(aligning: Aligning, speeches: Sequence[Prepared]) -> Iterator[Measured]:
    """All recordings through one aligner, in a process of its own, which is replaced where it dies."""
    pool = _new_pool()
    for speech in speeches:
        try:
            aligned = pool.submit(align_one, aligning, speech).result()
        except BrokenProcessPool:
            aligned = Aligned(None, "the aligner's process died")
            pool = _new_pool()
        truth = speech.recording.truth
        result = score(truth, aligned.rows) if aligned.rows is not None and truth is not None else None
        yield Measured(speech.recording.name, _duration_s(speech), aligned, result)
    pool.shutdown()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))


def _duration_s(speech: Prepared) -> float:
    return np.load(speech.samples, mmap_mode="r").size / SPEECH_RATE_HZ


def table_row(name: str, results: Sequence[Measured]) -> list[str]:
    """The figures of `_COLUMNS`; dashes where nothing was scored."""
    total = pooled(result.score for result in results if result.score is not None)
    failed = sum(result.score is None for result in results)
    fell = sum(bool(result.aligned.fallbacks) for result in results)
    row = [name, str(len(results)), str(failed), str(fell)]
    if total is None or not total.errors_s.size:
        return row + ["-"] * (len(_COLUMNS) - len(row))
    errors_ms = 1000 * np.abs(total.errors_s)
    done = [result for result in results if result.score is not None]
    duration_s = sum(result.duration_s for result in done)
    return [
        *row,
        str(errors_ms.size),
        *(f"{value:.1f}" for value in (np.median(errors_ms), np.mean(errors_ms), 1000 * np.mean(total.errors_s))),
        *(f"{100 * np.mean(errors_ms <= limit + 1e-6):.1f}" for limit in (20, 25, 50)),
        *(f"{100 * value:.1f}" for value in (total.phone_error_rate, total.viseme_accuracy, total.all_viseme_accuracy)),
        f"{sum(result.aligned.took_s for result in done) / duration_s:.3f}",
        f"{sum(result.aligned.cpu_s for result in done) / duration_s:.3f}",
        f"{max(result.aligned.peak_mib for result in done):.0f}",
    ]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns under each other, which is Markdown as well."""
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS))]
    for row in (_COLUMNS, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def run(
    recordings: Sequence[Recording], aligners: Mapping[str, Aligning], noise: Noise | None, *, by_voice: bool
) -> bool:
    """Measures and prints one table; whether anything was scored."""
    with tempfile.TemporaryDirectory(prefix="alignment-") as work:
        found = list(prepared(recordings, Path(work), noise))
        speeches = [item for item in found if isinstance(item, Prepared)]
        rows: list[list[str]] = []
        told = [item for item in found if isinstance(item, str)]
        for aligner, aligning in aligners.items():
            usable = [speech for speech in speeches if aligner not in NEED_TRANSCRIPT or speech.recording.transcript]
            told.extend(
                f"{speech.recording.name}: {aligner}: left out: there is no NAME.txt, or it is empty"
                for speech in speeches
                if speech not in usable
            )
            results = list(measured(aligning, usable))
            told.extend(
                f"{result.name}: {aligner}: {line}"
                for result in results
                for line in (result.aligned.fallbacks if result.score else (f"FAILED: {result.aligned.told}",))
            )
            rows.append(table_row(aligner, results))
            if by_voice:
                for voice in sorted({result.name.split("_")[0] for result in results}):
                    of_voice = [result for result in results if result.name.split("_")[0] == voice]
                    rows.append(table_row(f"  {voice}", of_voice))
        print(f"{noise or 'as recorded'}, {len(speeches)} recordings")
        print_table(rows)
        print("\n".join(told), file=sys.stderr, flush=True)
    return any(row[4] != "-" for row in rows)


def main() -> int:
    """The command line; 0 if something was measured or made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a set to measure on")
    parser.add_argument(
        "--make", type=Path, metavar="DIR", help="make a set with flite, and measure on it if no DIR is given"
    )
    parser.add_argument("--only-make", action="store_true", help="with --make: do not measure")
    parser.add_argument("--sentences", type=int, default=10, help="with --make: sentences for each voice, at most 20")
    parser.add_argument("--ctc", type=Path, metavar="CHECKPOINT", help="folder of a Wav2Vec2ForCTC model")
    parser.add_argument("--aligners", help=f"of {', '.join(ALIGNERS)}, and with --ctc: ctc, ctc alone; all by default")
    parser.add_argument(
        "--noise",
        choices=["pink", "pink-in-speech"],
        help="mix noise in, the same in every run; in-speech: pauses do not count in the SNR, nor what is below 20 Hz",
    )
    parser.add_argument("--snr", default="0,5,10,20", help="with --noise: ratios in dB")
    parser.add_argument("--by-voice", action="store_true", help="a row for each NAME up to its first underscore")
    parser.add_argument("--only", default="", help="with only those recordings whose NAME starts with one of these")
    arguments = parser.parse_args()
    known = dict(ALIGNERS)
    if arguments.ctc is not None:
        folder = arguments.ctc.absolute()
        known |= {"ctc": _Checkpoint(folder, True), "ctc alone": _Checkpoint(folder, False)}
    aligners = [name.strip() for name in arguments.aligners.split(",")] if arguments.aligners else list(known)
    unknown = [name for name in aligners if name not in known]
    folder = arguments.folder or arguments.make
    if unknown or folder is None:
        parser.error(f"unknown aligners: {', '.join(unknown)}" if unknown else "name a folder, or --make DIR")
    try:
        if arguments.make:
            print(f"{make_set(arguments.make, n_sentences=arguments.sentences)} recordings in {arguments.make}")
            if arguments.only_make:
                return 0
        starts = tuple(arguments.only.split(",")) if arguments.only else ("",)
        recordings = [recording for recording in read_set(folder) if recording.name.startswith(starts)]
        noises: list[Noise | None] = [None]
        if arguments.noise:
            noises += [Noise(float(text), arguments.noise == "pink-in-speech") for text in arguments.snr.split(",")]
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for noise in noises:
        if not run(recordings, {name: known[name] for name in aligners}, noise, by_voice=arguments.by_voice):
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
