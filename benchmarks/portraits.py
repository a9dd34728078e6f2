"""The portrait generator on many kinds of portraits: a sheet of frames each, one overview, and measures.

    python benchmarks/portraits.py [--out FOLDER] [--only NAME ...] [--overview docs/images/portraits.jpg]

Each portrait of `s2v_pipeline_tests/data/portraits`, and the sample's, says the sample's sentence. The sheet shows the
frames of that speech in which each mouth shape and the blink are at their fullest, and the head at the poses that
lively speech reaches. What is refused is printed with the error.

Measures, over every third frame of the speech unless they say otherwise:
- found: share of frames in which the face landmarker sees a face.
- opening: correlation of the lips' distance with the phones' openness, without any search for a lag.
- closed: P, B and M during which the lips come nearer than a fifth of their range (every frame of those phones).
- slope: steepest change of the head's field at the poses, in cells a cell; from 1 on a picture would fold or tear.
- still: mean difference from the portrait, of 255, where neither head nor body moves, at the poses.
- ms: processor time a frame, drawing alone.

Belongs here: the measurement, the sheets. Does not belong here: thresholds that decide about a portrait.
"""

from __future__ import annotations

import argparse
import time
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.phonemes import PHONE_OPENNESS
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.plan import ChunkPlan
from s2v_pipeline.chunks.request import FileRef
from s2v_pipeline.errors import FaceError
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.portrait.coefficients import COEFFICIENT_NAMES, COEFFICIENTS
from s2v_pipeline.generation.portrait.face_model import FaceModel
from s2v_pipeline.generation.portrait.motion import CONTEXT_S, make_motion
from s2v_pipeline.generation.portrait.renderer import Renderer
from s2v_pipeline.inputs.framing import choose_face, frame_portrait, head_angles
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline.timebase import FrameSpan

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "samples" / "astronaut"
PORTRAITS = ROOT / "s2v_pipeline_tests" / "data" / "portraits"
FPS = Fraction(25)
SEED = 7
STRIDE_FRAMES = 3
CELL_PX = 300  # of a sheet
OVERVIEW_CELL_PX = 150
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
EYE_CORNERS = (33, 263)
CLOSED_SHARE = 0.2

SHAPES = (
    *(("widest", "jaw_open"), ("IY", "lip_width"), ("UW W", "lip_pucker"), ("P B M", "lips_closed")),
    *(("F V", "lip_tuck"), ("L TH D", "tongue_tip"), ("blink", "blink")),
)
POSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("yaw -7", {"head_yaw_deg": -7}),
    ("yaw +7", {"head_yaw_deg": 7}),
    ("up, tilted", {"head_pitch_deg": -5, "head_roll_deg": 4, "breath": 1}),
    ("down, tilted", {"head_pitch_deg": 5, "head_roll_deg": -4, "gaze_x": 1}),
)


