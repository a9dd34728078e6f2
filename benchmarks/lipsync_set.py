"""Lips against phones over several voices: the measures of benchmarks/lipsync.py on videos of the portrait generator.

    python -m benchmarks.lipsync_set --make DIR     # speaks sentences rich in P, B, M with flite, then measures
    python -m benchmarks.lipsync_set --set DIR      # measures with recordings of known phone times

A set is a folder as benchmarks/alignment_set.py makes it. All recordings of a voice (the part of the name before the
first underscore) are joined with pauses to one speech, whose true phones drive the generator: what is measured is the
picture alone, without the aligner's errors. The sound's own lag against the phones is measured as a file's is.

Columns: seconds of speech; correlation of opening and openness at its best lag; that lag, and the picture against the
sound, each with half of its 95 % range; the correlation with shifted phones, and the standard deviation of chance; P, B
and M closed, and the share of other phones at which the lips look closed, too; contrasts of the mouth's width (spread
over round, rounding, spreading) and of pucker, in standard deviations; lips in pauses and on a frozen face, trembling
of the head and of a frozen one, shape against the portrait and its largest drift, all in thousandths of the eyes'
distance; the largest colour drift (CIE 1976); blinks a minute.

Belongs here: making the videos, the tables. Does not belong here: the measures (s2v_pipeline/video).
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import wavfile

from benchmarks.alignment_set import VOICES, Recording, make_set, read_set
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.audio.resample import resample
from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.chunks.request import FileRef
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.portrait.generator import PortraitGenerator
from s2v_pipeline.generation.portrait.motion import CONTEXT_S
from s2v_pipeline.inputs.framing import frame_portrait
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan, frames_for_samples
from s2v_pipeline.video.face_track import face_of_picture
from s2v_pipeline.video.sound_lag import sound_lag
from s2v_pipeline.video.talking_face import TalkingFace, measure_talking_face

SAMPLE_PORTRAIT = Path(__file__).parent.parent / "data" / "samples" / "astronaut" / "portrait.png"
RATE_HZ = 16_000
PAUSE_S = 1.6  # between sentences: half of it is left when lips have settled

SENTENCES = (
    "Bob may pay the baker for a map of Bombay.",
    "My mother put the baby's blue bib by the lamp.",
    "Please keep the big copper pump above the table.",
    "Pam bumped a plump pumpkin up the pebble path.",
    "Somebody swapped my purple cap for a broken umbrella.",
    "Maybe Peter remembers the name of the moonlit boat.",
    "A number of people jumped from the ramp at midnight.",
    "The bishop spoke simply about problems of the empire.",
    "Warm plum jam and brown bread make a simple supper.",
    "We swam two miles past the pier before the storm.",
    "Two wolves moved slowly through the open woods at noon.",
    "Each spring they clean the green seats near the sea.",
)
"""Our own words: about ten closures of the lips in each, and rounded and spread vowels in the last three."""


def speech_of(recordings: list[Recording]) -> tuple[Waveform, pd.DataFrame]:
    """The recordings one after another, with pauses; and their phones."""
    parts, tables, at = [], [], round(PAUSE_S * RATE_HZ)
    parts.append(np.zeros(at, np.float32))
    for recording in recordings:
        assert recording.truth is not None
        rate_hz, samples = wavfile.read(recording.wav)
        sound = resample(Waveform((samples / 32768).astype(np.float32), rate_hz), RATE_HZ).samples
        table = recording.truth[["phone", "start_s", "end_s"]].copy()
        table[["start_s", "end_s"]] += at / RATE_HZ
        tables.append(table[table["phone"] != "SIL"])
        parts += [sound, np.zeros(round(PAUSE_S * RATE_HZ), np.float32)]
        at += len(sound) + len(parts[-1])
    return Waveform(np.concatenate(parts), RATE_HZ), _with_silence(pd.concat(tables), at / RATE_HZ)


def _with_silence(said: pd.DataFrame, end_s: float) -> pd.DataFrame:
    rows, at = [], 0.0
    for row in said.itertuples():
        if row.start_s > at + 1e-6:
            rows.append(("SIL", at, row.start_s))
        rows.append((row.phone, row.start_s, row.end_s))
        at = row.end_s
    if end_s > at:
        rows.append(("SIL", at, end_s))
    return pd.DataFrame(rows, columns=["phone", "start_s", "end_s"])


def make_video(
    speech: Waveform, phones: pd.DataFrame, portrait: FileRef, path: Path, *, size_px: int, fps: Fraction, prompt: str
) -> None:
    """Picture alone: generator, then the clips' encoder."""
    n_frames = frames_for_samples(len(speech.samples), RATE_HZ, fps)
    features = extract_features(speech, n_frames=n_frames, fps=fps)
    summary = describe_speech(speech, features)
    video = VideoRequest(
        input_id="set",
        fps=fps,
        width_px=size_px,
        height_px=size_px,
        input_seed=7,
        prompt=prompt,
        portrait=portrait,
        speech_level_db=summary.speech_level_db,
        median_f0_hz=summary.median_f0_hz,
    )
    plan = plan_chunks(n_frames, chunk_frames=n_frames)
    (request,) = build_requests(video, plan, phonemes=phones, features=features, context_s=CONTEXT_S)
    generator = PortraitGenerator()
    encode_clip(
        iter(generator.decode(request, generator.generate(request, None))),
        path,
        frames=FrameSpan(0, n_frames),
        fps=fps,
        width_px=size_px,
        height_px=size_px,
        settings=VideoSettings(),
    )


