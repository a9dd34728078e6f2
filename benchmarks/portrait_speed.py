"""How fast the portrait generator draws, stage by stage, and how much memory it takes.

    python -m benchmarks.portrait_speed [--sizes 256x256 512x512 1080x1080 1920x1080] [--seconds 4] [--spike FOLDER]
    python -m benchmarks.portrait_speed --memory 10 600 [--sizes 256x256]

Stages are processor time of one process in which OpenCV has one thread: other programs that take the cores' time do not
count, those that take their caches do. A stage does not include the stages that it calls. Frames a second are wall time
of one process, and of two that start together, each bound to a core of its own and drawing and encoding other chunks,
as the graph's workers do; processor time beside it.

`--spike` draws the same portrait and phones with the code in a folder that has `face_anim.Portrait`,
`face_anim.Animator` and `visemes.tracks`, in the same run; it is given our landmarks and our encoder.

`--memory` draws and encodes speech of so many seconds, chunk by chunk in one process, and prints the peak of its
resident memory, and its memory at every tenth of the way: nothing is extrapolated.

Belongs here: the measurement and its print-out. Does not belong here: pictures and speech (portrait_scene).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.portrait_scene import FPS, Reading, framed, requests_for
from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.portrait import renderer as renderer_module
from s2v_pipeline.generation.portrait.eyelids import Eye
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.frame_warp import FrameWarp
from s2v_pipeline.generation.portrait.generator import PortraitGenerator
from s2v_pipeline.generation.portrait.motion import make_motion
from s2v_pipeline.generation.portrait.mouth_patch import MouthPatch
from s2v_pipeline.generation.portrait.relief import HeadGrid
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan

MB = 1 << 20
# (owner, name, stage): what is timed by itself inside `Renderer.render`; the rest of it is "expression".
STAGES: tuple[tuple[Any, str, str], ...] = (
    (HeadGrid, "forward", "head"),
    (renderer_module, "invert", "head"),
    (FrameWarp, "moved", "warp"),
    (Eye, "compose", "eyes"),
    (MouthPatch, "compose", "mouth"),
    (FrameWarp, "paste", "paste"),
)
Pixels = NDArray[np.uint8]


class Stopwatch:
    """Processor time by stage; a stage that calls another stands still meanwhile."""

    def __init__(self) -> None:
        self.seconds_s: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since_s = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._note()
        self._running.append(name)
        yield
        self._note()
        self._running.pop()

    @contextmanager
    def watching(self, stages: tuple[tuple[Any, str, str], ...]) -> Iterator[None]:
        """Functions replaced by timed ones."""
        originals = [getattr(owner, name) for owner, name, _ in stages]
        for (owner, name, stage), original in zip(stages, originals, strict=True):
            setattr(owner, name, self._timed(original, stage))
        try:
            yield
        finally:
            for (owner, name, _), original in zip(stages, originals, strict=True):
                setattr(owner, name, original)

    def _timed(self, original: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return original(*args, **kwargs)

        return timed

    def _note(self) -> None:
        now_s = time.process_time()
        if self._running:
            self.seconds_s[self._running[-1]] += now_s - self._since_s
        self._since_s = now_s


def stages(size_px: tuple[int, int], seconds: float, folder: Path) -> dict[str, float]:
    """Milliseconds of processor time: "model" once, the others a frame."""
    watch = Stopwatch()
    pixels, portrait = framed(*size_px, folder)
    landmarker = FaceLandmarker()
    with watch.stage("model, once"):
        renderer = Renderer(FaceModel.from_portrait(pixels, landmarker))
    requests = requests_for(portrait, size_px, seconds)
    with watch.stage("motion"):
        rows = np.concatenate([make_motion(request).values for request in requests])
    frames = np.empty((len(rows), size_px[1], size_px[0], 3), np.uint8)
    renderer.render(rows[0])
    with watch.watching(STAGES):
        for index, row in enumerate(rows):
            with watch.stage("expression"):
                renderer.render(row, frames[index])
    with watch.stage("encode"):
        _encode(frames, folder / "stages.mp4", size_px)
    once = watch.seconds_s.pop("model, once")
    return {"model, once": 1e3 * once, **{k: 1e3 * v / len(rows) for k, v in watch.seconds_s.items()}}


def spike_stages(size_px: tuple[int, int], seconds: float, folder: Path, spike: Path) -> dict[str, float]:
    """The same of the spike, whose frames are squares."""
    sys.path.insert(0, str(spike))
    import face_anim  # type: ignore[import-not-found]
    import visemes  # type: ignore[import-not-found]

    watch = Stopwatch()
    pixels, _ = framed(*size_px, folder)
    landmarker = FaceLandmarker()

    class Landmarks:
        ir = None

        def __call__(self, image: Pixels) -> tuple[NDArray[np.float64], float]:
            return landmarker.find(image)[0].landmarks_px[:468].astype(np.float64), 1.0

    with watch.stage("model, once"):
        animator = face_anim.Animator(face_anim.Portrait(pixels, size_px[0], lm=Landmarks()))
    reading = Reading.load()
    sound = np.resize(reading.waveform.samples.astype(np.float64), int(seconds * reading.waveform.rate_hz))
    phones = list(reading.phones_until(seconds).itertuples(index=False, name=None))
    with watch.stage("motion"):
        tracks = visemes.tracks(phones, seconds, int(FPS), sound, reading.waveform.rate_hz)
        n_frames = len(tracks["jaw"])
        tracks |= visemes.prosody(sound, reading.waveform.rate_hz, n_frames, int(FPS))
    frames = np.empty((n_frames, size_px[1], size_px[0], 3), np.uint8)
    for index in range(n_frames):
        with watch.stage("render"):
            frames[index] = animator.render({name: float(track[index]) for name, track in tracks.items()})
    with watch.stage("encode"):
        _encode(frames, folder / "spike.mp4", size_px)
    once = watch.seconds_s.pop("model, once")
    return {"model, once": 1e3 * once, **{k: 1e3 * v / n_frames for k, v in watch.seconds_s.items()}}


def _encode(frames: Pixels, path: Path, size_px: tuple[int, int]) -> None:
    span = FrameSpan(0, len(frames))
    batches = iter([FrameBatch(frames, FPS, 0)])
    encode_clip(
        batches, path, frames=span, fps=FPS, width_px=size_px[0], height_px=size_px[1], settings=VideoSettings()
    )


def make_clip(generator: PortraitGenerator, request: ChunkRequest, path: Path) -> int:
    """Latents, frames and clip of one chunk, as a worker makes them; how many frames."""
    info = encode_clip(
        generator.decode(request, generator.generate(request, None)),
        path,
        frames=request.frames,
        fps=request.fps,
        width_px=request.width_px,
        height_px=request.height_px,
        settings=VideoSettings(),
    )
    return info.n_frames


def child_speed(size_px: tuple[int, int], seconds: float, core: int) -> None:
    """One worker: ready when it has drawn a frame, then draws when told to; prints frames, wall and processor time."""
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as name:
        _, portrait = framed(*size_px, Path(name))
        requests = requests_for(portrait, size_px, seconds)
        generator = PortraitGenerator()
        next(generator.decode(requests[0], generator.generate(requests[0], None)))
        print("ready", flush=True)
        sys.stdin.readline()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        n_frames = sum(make_clip(generator, request, Path(name) / "clip.mp4") for request in requests)
        print(json.dumps([n_frames, time.perf_counter() - wall_s, time.process_time() - cpu_s]), flush=True)


def frames_a_second(size_px: tuple[int, int], seconds: float, n_cores: int) -> tuple[float, float]:
    """By wall time, and what the processor time would allow if nobody else used the cores."""
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    arguments = [sys.executable, "-m", "benchmarks.portrait_speed", "--child", f"{size_px[0]}x{size_px[1]}"]
    workers = [
        subprocess.Popen(
            [*arguments, "--seconds", str(seconds), "--core", str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for core in cores
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    n_frames = sum(result[0] for result in results)
    return n_frames / max(result[1] for result in results), sum(result[0] / result[2] for result in results)


def child_memory(size_px: tuple[int, int], seconds: float) -> None:
    """Draw and encode speech of a length; prints peak and course of the resident memory in MB, frames and wall time."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        _, portrait = framed(*size_px, Path(name))
        requests = requests_for(portrait, size_px, seconds)
        generator = PortraitGenerator()
        started_s, n_frames, course = time.perf_counter(), 0, []
        for index, request in enumerate(requests):
            n_frames += make_clip(generator, request, Path(name) / f"{index % 2}.mp4")
            if (index + 1) * 10 // len(requests) > index * 10 // len(requests):
                course.append(round(process.memory_info().rss / MB))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([round(peak_mb), course, n_frames, round(time.perf_counter() - started_s, 1)]))


