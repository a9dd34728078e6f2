"""Time and peak memory of finishing: from clips to the final video, and how both grow with the length.

A few chunks of a portrait that speaks are drawn and encoded once, and their files taken again and again, as drawing ten
minutes says nothing about finishing them. The joining, muxing, checks and stages are those of the graph. Every line is
a process of its own, whose peak memory is measured.

    python -m benchmarks.finish_long                       # 1920x1080: 10 minutes as they are; 4 s and 16 s enhanced
    python -m benchmarks.finish_long --width 640 --height 360 --lengths 60 --enhanced 4 8
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.portrait_scene import FPS, framed, requests_for
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.enhance_settings import EnhanceSettings
from s2v_pipeline.generation.registry import load_generator, spec_of
from s2v_pipeline.setting_groups import Settings, VideoSettings
from s2v_pipeline.video.finish import finish_clips
from s2v_pipeline.video.finish_plan import PicturePlan, clip_video
from s2v_pipeline.video.mux import assemble_video

CHUNK_S = 4
ENHANCED = EnhanceSettings(deflicker=True, sharpen=0.0)


def main() -> None:
    """Draw, then measure every length in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--lengths", type=int, nargs="*", default=[60, 600], help="seconds, multiples of 4")
    parser.add_argument("--enhanced", type=int, nargs="*", default=[4, 16], help="seconds, multiples of 4")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_finish(Path(given.child[0]), int(given.child[1]), enhanced=given.child[2] == "yes")))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, given.width, given.height)
        print("| length | enhancement | seconds | of the length | peak MB | picture - sound | file MB |")
        print("|---|---|---|---|---|---|---|")
        for length_s, enhanced in [(each, "no") for each in given.lengths] + [(each, "yes") for each in given.enhanced]:
            command = [sys.executable, "-m", "benchmarks.finish_long", "--child", name, str(length_s), enhanced]
            # The arguments are this file's own.
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            what = "deflicker, sharpen" if enhanced == "yes" else "none"
            print(
                f"| {length_s} s | {what} | {found['took_s']:.1f} | {found['took_s'] / length_s:.3f} | "
                f"{found['peak_mb']:.0f} | {found['off_ms']:.3f} ms | {found['file_mb']:.1f} |",
                flush=True,
            )


def _prepare(folder: Path, width_px: int, height_px: int) -> None:
    """One chunk's clip as it is delivered and one for another encoding, from the same frames."""
    _, file = framed(width_px, height_px, folder)
    generator = load_generator(spec_of(Settings()))
    (request,) = requests_for(file, (width_px, height_px), CHUNK_S)
    drawn = list(generator.decode(request, generator.generate(request, None)))
    for name, enhance in (("as_delivered", EnhanceSettings()), ("mezzanine", ENHANCED)):
        video = VideoSettings(width_px=width_px, height_px=height_px)
        encode_clip(
            iter(drawn),
            folder / f"{name}.mp4",
            frames=request.frames,
            fps=FPS,
            width_px=width_px,
            height_px=height_px,
            settings=clip_video(Settings(video=video, enhance=enhance)),
        )


def _finish(folder: Path, length_s: int, *, enhanced: bool) -> dict[str, float]:
    """Figures of one length, in this process."""
    portrait = np.array(Image.open(next(folder.glob("portrait_*.png"))).convert("RGB"), np.uint8)
    speech = _speech(folder / f"speech_{length_s}.flac", length_s)
    counts = (int(CHUNK_S * FPS),) * (length_s // CHUNK_S)
    clips = [folder / ("mezzanine.mp4" if enhanced else "as_delivered.mp4")] * len(counts)
    wanted = ENHANCED if enhanced else EnhanceSettings()
    plan = PicturePlan(wanted, portrait, counts, FPS, length_s * SPEECH_RATE_HZ, SPEECH_RATE_HZ)
    video = VideoSettings(width_px=portrait.shape[1], height_px=portrait.shape[0])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as working:
        done = finish_clips(clips, plan, Path(working), video=video, encoder="libx264")
        made = assemble_video(
            done.clips,
            speech,
            Path(working) / "video.mp4",
            frame_counts=done.frame_counts,
            fps=done.fps,
            settings=video,
            metadata={},
        )
    return {
        "took_s": time.perf_counter() - started,
        "peak_mb": _peak_mb(),
        "off_ms": 1000 * float(made.video_minus_audio_s),
        "file_mb": made.probe.size_bytes / 1e6,
    }


def _peak_mb() -> float:
    """Largest resident size of this process; `ru_maxrss` would hold that of the parent, which keeps drawn frames."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise RuntimeError("the kernel must say VmHWM in /proc/self/status")
    return int(found[1]) / 1024


def _speech(path: Path, length_s: int) -> Path:
    """FLAC of noise under an envelope of syllables."""
    rng = np.random.default_rng(3)
    with path.open("wb") as file, av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SPEECH_RATE_HZ)
        stream.layout, stream.format = "mono", "s16"
        for second in range(length_s):
            time_s = second + np.arange(SPEECH_RATE_HZ) / SPEECH_RATE_HZ
            sound = 3000 * np.abs(np.sin(2 * np.pi * 2.3 * time_s)) * rng.standard_normal(SPEECH_RATE_HZ)
            samples = np.ascontiguousarray(sound.clip(-32768, 32767).astype(np.int16)[None])
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = (
                SPEECH_RATE_HZ,
                second * SPEECH_RATE_HZ,
                Fraction(1, SPEECH_RATE_HZ),
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