def framed(portrait: Path, folder: Path, size_px: int, landmarker: FaceLandmarker) -> FileRef:
    """The portrait as the inputs stage frames it."""
    with Image.open(portrait) as image:
        pixels = np.asarray(image.convert("RGB"))
    face = landmarker.find(pixels)[0]
    path = folder / "portrait.png"
    Image.fromarray(frame_portrait(pixels, face, width_px=size_px, height_px=size_px).pixels).save(path)
    return FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest())


def row(name: str, m: TalkingFace) -> str:
    lips, closures, shape, silence = m.lips, m.lips.closures, m.lips.shape, m.lips.silence
    assert lips.opening is not None, lips.cannot_tell
    assert closures is not None, lips.cannot_tell
    noise = m.noise.jitter if m.noise is not None else None
    shapes = () if shape is None else (shape.spread_over_round, shape.rounding, shape.spreading, shape.pucker)
    cells = (
        name,
        f"{lips.speech_s:.0f}",
        f"{lips.opening.correlation:.3f}",
        _plus_minus(lips.picture_lag_s, lips.picture_lag_95_s),
        "-" if m.offset is None else _plus_minus(m.offset.picture_minus_sound_s, m.offset.uncertainty_95_s),
        f"{lips.opening.control:+.2f}, {lips.opening.chance_std:.2f}",
        f"{closures.reached}/{closures.total}",
        "-" if closures.elsewhere is None else f"{closures.elsewhere:.0%}",
        " ".join(f"{value:.1f}" for value in shapes) or "-",
        "-"
        if silence is None or m.noise is None
        else _over(1000 * silence.deviation, 1000 * m.noise.opening_deviation),
        "-" if m.jitter is None or noise is None else _over(m.jitter.rms, noise.rms),
        "-" if m.identity is None else f"{m.identity.against_portrait:.0f}, {m.identity.drift:.0f}",
        f"{max(colour.drift for colour in m.colours):.1f}",
        "-" if m.blinks is None or m.blinks.per_minute is None else f"{m.blinks.per_minute:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _plus_minus(value_s: float | None, uncertainty_s: float | None) -> str:
    return "-" if value_s is None or uncertainty_s is None else f"{1000 * value_s:+.0f} ± {1000 * uncertainty_s:.0f}"


def _over(value: float, floor: float) -> str:
    return f"{value:.1f} / {floor:.1f}"


COLUMNS = (
    *("voice", "s", "opening", "lag ms", "A/V ms", "control, chance", "closed", "elsewhere", "shape"),
    *("silence / frozen", "trembling / frozen", "portrait, drift", "colour", "blinks"),
)


def missed_phones(phones: pd.DataFrame, m: TalkingFace) -> list[tuple[str, str]]:
    """(phone with its neighbours, its length and how far it stayed open) of each missed closure."""
    said = []
    for name, start_s, share in m.lips.closures.missed if m.lips.closures else ():
        at = int(np.abs(phones["start_s"] - start_s).argmin())
        around = phones["phone"].iloc[max(0, at - 1) : at + 3]
        length_ms = 1000 * (phones["end_s"].iloc[at] - phones["start_s"].iloc[at])
        said.append((name, f"{' '.join(around)}: {length_ms:.0f} ms, open to {share:.2f}, at {start_s:.2f} s"))
    return said


def main(folder: Path, given: argparse.Namespace) -> None:
    landmarker = FaceLandmarker()
    usable = [recording for recording in read_set(folder) if recording.problem is None]
    by_voice = {
        voice: list(group) for voice, group in groupby(usable, key=lambda recording: recording.name.partition("_")[0])
    }
    measured: dict[str, TalkingFace] = {}
    missed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as name:
        work = given.keep or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        portrait = framed(given.portrait, work, given.size, landmarker)
        with Image.open(portrait.path) as image:
            face = face_of_picture(np.asarray(image), landmarker)
        for voice, recordings in by_voice.items():
            speech, phones = speech_of(recordings)
            video = work / f"{voice}.mp4"
            make_video(speech, phones, portrait, video, size_px=given.size, fps=given.fps, prompt=given.prompt)
            phones.to_csv(work / f"{voice}.csv", index=False)
            measured[voice] = measure_talking_face(
                video,
                phones,
                landmarker,
                settings=VideoSettings(),
                portrait=face,
                sound=sound_lag(speech, phones),
            )
            missed[voice] = missed_phones(phones, measured[voice])
            print(row(voice, measured[voice]), flush=True)
    closures = [m.lips.closures for m in measured.values() if m.lips.closures is not None]
    reached, total = sum(c.reached for c in closures), sum(c.total for c in closures)
    correlation = np.mean([m.lips.opening.correlation for m in measured.values() if m.lips.opening is not None])
    print(f"\nall: {reached} of {total} closures, {reached / total:.1%}; mean correlation {correlation:.3f}")
    by_phone = Counter(phone for lines in missed.values() for phone, _ in lines)
    print(f"missed: {', '.join(f'{n} {phone}' for phone, n in by_phone.items()) or 'none'}")
    for voice, lines in missed.items():
        for _, line in lines:
            print(f"  {voice}: {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--make", type=Path, help="folder for a new set, spoken by flite")
    where.add_argument("--set", type=Path, help="folder of a set")
    parser.add_argument("--voices", nargs="+", default=[voice for voice in VOICES if voice != "kal"])
    parser.add_argument("--portrait", type=Path, default=SAMPLE_PORTRAIT)
    parser.add_argument("--size", type=int, default=320, help="pixels a side")
    parser.add_argument("--fps", type=Fraction, default=Fraction(25))
    parser.add_argument("--prompt", default="")
    parser.add_argument("--keep", type=Path, help="folder that keeps the videos and their phones")
    arguments = parser.parse_args()
    if arguments.make:
        make_set(arguments.make, sentences=SENTENCES, voices=tuple(arguments.voices))
    main(arguments.make or arguments.set, arguments)