def _table(title: str, columns: dict[str, dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    print(f"\n{title}\n{'':12}" + "".join(f"{size:>12}" for size in columns))
    for name in names:
        print(f"{name:12}" + "".join(f"{column.get(name, float('nan')):12.2f}" for column in columns.values()))
    sums = [sum(value for name, value in column.items() if name != "model, once") for column in columns.values()]
    print(f"{'a frame':12}" + "".join(f"{total:12.2f}" for total in sums))


def main(sizes: list[str], seconds: float, spike: Path | None, memory_s: list[float]) -> None:
    sizes_px = {size: (int(size.split("x")[0]), int(size.split("x")[1])) for size in sizes}
    for length_s in memory_s:
        for size in sizes:
            arguments = ["-m", "benchmarks.portrait_speed", "--child-memory", size, "--seconds", str(length_s)]
            output = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, check=True).stdout
            peak_mb, course, n_frames, wall_s = json.loads(output.splitlines()[-1])
            print(f"{size}, {length_s:g} s: peak {peak_mb} MB, course {course}, {n_frames} frames in {wall_s} s")
    if memory_s:
        return
    with tempfile.TemporaryDirectory() as name:
        _table("ms of processor time", {s: stages(px, seconds, Path(name)) for s, px in sizes_px.items()})
        if spike is not None:
            squares = {s: px for s, px in sizes_px.items() if px[0] == px[1]}
            _table("spike", {s: spike_stages(px, seconds, Path(name), spike) for s, px in squares.items()})
    print("\nframes a second, drawn and encoded: by wall time / by processor time")
    for size, size_px in sizes_px.items():
        for n_cores in (1, 2):
            wall, processor = frames_a_second(size_px, seconds, n_cores)
            print(f"{size:>10} on {n_cores}: {wall:7.1f} / {processor:7.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "512x512", "1080x1080", "1920x1080"])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--spike", type=Path)
    parser.add_argument("--memory", type=float, nargs="+", default=[])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-memory", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    child = given.child or given.child_memory
    if child:
        width, height = (int(side) for side in child.split("x"))
        if given.child:
            child_speed((width, height), given.seconds, given.core)
        else:
            child_memory((width, height), given.seconds)
    else:
        main(given.sizes, given.seconds, given.spike, given.memory)