@dataclass(frozen=True, eq=False)
class Speech:
    """The sample's phones, and what a face does while it says them: (n, coefficients)."""

    phonemes: pd.DataFrame
    rows: NDArray[np.float32]

    @classmethod
    def of_sample(cls) -> Speech:
        """The whole sentence, as the pipeline would move a face to it."""
        with wave.open(str(SAMPLE / "speech.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
            waveform = Waveform(samples, file.getframerate())
        segments = speech_segments(waveform)
        phonemes = align_speech(waveform, (SAMPLE / "transcript.txt").read_text(), segments).phonemes
        n_frames = round(len(samples) / waveform.rate_hz * FPS)
        features = extract_features(waveform, n_frames=n_frames, fps=FPS)
        summary = describe_speech(waveform, features, segments)
        video = VideoRequest(
            input_id="portraits",
            fps=FPS,
            width_px=512,
            height_px=512,
            input_seed=SEED,
            prompt=(SAMPLE / "prompt.txt").read_text(),
            portrait=FileRef(SAMPLE / "portrait.png", "0" * 64),
            speech_level_db=summary.speech_level_db,
            median_f0_hz=summary.median_f0_hz,
        )
        plan = ChunkPlan((FrameSpan(0, n_frames),))
        (request,) = build_requests(video, plan, phonemes=phonemes, features=features, context_s=CONTEXT_S)
        motion = make_motion(request)
        return cls(phonemes, np.array(motion.values))

    def fullest(self, name: str) -> NDArray[np.float32]:
        """The frame in which a coefficient is largest."""
        return self.rows[int(self.rows[:, COEFFICIENT_NAMES.index(name)].argmax())]


@dataclass(frozen=True)
class Measures:
    """See the module's text."""

    yaw_deg: float
    found: float
    opening: float
    closed: str
    slope: float
    still: float
    ms: float


def row(**values: float) -> NDArray[np.float32]:
    """A resting face but for these coefficients."""
    coefficients = np.zeros(len(COEFFICIENTS), np.float32)
    for name, value in values.items():
        coefficients[COEFFICIENT_NAMES.index(name)] = value
    return coefficients


def posed(rest: NDArray[np.float32], pose: dict[str, float]) -> NDArray[np.float32]:
    """The silent face in a pose."""
    values = rest.copy()
    for name, value in pose.items():
        values[COEFFICIENT_NAMES.index(name)] = value
    return values


def sheet_of(renderer: Renderer, speech: Speech) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Frames and their names: rest, mouth shapes, blink, poses."""
    rows = [("rest", speech.rows[0])]
    rows += [(label, speech.fullest(name)) for label, name in SHAPES]
    rows += [(label, posed(speech.rows[0], pose)) for label, pose in POSES]
    return [renderer.render(values) for _, values in rows], [label for label, _ in rows]


def measure(renderer: Renderer, model: FaceModel, speech: Speech, landmarker: FaceLandmarker, yaw: float) -> Measures:
    """Everything that is printed about a portrait."""
    openings: dict[int, float] = {}
    n_lost = 0
    cpu_s = 0.0
    frames = set(range(0, len(speech.rows), STRIDE_FRAMES))
    lips = speech.phonemes[speech.phonemes["phone"].isin(["P", "B", "M"])]
    spans = [range(int(p.start_s * FPS), int(np.ceil(p.end_s * FPS)) + 1) for p in lips.itertuples()]
    for span in spans:
        frames |= {frame for frame in span if frame < len(speech.rows)}
    face = None
    for frame in sorted(frames):
        started = time.process_time()
        pixels = renderer.render(speech.rows[frame])
        cpu_s += time.process_time() - started
        face = landmarker.track(pixels, face) if face is not None else next(iter(landmarker.find(pixels)), None)
        if face is None:
            n_lost += 1
            continue
        points = face.landmarks_px[:, :2]
        eyes_px = np.linalg.norm(points[EYE_CORNERS[0]] - points[EYE_CORNERS[1]])
        openings[frame] = float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in INNER_LIPS]) / eyes_px)
    values = np.array(list(openings.values()))
    low, high = np.percentile(values, [2, 95])
    below = low + CLOSED_SHARE * (high - low)
    n_closed = sum(min(openings.get(frame, np.inf) for frame in span) <= below for span in spans)
    times_s = (np.array(list(openings)) + 0.5) / float(FPS)
    phones = speech.phonemes
    spoken = [int(np.searchsorted(phones["end_s"].to_numpy(), t, side="right")) for t in times_s]
    openness = [PHONE_OPENNESS[phones["phone"].iloc[min(index, len(phones) - 1)]] for index in spoken]
    slope, still = _at_poses(renderer, model)
    return Measures(
        yaw_deg=yaw,
        found=1 - n_lost / len(frames),
        opening=float(np.corrcoef(values, openness)[0, 1]),
        closed=f"{n_closed}/{len(spans)}",
        slope=slope,
        still=still,
        ms=1000 * cpu_s / len(frames),
    )


def _at_poses(renderer: Renderer, model: FaceModel) -> tuple[float, float]:
    """Steepest slope of the head's field, and how much the background changes."""
    head = model.head
    height, width = model.pixels.shape[:2]
    moving = np.maximum(head.weight, head.body)
    rests = cv2.resize(moving, (width, height), interpolation=cv2.INTER_LINEAR) < 0.005
    slopes, differences = [], []
    for _, pose in POSES:
        full = {"head_pitch_deg": 0.0, "head_yaw_deg": 0.0, "head_roll_deg": 0.0, "breath": 0.0}
        full |= {name: value for name, value in pose.items() if name in full}
        field = head.forward(full["head_pitch_deg"], full["head_yaw_deg"], full["head_roll_deg"], full["breath"])
        slopes.append(max(float(np.abs(np.diff(field, axis=axis)).max()) for axis in (0, 1)))
        if rests.any():
            frame = renderer.render(row(**pose)).astype(int)
            differences.append(float(np.abs(frame - model.pixels.astype(int))[rests].mean()))
    return max(slopes), max(differences, default=float("nan"))


def grid_of(frames: list[NDArray[np.uint8]], labels: list[str], cell_px: int, columns: int) -> NDArray[np.uint8]:
    """Frames side by side, each with its label."""
    n_rows = -(-len(frames) // columns)
    sheet = np.zeros((n_rows * cell_px, columns * cell_px, 3), np.uint8)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        small = cv2.resize(frame, (cell_px, cell_px), interpolation=cv2.INTER_AREA)
        for shift, colour in ((1, (0, 0, 0)), (0, (255, 255, 255))):
            cv2.putText(small, label, (6 + shift, 18 + shift), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
        y, x = index // columns * cell_px, index % columns * cell_px
        sheet[y : y + cell_px, x : x + cell_px] = small
    return sheet


def main() -> None:
    """All portraits, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("portrait_sheets"), help="folder for the sheets")
    parser.add_argument("--only", nargs="*", default=None, help="names of portraits, or paths of others")
    parser.add_argument("--size", type=int, default=512, help="side of the frames in pixels")
    parser.add_argument("--overview", type=Path, default=None, help="also write one picture with a row of each")
    parser.add_argument("--sheets-only", action="store_true", help="no measures")
    arguments = parser.parse_args()
    known = {path.stem: path for path in sorted(PORTRAITS.glob("*.jpg"))} | {"astronaut": SAMPLE / "portrait.png"}
    chosen = {Path(name).stem: known.get(name, Path(name)) for name in arguments.only or known}

    arguments.out.mkdir(parents=True, exist_ok=True)
    landmarker = FaceLandmarker()
    speech = Speech.of_sample()
    overview: list[NDArray[np.uint8]] = []
    print(f"{'portrait':32}{'yaw':>6}{'found':>7}{'opening':>9}{'closed':>8}{'slope':>7}{'still':>7}{'ms':>6}")
    for name, path in chosen.items():
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        try:
            face = choose_face(landmarker.find(pixels), pixels.shape, InputSettings())
            framed = frame_portrait(pixels, face, width_px=arguments.size, height_px=arguments.size).pixels
            model = FaceModel.from_portrait(framed, landmarker)
        except FaceError as error:
            print(f"{name:32} refused: {error}")
            continue
        renderer = Renderer(model)
        frames, labels = sheet_of(renderer, speech)
        Image.fromarray(grid_of(frames, labels, CELL_PX, 4)).save(arguments.out / f"{name}.png")
        overview += [
            frames[labels.index(label)]
            for label in ("rest", "widest", "UW W", "P B M", "F V", "blink", "yaw -7", "yaw +7")
        ]
        if not arguments.sheets_only:
            m = measure(renderer, model, speech, landmarker, head_angles(face).yaw_deg)
            print(
                f"{name:32}{m.yaw_deg:6.0f}{m.found:7.2f}{m.opening:9.2f}{m.closed:>8}{m.slope:7.2f}{m.still:7.2f}{m.ms:6.0f}"
            )
    if arguments.overview:
        picture = Image.fromarray(grid_of(overview, [""] * len(overview), OVERVIEW_CELL_PX, 8))
        picture.save(arguments.overview, quality=58, optimize=True)


if __name__ == "__main__":
    main()
