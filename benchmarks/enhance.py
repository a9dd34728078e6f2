"""Does each enhancement do good where its defect is, and no harm where there is none?

Draws portraits that no stage was tuned on with the portrait generator, speaking; puts one defect at a time into the
frames; applies the stage; compares with the frames before the defect. The same stage on the clean frames shows what it
costs. Nothing is written outside a temporary folder.

    python -m benchmarks.enhance --portraits child old_woman woman_glasses --seconds 3 --side 320

Columns: PSNR in dB and SSIM (luma, Wang et al. 2004, Gaussian window of 1.5 px) of all frames against the clean ones,
with the defect and after the stage; the same for the stage on clean frames; CPU time a frame in ms. A jump stays beyond
the frames that are blended, so that its row has the largest mean step between two frames around the join instead.
Upscaling and interpolation start from half the size and a third of the rate; their "defect" is bilinear scaling and
frames shown thrice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import portrait_scene
from benchmarks.portrait_scene import FPS, ROOT, framed, requests_for
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.registry import load_generator, spec_of
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.timebase import frame_start_s
from s2v_pipeline.video.enhance.deflicker import Deflicker
from s2v_pipeline.video.enhance.denoise import FastDenoise, MotionDenoise
from s2v_pipeline.video.enhance.drift import DriftCorrection
from s2v_pipeline.video.enhance.interpolate import Interpolate
from s2v_pipeline.video.enhance.sharpen import Sharpen
from s2v_pipeline.video.enhance.stage import Enhancement
from s2v_pipeline.video.enhance.tone import LUMA
from s2v_pipeline.video.enhance.upscale import LanczosUpscale
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline.video.join_repair import BlendJoins
from s2v_pipeline.video.joins import measure_joins

PORTRAITS = ROOT / "s2v_pipeline_tests" / "data" / "portraits"
Frames = NDArray[np.uint8]


def main() -> None:
    """Print the table of every portrait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", nargs="+", default=["child", "old_woman", "woman_glasses"])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--side", type=int, default=320)
    given = parser.parse_args()
    print("| portrait | defect | stage | PSNR dB | after | SSIM | after | clean: PSNR | SSIM | ms a frame |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in given.portraits:
        clean, portrait = _drawn(PORTRAITS / f"{name}.jpg", given.side, given.seconds, FPS)
        for row in _rows(clean, portrait):
            print(f"| {name} | {row} |", flush=True)
        thrice, _ = _drawn(PORTRAITS / f"{name}.jpg", given.side, given.seconds, 3 * FPS)
        print(f"| {name} | {_rate_row(thrice)} |", flush=True)
        for line in _joins(clean):
            print(f"  {name}: {line}", flush=True)


def _drawn(path: Path, side_px: int, length_s: float, fps: Fraction) -> tuple[Frames, Frames]:
    """Frames of a portrait that speaks, and the framed portrait."""
    portrait_scene.PORTRAIT, portrait_scene.FPS = path, fps
    with tempfile.TemporaryDirectory() as folder:
        portrait, file = framed(side_px, side_px, Path(folder))
        generator = load_generator(spec_of(Settings()))
        frames = [
            batch.pixels
            for request in requests_for(file, (side_px, side_px), length_s)
            for batch in generator.decode(request, generator.generate(request, None))
        ]
    return np.concatenate(frames), portrait


@dataclass(frozen=True)
class _Case:
    defect: str
    stage: Enhancement
    broken: Frames


def _rows(clean: Frames, portrait: Frames) -> list[str]:
    rng = np.random.default_rng(11)
    n_frames, side_px = len(clean), clean.shape[1]
    joins = tuple(range(n_frames // 3, n_frames - 5, n_frames // 3))
    flicker = clean * (1 + 0.03 * rng.standard_normal((n_frames, 1, 1, 1)))
    noise = clean + rng.normal(0, 5, clean.shape)
    chunk = np.searchsorted(joins, np.arange(n_frames), side="right")
    drift = clean * np.array([1.03, 1.0, 0.96])[None] ** chunk[:, None, None, None] + 2.0 * chunk[:, None, None, None]
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in clean])
    jump = clean.astype(np.float64)
    jump[joins[0] :] += 6
    jump[joins[0] :] = np.roll(jump[joins[0] :], max(1, side_px // 128), axis=2)
    cases = [
        _Case("flicker 3 %", Deflicker(), _levels(flicker)),
        _Case("noise 5 levels", FastDenoise(), _levels(noise)),
        _Case("noise 5 levels", MotionDenoise(), _levels(noise)),
        _Case("colour drift", DriftCorrection(portrait, FPS, joins), _levels(drift)),
        _Case("blur 0.8 px", Sharpen(0.0), blurred),
        _Case("blur 0.8 px", Sharpen(0.3), blurred),
    ]
    rows = [_row(case, clean) for case in cases]
    small = np.stack([cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for f in clean])
    plain = np.stack([cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_LINEAR) for frame in small])
    larger, took_ms = _applied(LanczosUpscale(side_px, side_px), small)
    rows.append(_line("half size, bilinear", "upscale (lanczos)", clean, plain, larger, "", took_ms))
    near = slice(joins[0] - 4, joins[0] + 4)
    blended, took_ms = _applied(BlendJoins((joins[0],)), _levels(jump))
    untouched, _ = _applied(BlendJoins((joins[0],)), clean)
    # Beyond the blend the jump stays, as it must: step sizes between frames are what a viewer sees.
    steps = [
        float(np.abs(np.diff(each[near].astype(float), axis=0)).mean(axis=(1, 2, 3)).max())
        for each in (clean, _levels(jump), blended)
    ]
    cost = f"{_psnr(clean[near], untouched[near]):.1f} | {_ssim(clean[near], untouched[near]):.4f}"
    step = f"largest step {steps[1]:.2f} (clean {steps[0]:.2f}) | {steps[2]:.2f}"
    rows.append(f"jump 6 levels, 1/128 | blend joins | {step} | - | - | {cost} | {took_ms:.1f}")
    return rows


def _row(case: _Case, clean: Frames) -> str:
    mended, took_ms = _applied(case.stage, case.broken)
    untouched, _ = _applied(case.stage, clean)
    same = np.array_equal(untouched, clean)
    cost = "unchanged | 1" if same else f"{_psnr(clean, untouched):.1f} | {_ssim(clean, untouched):.4f}"
    return _line(case.defect, _called(case.stage), clean, case.broken, mended, cost, took_ms)


def _called(stage: Enhancement) -> str:
    return f"{stage.name} {stage.strength}" if isinstance(stage, Sharpen) else stage.name


def _line(defect: str, stage: str, clean: Frames, broken: Frames, mended: Frames, cost: str, took_ms: float) -> str:
    psnr = f"{_psnr(clean, broken):.1f} | {_psnr(clean, mended):.1f}"
    ssim = f"{_ssim(clean, broken):.4f} | {_ssim(clean, mended):.4f}"
    return f"{defect} | {stage} | {psnr} | {ssim} | {cost or '- | -'} | {took_ms:.1f}"


def _rate_row(thrice: Frames) -> str:
    """A frame shows the middle of its time, which every third frame at three times the rate shows, too."""
    given = thrice[1::3]
    stage = Interpolate(FPS, 3 * FPS, len(thrice), int(3 * FPS))
    made, took_ms = _applied(stage, given)
    repeated = np.repeat(given, 3, axis=0)
    return _line("25 frames a second, thrice", "interpolate to 75", thrice, repeated, made, "", took_ms)


def _joins(clean: Frames) -> list[str]:
    """Which jumps are found at the middle, and how quiet ordinary pairs are."""
    middle = len(clean) // 2
    landmarker = FaceLandmarker()
    lines = []
    for what, levels, shift_px in (
        ("none", 0, 0),
        ("2 levels", 2, 0),
        ("1 px", 0, 1),
        ("2 px", 0, 2),
        ("4 px", 0, 4),
    ):
        frames = clean.astype(np.int16)
        frames[middle:] += levels
        frames[middle:] = np.roll(frames[middle:], shift_px, axis=2)
        report = measure_joins(_shown(_levels(frames), FPS), (middle,), landmarker=landmarker)
        worst = max(report.ordinary_worst_z.values())
        found = ", ".join(report.joins[0].beyond) or "nothing"
        lines.append(f"join with {what}: {found} found ({report.joins[0].summary}); ordinary pairs up to z {worst:.1f}")
    return lines


def _applied(stage: Enhancement, frames: Frames) -> tuple[Frames, float]:
    """The frames after the stage, and ms of CPU time a frame that came out."""
    started = time.process_time()
    made = np.stack([frame.pixels for frame in stage.apply(_shown(frames, FPS))])
    return made, 1000 * (time.process_time() - started) / len(made)


def _shown(frames: Frames, fps: Fraction) -> list[ShownFrame]:
    return [ShownFrame(index, frame_start_s(index, fps), frame) for index, frame in enumerate(frames)]


def _levels(values: NDArray[np.generic]) -> Frames:
    return np.rint(np.clip(np.asarray(values, np.float32), 0, 255)).astype(np.uint8)


def _psnr(truth: Frames, other: Frames) -> float:
    errors = [float(np.mean((one.astype(np.float32) - two) ** 2)) for one, two in zip(truth, other, strict=True)]
    return float(10 * np.log10(255**2 / max(1e-9, float(np.mean(errors)))))


def _ssim(truth: Frames, other: Frames) -> float:
    return float(np.mean([_ssim_of(one, two) for one, two in zip(truth[::3], other[::3], strict=True)]))


def _ssim_of(one: Frames, two: Frames) -> float:
    x, y = (np.asarray(frame.astype(np.float32) @ np.array(LUMA, np.float32), np.float32) for frame in (one, two))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y, xx, yy, xy = (_smooth(each) for each in (x, y, x * x, y * y, x * y))
    top = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2)
    return float((top / bottom).mean())


def _smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float32)


if __name__ == "__main__":
    main()
