"""What the graph costs beside making pictures: wall time of the two chunk steps minus pure generation, per chunk.

    python -m benchmarks.overhead [--chunks 1,10,100] [--executor in_process|ray]

Speech of as many times 0.48 s as there are chunks, `portrait` at 192x192, one worker. Pure generation is a plain loop
over the same requests in this process: generate, decode, encode into a file, nothing else. Both are warm: a video was
made before, Ray is not started anew within a measured step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import wavfile

from s2v_pipeline.api import command_source
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.encoders import SOFTWARE
from s2v_pipeline.defs.chunk_steps import plan_requests
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.launch import Project, register, run_here
from s2v_pipeline.generation.registry import load_generator, spec_of
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.packaged import packaged_path

SAMPLE = packaged_path("samples") / "astronaut"
CHUNK_S = 0.48  # twelve frames
SETTINGS = """
[video]
width_px = 192
height_px = 192
x264_preset = "ultrafast"
[generation]
chunk_s = {chunk_s}
[gate]
enabled = false
[cluster]
executor = "{executor}"
num_cpus = 1
"""
CHUNK_STEPS = ("chunk_latents", "rendered_clips")
CACHED = CHUNK_STEPS  # assets of the same names hold the files


@dataclass(frozen=True)
class Measured:
    """Seconds of one video: the chunk steps of its run, all steps, the plain loop."""

    n_chunks: int
    steps_s: float
    run_s: float
    pure_s: float

    @property
    def overhead_ms(self) -> float:
        """Per chunk."""
        return (self.steps_s - self.pure_s) / self.n_chunks * 1000


def write_speech(path: Path, n_chunks: int) -> None:
    """The sample's voice, repeated to the length of so many chunks."""
    rate_hz, samples = wavfile.read(SAMPLE / "speech.wav")
    n_samples = round(n_chunks * CHUNK_S * rate_hz)
    wavfile.write(path, rate_hz, np.resize(samples, n_samples))


def pure_seconds(requests: tuple[ChunkRequest, ...], project: Project) -> float:
    """Making and encoding all chunks in a plain loop."""
    settings = project.settings().settings
    generator = load_generator(spec_of(settings))
    with tempfile.TemporaryDirectory() as folder:
        began_at = time.perf_counter()
        for request in requests:
            encode_clip(
                generator.decode(request, generator.generate(request, None)),
                Path(folder) / f"{request.index}.mp4",
                frames=request.frames,
                fps=request.fps,
                width_px=request.width_px,
                height_px=request.height_px,
                settings=settings.video,
                encoder=SOFTWARE["h264"],
                on_frame=lambda: None,
            )
        return time.perf_counter() - began_at


def measure(project: Project, n_chunks: int) -> Measured:
    name = f"chunks-{n_chunks}"
    speech = project.folder / f"{name}.wav"
    write_speech(speech, n_chunks)
    source = command_source(SAMPLE / "portrait.png", speech, prompt="", transcript=None, settings={}, name=name)
    with project.instance() as instance:
        (input_id,) = register(project, instance, [source])
        began_at = time.perf_counter()
        outcome = run_here(project, instance, input_id, way_in="benchmark")
        run_s = time.perf_counter() - began_at
    assert outcome.error is None, outcome.error
    store = project.pipeline.store()
    prepared = load_value(store, "speech_inputs", input_id)
    features = load_value(store, "audio_features", input_id)
    phonemes = load_value(store, "phoneme_alignments", input_id)
    assert isinstance(prepared, SpeechInput)
    assert isinstance(features, pd.DataFrame)
    assert isinstance(phonemes, pd.DataFrame)
    settings = project.pipeline.settings_for(source).settings
    requests = plan_requests(project.pipeline, settings, prepared, features, phonemes)
    assert len(requests) == n_chunks
    return Measured(n_chunks, sum(outcome.step_s[step] for step in CHUNK_STEPS), run_s, pure_seconds(requests, project))


@contextmanager
def project(executor: str) -> Iterator[Project]:
    """A fresh project folder with a Dagster instance of its own."""
    before = os.environ.pop("DAGSTER_HOME", None)
    with tempfile.TemporaryDirectory(prefix="s2v-overhead-") as folder:
        (Path(folder) / "s2v.toml").write_text(SETTINGS.format(chunk_s=CHUNK_S, executor=executor))
        yield Project(Path(folder))
    os.environ.pop("DAGSTER_HOME", None)
    if before is not None:
        os.environ["DAGSTER_HOME"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", default="1,10,100")
    parser.add_argument("--executor", choices=("in_process", "ray"), default="in_process")
    flags = parser.parse_args()
    with project(flags.executor) as here:
        measure(here, 2)  # what the first video of a process loads is not counted
        print("| chunks | steps s | pure s | overhead ms a chunk | share of the steps | whole run s |")
        print("|---|---|---|---|---|---|")
        for n_chunks in map(int, flags.chunks.split(",")):
            found = measure(here, n_chunks)
            print(
                f"| {n_chunks} | {found.steps_s:.2f} | {found.pure_s:.2f} | {found.overhead_ms:.0f} "
                f"| {1 - found.pure_s / found.steps_s:.0%} | {found.run_s:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
