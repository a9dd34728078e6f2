"""How many broken videos the gate finds, and how many good ones it takes for broken.

    python -m benchmarks.gate WORK --voices FOLDER [--portraits FOLDER] [--good 40] [--only NAME]

Makes good videos of different people, voices, sizes and rates through the asset graph in the project folder WORK (what
is there is taken as it is), puts one defect each into some of them, and judges all of them as the graph does. Good ones
written again without a defect are judged, too: what only the writing does must not count as found.
VOICES holds NAME.wav and NAME.txt (`python -m benchmarks.alignment FOLDER --make` makes some with flite).

Belongs here: making the videos, counting, the table. Does not belong here: the defects (broken_videos), the measures
and limits (s2v_pipeline.video).
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.broken_videos import DEFECTS, Film, Material, mouth_of, write_film
from s2v_pipeline.api import SpeechToVideo
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.errors import ArtifactError, S2VError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.video.expected import expected_video
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline.video.gate import judge
from s2v_pipeline.video.inspection import Expected, inspect_video
from s2v_pipeline.video.verdict import CHECKS, Measured, passed

SIZES = ((320, 320, "25"), (256, 256, "30"), (384, 320, "25"), (320, 320, "30000/1001"))
PROMPTS = ("calm", "energetic, smiling", "serious, looking at the camera", "")
PAUSE_S = 1.4  # between two sentences: long enough for lips to rest
MATERIALS = 4  # good videos that defects are put into, in turn
RATE_HZ = 16_000


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--portraits", type=Path, help="folder of pictures besides the shipped sample")
    parser.add_argument("--good", type=int, default=40)
    parser.add_argument("--only", action="append", help="defects whose names hold this text; can be given again")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    landmarker, limits = FaceLandmarker(), GateSettings()
    good = _good_videos(arguments.work, arguments.voices, arguments.portraits, arguments.good)
    rows = []
    for name, video, expected in tqdm(good, desc="good", unit="video"):
        rows.append(_row("good", name, _judged(video, expected, landmarker, limits)))
    materials = _materials(good[: MATERIALS + 1], landmarker)
    for number, (material, expected) in enumerate(materials):
        path = arguments.work / f"rewritten-{number}.mp4"
        write_film(material.film, path)
        rows.append(_row("good", f"written again {number}", _judged(path, expected, landmarker, limits)))
    wanted = {
        name: defect for name, defect in DEFECTS.items() if not arguments.only or any(t in name for t in arguments.only)
    }
    broken = arguments.work / "broken"
    broken.mkdir(exist_ok=True)
    chosen = zip(tqdm(wanted.items(), desc="broken", unit="video"), itertools.cycle(materials), strict=False)
    for (name, defect), (material, expected) in chosen:
        path = broken / f"{name.replace(' ', '_').replace('%', 'pc').replace(',', '')}.mp4"
        film = defect(material)
        write_film(film, path)
        captions = path.with_suffix(".vtt")
        captions.write_text(film.captions, encoding="utf-8")
        rows.append(_row("broken", name, _judged(path, replace(expected, captions=(captions,)), landmarker, limits)))
    table = pd.DataFrame(rows)
    table.to_json(arguments.work / "gate.json", orient="records", indent=1)
    _print(table)


def _good_videos(work: Path, voices: Path, portraits: Path | None, n: int) -> list[tuple[str, Path, Expected]]:
    faces = [Path("data/samples/astronaut/portrait.png")]
    if portraits is not None:
        faces += sorted(path for path in portraits.iterdir() if path.suffix in (".jpg", ".png"))
    sounds = sorted(voices.glob("*.wav"))
    made = []
    with SpeechToVideo(project_dir=work) as pipeline:
        for number in tqdm(range(n), desc="making", unit="video"):
            width, height, fps = SIZES[number % len(SIZES)]
            pair = [sounds[(number * 7 + step * 11) % len(sounds)] for step in (0, 1)]
            name = f"good-{number:02d}"
            speech, text = _two_sentences(pair, work / f"{name}.wav")
            output = _made_before(pipeline, name)
            try:
                output = (
                    output
                    or pipeline.generate_video(
                        image_path=faces[number % len(faces)],
                        audio_path=speech,
                        transcript=text,
                        prompt=PROMPTS[number % len(PROMPTS)],
                        width=width,
                        height=height,
                        fps=fps,
                        seed=number,
                        name=name,
                    ).output_path
                )
            except S2VError as error:
                tqdm.write(f"{name}: {error}")
                continue
            made.append(
                (
                    f"{name} {faces[number % len(faces)].stem} {pair[0].stem}",
                    output,
                    _expected(pipeline, name),
                )
            )
    return made


def _made_before(pipeline: SpeechToVideo, name: str) -> Path | None:
    """The video of an earlier call, as it is."""
    store = pipeline._project.pipeline.store()  # noqa: SLF001
    try:
        value = load_value(store, "final_videos", name)
    except ArtifactError:
        return None
    return store.read_path("final_videos", name, value.video_part)  # type: ignore[union-attr]


def _two_sentences(pair: list[Path], path: Path) -> tuple[Path, str]:
    """Both with a pause between them, in one file."""
    sounds = []
    for source in pair:
        with av.open(str(source)) as container:
            resampler = av.AudioResampler("flt", "mono", RATE_HZ)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
        sounds.append(np.concatenate([frame.to_ndarray()[0] for frame in frames]))
    samples = np.concatenate([sounds[0], np.zeros(int(PAUSE_S * RATE_HZ), np.float32), sounds[1]])
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    text = " ".join(source.with_suffix(".txt").read_text(encoding="utf-8").strip() for source in pair)
    return path, text


def _expected(pipeline: SpeechToVideo, name: str) -> Expected:
    resource = pipeline._project.pipeline  # noqa: SLF001 - a benchmark looks inside
    store = resource.store()
    value = {
        asset: load_value(store, asset, name)
        for asset in ("speech_inputs", "audio_features", "phoneme_alignments", "final_videos")
    }
    settings = resource.settings_for(resource.catalogue().get(name)).settings
    return expected_video(
        value["speech_inputs"],
        value["audio_features"].attrs,
        value["phoneme_alignments"],
        value["final_videos"],
        settings,
        store,  # type: ignore[arg-type, union-attr]
    )


def _materials(good: list[tuple[str, Path, Expected]], landmarker: FaceLandmarker) -> list[tuple[Material, Expected]]:
    films = [(_film(video, expected), expected) for _, video, expected in good]
    materials = []
    for (film, expected), (other, _) in itertools.pairwise(films):
        size = film.frames.shape[2], film.frames.shape[1]
        same_size = np.stack([cv2.resize(frame, size) for frame in other.frames])
        fps = float(film.fps)

        def spans(
            names: tuple[str, ...], margin_s: float, fps: float = fps, table: pd.DataFrame = expected.phonemes
        ) -> tuple[tuple[int, int], ...]:
            chosen = table[table["phone"].isin(names)]
            found = [
                (int((a + margin_s) * fps), int((b - margin_s) * fps) + 1)
                for a, b in zip(chosen["start_s"], chosen["end_s"], strict=True)
            ]
            return tuple((a, b) for a, b in found if b > a)

        materials.append(
            (
                Material(
                    film,
                    replace(other, frames=same_size),
                    mouth_of(film.frames[0], landmarker),
                    spans(("SIL",), 0.25),
                    spans(("P", "B", "M"), 0.0),
                ),
                expected,
            )
        )
    return materials


def _film(video: Path, expected: Expected) -> Film:
    frames = np.stack([shown.pixels for shown in iter_frames(video)])
    with av.open(str(expected.speech)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", stream.layout, stream.rate)
        blocks = [out.to_ndarray() for frame in container.decode(stream) for out in resampler.resample(frame)]
        rate_hz = stream.rate
    vtt = next(path for path in expected.captions if path.suffix == ".vtt")
    return Film(frames, expected.fps, np.concatenate(blocks, axis=1), rate_hz, vtt.read_text(encoding="utf-8"))


def _judged(
    video: Path, expected: Expected, landmarker: FaceLandmarker, limits: GateSettings
) -> tuple[Measured, ...] | str:
    try:
        return judge(inspect_video(video, expected, landmarker), expected, limits)
    except S2VError as error:
        return str(error)


def _row(kind: str, name: str, measured: tuple[Measured, ...] | str) -> dict[str, object]:
    if isinstance(measured, str):
        return {"kind": kind, "name": name, "failed": ["unreadable"], "lines": [measured], "measures": []}
    failed = [check for check in CHECKS if not passed(measured, check)]
    lines = [measure.line for measure in measured if not measure.passed]
    return {"kind": kind, "name": name, "failed": failed, "lines": lines, "measures": [asdict(m) for m in measured]}


def _print(table: pd.DataFrame) -> None:
    for kind, rows in table.groupby("kind"):
        caught = int((rows["failed"].str.len() > 0).sum())
        print(f"\n{kind}: {caught} of {len(rows)} fail")
        for row in rows.itertuples():
            if kind == "broken" or row.failed:
                print(f"  {row.name}: {'; '.join(row.lines) or 'NOT FOUND'}")
    print(json.dumps({kind: int((rows["failed"].str.len() > 0).sum()) for kind, rows in table.groupby("kind")}))


if __name__ == "__main__":
    main()
